"""Checkpoint -> ONNX towers: equal to transformers, whole or absent, and quiet."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest
import torch
from checkpoints import CLIP_TOKENIZER, PHOTOS, write_clip
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

import semscale_export
from semscale import files
from semscale.decode import decode
from semscale.encoders import load_spec, open_encoder
from semscale.errors import ModelError, ParityError
from semscale.model import Preprocess, Tokens
from semscale.preprocess import preprocess
from semscale.tokens import Tokenizer
from semscale_export import checkpoint as room
from semscale_export import parity
from semscale_export.checkpoint import find_checkpoint

TEXTS = [
    "a photo of a cat",
    "",
    "a photo of a dog",
    "do cats " * 60,
    "café 東京 👩‍🚀",
    "two cats, one dog",
    "x",
    "rain at dusk",
]


def cosines(a, b):
    a, b = np.float64(a), np.float64(b)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def assert_same(actual, expected):
    """Equal to 1e-5 in cosine distance, also after removing what all embeddings share."""
    shared = expected.mean(axis=0)
    assert cosines(actual, expected).min() >= 1 - 1e-5
    if len(expected) > 1:
        assert cosines(actual - shared, expected - shared).min() >= 1 - 1e-5


def assert_told_apart(embeddings):
    """Without this a random model could give one embedding for everything, and `assert_same` could not fail."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert (unit @ unit.T).min() < 0.5


def run(folder, inputs):
    encoder = open_encoder(folder)
    try:
        return encoder.encode(inputs)
    finally:
        encoder.close()


def text_reference(checkpoint, ids):
    model = CLIPModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        return torch.nn.functional.normalize(model.get_text_features(torch.from_numpy(ids))).numpy()


def test_layout_and_specifications(tiny_checkpoint, tiny_export):
    assert sorted(str(p.relative_to(tiny_export)) for p in tiny_export.rglob("*.*")) == [
        "image/model.json",
        "image/model.onnx",
        "parity.json",
        "text/model.json",
        "text/model.onnx",
        "text/tokenizer.json",
    ]
    image, text = load_spec(tiny_export / "image"), load_spec(tiny_export / "text")
    vocabulary = json.loads((tiny_checkpoint / "vocab.json").read_text())
    eos = vocabulary["<|endoftext|>"]
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    assert image.preprocess == Preprocess(size=64, crop=64, filter="bicubic", mean=mean, std=std)
    assert text.tokens == Tokens(length=24, eos=eos, pad=eos)
    assert (image.input_shape, image.input_dtype, text.input_shape, text.input_dtype) == (
        (64, 64, 3),
        "uint8",
        (24,),
        "int64",
    )
    for spec in (image, text):
        assert (spec.name, spec.dim, spec.normalized, spec.precision) == ("tiny-clip", 32, True, "fp32")
        assert spec.note == "random weights, for tests"
        assert (
            spec.sha256
            == subprocess.check_output(["sha256sum", tiny_checkpoint / "model.safetensors"], text=True).split()[0]
        )


def test_graphs_keep_whole_layer_norms_and_a_dynamic_batch(tiny_export):
    norms = {"image": 2 * 2 + 2, "text": 2 * 3 + 1}
    shapes = {
        "image": ("pixels", onnx.TensorProto.UINT8, ["batch", 64, 64, 3]),
        "text": ("input_ids", onnx.TensorProto.INT64, ["batch", "length"]),
    }
    for kind, wanted in norms.items():
        model = onnx.load(tiny_export / kind / "model.onnx")
        onnx.checker.check_model(model, full_check=True)
        ops = Counter(node.op_type for node in model.graph.node)
        assert ops["LayerNormalization"] == wanted
        assert ops["ReduceMean"] == ops["Pow"] == 0  # what a decomposed one would be made of
        assert model.opset_import[0].version >= 17
        assert signature(model.graph.input) == [shapes[kind]]
        assert signature(model.graph.output) == [("embedding", onnx.TensorProto.FLOAT, ["batch", 32])]


def signature(values):
    types = [(value.name, value.type.tensor_type) for value in values]
    return [(name, t.elem_type, [d.dim_param or d.dim_value for d in t.shape.dim]) for name, t in types]


def test_parity_table_is_returned_and_kept(tiny_checkpoint, tiny_export, tmp_path):
    rows = semscale_export.export(str(tiny_checkpoint), tmp_path / "out")
    assert [(row.tower, row.batch_size) for row in rows] == [(k, b) for k in ("image", "text") for b in (1, 2, 5)]
    assert all(row.passed and row.min_cosine > 1 - 1e-6 and row.max_abs < 1e-4 for row in rows)
    stored = json.loads((tiny_export / "parity.json").read_text())["rows"]
    assert stored == [{name: getattr(row, name) for name in row.__slots__} for row in rows]


def test_parity_row_fails_on_distance_and_on_nan():
    rows = np.eye(3, dtype=np.float32)
    assert parity.compare("image", rows, rows).passed
    assert not parity.compare("image", rows + np.float32(0.01), rows).passed
    assert not parity.compare("image", rows * np.float32(np.nan), rows).passed


def test_wrong_normalisation_is_caught_and_leaves_nothing(tiny_checkpoint, tmp_path, monkeypatch):
    from semscale_export.families import clip

    def forgetful(features, config, spec):
        return original(features, config, replace(spec, preprocess=replace(spec.preprocess, std=(0.5, 0.5, 0.5))))

    original = clip.ImageTower
    monkeypatch.setattr(clip, "ImageTower", forgetful)
    with pytest.raises(ParityError, match="image tower differs"):
        semscale_export.export(str(tiny_checkpoint), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_embedding_of_length_zero_is_caught(tmp_path):
    folder = write_clip(tmp_path / "zero")
    model = CLIPModel.from_pretrained(folder)
    torch.nn.init.zeros_(model.visual_projection.weight)
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="image tower gives embeddings that are zero or not finite"):
        semscale_export.export(str(folder), tmp_path / "out")


def test_interrupted_export_leaves_nothing(tiny_checkpoint, tmp_path, monkeypatch):
    def interrupt(tower, folder):
        assert (folder / "model.onnx").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(parity, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        semscale_export.export(str(tiny_checkpoint), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_export_is_silent_and_restores_settings(tiny_checkpoint, tmp_path, capfd):
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils.logging import is_progress_bar_enabled

    def settings():
        return (
            logging.root.manager.disable,
            is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            warnings.filters[:],
        )

    before = settings()
    semscale_export.export(str(tiny_checkpoint), tmp_path / "out")
    assert settings() == before
    assert capfd.readouterr() == ("", "")


def test_external_data_moves_with_the_model(tiny_checkpoint, tiny_export, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_ONNX_EXTERNAL_DATA", "1")  # optimum's switch; above 2 GB it is always on
    semscale_export.export(str(tiny_checkpoint), tmp_path / "out")
    assert (tmp_path / "out/image/model.onnx_data").stat().st_size > 100_000
    pixels = np.stack(parity.images(64))
    np.testing.assert_array_equal(run(tmp_path / "out/image", pixels), run(tiny_export / "image", pixels))


@pytest.mark.parametrize("legacy", [False, True], ids=["general-eos", "legacy-eos-2"])
def test_text_pools_at_end_of_text_whatever_follows(legacy, tmp_path):
    folder = write_clip(tmp_path / "clip", eos_token_id=2 if legacy else None)
    semscale_export.export(str(folder), tmp_path / "out")
    tokenizer = Tokenizer(tmp_path / "out/text")
    ids, _ = tokenizer.encode(TEXTS)
    embeddings = run(tmp_path / "out/text", ids)
    assert_same(embeddings, text_reference(folder, ids))
    eos = load_spec(tmp_path / "out/text").tokens.eos
    after = np.cumsum(ids == eos, axis=1) - (ids == eos) > 0
    noise = np.random.default_rng(0).integers(0, eos, ids.shape)
    np.testing.assert_allclose(run(tmp_path / "out/text", np.where(after, noise, ids)), embeddings, atol=1e-6)


def test_half_precision_checkpoint_is_computed_in_float32(tiny_checkpoint, tmp_path):
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "half"))
    CLIPModel.from_pretrained(tiny_checkpoint).half().save_pretrained(folder)
    semscale_export.export(str(folder), tmp_path / "out")
    model = onnx.load(tmp_path / "out/image/model.onnx")
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in model.graph.initializer}
    ids, _ = Tokenizer(tmp_path / "out/text").encode(TEXTS)
    assert_same(run(tmp_path / "out/text", ids), text_reference(folder, ids))


def test_sharded_weights(tiny_checkpoint, tmp_path, capfd):
    folder = Path(
        shutil.copytree(tiny_checkpoint, tmp_path / "sharded", ignore=shutil.ignore_patterns("*.safetensors"))
    )
    CLIPModel.from_pretrained(tiny_checkpoint).save_pretrained(folder, max_shard_size="300KB")
    assert not (folder / "model.safetensors").exists()
    capfd.readouterr()
    semscale_export.export(str(folder), tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    before = load_spec(tmp_path / "out/image").sha256
    (shard := sorted(folder.glob("*.safetensors"))[-1]).write_bytes(shard.read_bytes() + b"\0")
    assert find_checkpoint(str(folder)).weights_sha256 != before
    shard.unlink()
    with pytest.raises(ModelError, match=shard.name):
        _ = find_checkpoint(str(folder)).weights_sha256


def test_an_export_hashes_the_weights_once(tiny_checkpoint, tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(room, "sha256", lambda path: hashed.append(path.name) or files.sha256(path))
    semscale_export.export(str(tiny_checkpoint), tmp_path / "out")
    assert hashed == ["model.safetensors"]
    specs = [load_spec(tmp_path / "out" / tower) for tower in ("image", "text")]
    assert {spec.sha256 for spec in specs} == {files.sha256(tiny_checkpoint / "model.safetensors")}


@pytest.mark.skipif(
    not (PHOTOS.is_dir() and CLIP_TOKENIZER.is_dir()), reason="no DreamBooth photos or CLIP tokenizer here"
)
@pytest.mark.parametrize("shape", ["VIT_B_32", "VIT_L_14"])
def test_true_shapes_equal_transformers_on_photos_and_texts(shape, tmp_path):
    folder = write_clip(tmp_path / "clip", getattr(checkpoints, shape), tokenizer=CLIP_TOKENIZER)
    try:
        semscale_export.export(str(folder), tmp_path / "out")
        files = sorted(PHOTOS.glob("*/00.jpg"))[:8]
        assert len(files) == 8
        assert_towers_equal(tmp_path / "out", folder, files)
        if shape == "VIT_B_32":  # at this width the products are cut for threads; more layers would add only time
            assert_position_changes_nothing(tmp_path / "out/image", preprocessed(tmp_path / "out", files[:3]))
            assert_position_changes_nothing(tmp_path / "out/text", Tokenizer(tmp_path / "out/text").encode(TEXTS)[0])
    finally:
        shutil.rmtree(tmp_path)  # gigabytes, which pytest would keep for three runs


def assert_towers_equal(exported, folder, files):
    images, texts = reference_embeddings(folder, [Image.open(file).convert("RGB") for file in files])
    pixels = preprocessed(exported, files)
    ids, _ = Tokenizer(exported / "text").encode(TEXTS)
    for tower, inputs, expected in (("image", pixels, images), ("text", ids, texts)):
        assert_told_apart(expected)
        encoder = open_encoder(exported / tower)
        for size in (1, 3, 8):
            assert_same(encoder.encode(inputs[:size]), expected[:size])
        encoder.close()


def preprocessed(exported, files):
    settings = load_spec(exported / "image").preprocess
    return np.stack([preprocess(decode(file.read_bytes()), settings) for file in files])


def assert_position_changes_nothing(tower, inputs):
    encoder = open_encoder(tower)
    rows = [row.tobytes() for row in encoder.encode(inputs)]
    for shift in range(1, len(inputs)):
        rolled = encoder.encode(np.roll(inputs, shift, axis=0))
        assert [row.tobytes() for row in np.roll(rolled, -shift, axis=0)] == rows
    encoder.close()


def reference_embeddings(folder, photos):
    processor = CLIPProcessor(CLIPImageProcessor.from_pretrained(folder), CLIPTokenizerFast.from_pretrained(folder))
    model = CLIPModel.from_pretrained(folder).eval()
    inputs = processor(text=TEXTS, images=photos, padding="max_length", truncation=True, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    return outputs.image_embeds.numpy(), outputs.text_embeds.numpy()
