"""DINOv2: equal to transformers, of whatever length, without a text tower, and through everything that runs a model."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch
from checkpoints import set_in_json
from PIL import Image
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

import semscale
import semscale_export
from semscale.checked import checked
from semscale.encoders import load_spec, open_encoder
from semscale.encoders.trt_library import load_library
from semscale.errors import ModelError
from semscale.metrics import scs
from semscale.model import Preprocess
from semscale.preprocess import preprocess
from semscale.producers.probes import probe_images
from semscale_export import parity, trt_graph
from semscale_export.checkpoint import find_checkpoint
from semscale_export.families import family_of
from semscale_export.trt_build import Network, Tensor, inspect_graph

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 98,
    "patch_size": 14,
    "layerscale_value": 1.0,
}
BASE = {"hidden_size": 768, "num_attention_heads": 12, "image_size": 518, "patch_size": 14}
NAMES = [f"{group}/{number}.png" for group in "ab" for number in range(4)]
KINDS = {False: (Dinov2Model, Dinov2Config), True: (Dinov2WithRegistersModel, Dinov2WithRegistersConfig)}


def write_dinov2(folder, *, registers=False, size=64, crop=56, **settings):
    """A random checkpoint as `save_pretrained` writes it, whose embeddings depend on the input and the positions."""
    model_class, config_class = KINDS[registers]
    torch.manual_seed(0)
    model = model_class(config_class(**{**TINY, **settings})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_scale" in name or ("norm" in name and name.endswith("weight")):
                parameter.normal_(1, 0.1)
            elif "embeddings" in name:
                parameter.normal_(std=0.3)
            else:
                parameter.normal_(std=2 * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.05)
    model.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": size}, "crop_size": {"height": crop, "width": crop}}
    BitImageProcessor(**sizes, image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return folder


def towers(folder):
    checkpoint = find_checkpoint(str(folder))
    return family_of(checkpoint).towers(checkpoint)


def run(folder, inputs):
    encoder = open_encoder(folder)
    try:
        return encoder.encode(inputs)
    finally:
        encoder.close()


def assert_same(actual, expected):
    """The same directions to 1e-6, also without what all rows share, and the same lengths."""
    for shared in (0.0, expected.mean(axis=0, dtype=np.float64)):
        a, b = np.float64(actual) - shared, np.float64(expected) - shared
        assert ((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 1 - 1e-6
    np.testing.assert_allclose(np.linalg.norm(actual, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-5)


def transformers_rows(folder, images, registers):
    """From files on: with its own processor, resizing and cropping, and its own interpolation of the positions."""
    model = KINDS[registers][0].from_pretrained(folder).eval()
    inputs = BitImageProcessor.from_pretrained(folder)(images, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).pooler_output.numpy()


def assert_equal_on(folder, out, images, registers):
    """The export in `out` and the checkpoint give the same, from pixels of any shape; returns the checkpoint's rows."""
    expected = transformers_rows(folder, [Image.fromarray(image) for image in images], registers)
    settings = load_spec(out / "image").preprocess
    assert_same(run(out / "image", np.stack([preprocess(image, settings) for image in images])), expected)
    return expected


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "registers"])
def made(tmp_path_factory, request):
    """Whether there are registers, the checkpoint, and its export."""
    root = tmp_path_factory.mktemp("dinov2")
    folder = write_dinov2(root / "checkpoint", registers=request.param)
    semscale_export.export(str(folder), root / "out")
    return request.param, folder, root / "out"


def test_equal_to_transformers_from_images_of_any_shape(made):
    registers, folder, out = made
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in ((70, 90), (56, 56), (130, 64), (300, 200))]
    images += list(probe_images(4, shape=(64, 64, 3)))
    expected = assert_equal_on(folder, out, images, registers)
    lengths = np.linalg.norm(expected, axis=1)
    assert np.ptp(lengths) > 0.01 and lengths.min() > 2  # neither of length 1, nor all of one length
    rows = expected / lengths[:, None]
    assert (rows @ rows.T).min() < 0.8  # tells images apart


def test_one_tower_that_is_not_normalised(made):
    out = made[2]
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "image/model.json",
        "image/model.onnx",
        "parity.json",
    ]
    spec = load_spec(out / "image")
    assert spec.preprocess == Preprocess(size=64, crop=56, filter="bicubic", mean=MEAN, std=STD)
    assert (spec.dim, spec.normalized, spec.input_shape, spec.input_dtype) == (48, False, (56, 56, 3), "uint8")


def test_positions_are_a_constant_of_the_graph(made):
    model = onnx.load(made[2] / "image" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    ops = Counter(node.op_type for node in model.graph.node)
    assert ops["Resize"] == 0
    assert ops["LayerNormalization"] == 2 * 3 + 1
    assert [1, 16, 48] in [list(tensor.dims) for tensor in model.graph.initializer]
    assert [1, 50, 48] not in [list(tensor.dims) for tensor in model.graph.initializer]  # those of 98 pixels


def test_positions_matter(made, tmp_path):
    registers, _, out = made
    other = write_dinov2(tmp_path / "other", registers=registers)
    model = KINDS[registers][0].from_pretrained(other)
    with torch.no_grad():
        model.embeddings.position_embeddings.mul_(0.9)
    model.save_pretrained(other)
    images = probe_images(8, shape=(56, 56, 3))
    with pytest.raises(AssertionError):
        assert_same(towers(other)[0].reference(list(images)), run(out / "image", images))


def test_the_size_it_was_trained_at_needs_no_interpolation(tmp_path):
    folder = write_dinov2(tmp_path / "checkpoint", size=98, crop=98)
    semscale_export.export(str(folder), tmp_path / "out")
    assert_equal_on(folder, tmp_path / "out", list(probe_images(8, shape=(98, 98, 3))), registers=False)


@pytest.mark.parametrize("registers", [False, True], ids=["plain", "registers"])
def test_base_at_true_widths_cut_to_2_layers_equals_transformers(registers, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "PROBES", 8)  # what follows compares too
    settings = BASE | {"num_hidden_layers": 2}
    folder = write_dinov2(tmp_path / "true", registers=registers, size=256, crop=224, **settings)
    semscale_export.export(str(folder), tmp_path / "out")
    assert_equal_on(folder, tmp_path / "out", list(probe_images(4, shape=(260, 300, 3))), registers)


def test_swiglu_equals_transformers(tmp_path):
    folder = write_dinov2(tmp_path / "checkpoint", registers=True, use_swiglu_ffn=True)
    semscale_export.export(str(folder), tmp_path / "out")
    assert_equal_on(folder, tmp_path / "out", list(probe_images(8, shape=(64, 64, 3))), registers=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_size": {"height": 64, "width": 64}},
        {"crop_size": {"height": 56, "width": 70}},
        {"do_center_crop": False},
        {"do_center_crop": False, "size": {"height": 60, "width": 60}},
    ],
    ids=["no-multiple", "not-square", "any-shape", "stretched-to-no-multiple"],
)
def test_sizes_that_patches_do_not_fill_are_refused(settings, tmp_path):
    folder = write_dinov2(tmp_path / "checkpoint")
    set_in_json(folder / "preprocessor_config.json", **settings)
    with pytest.raises(ModelError, match=r"needs a square whose side is a multiple of its patches' 14 pixels"):
        towers(folder)


def test_stretching_is_read(tmp_path):
    folder = write_dinov2(tmp_path / "checkpoint")
    set_in_json(folder / "preprocessor_config.json", do_center_crop=False, size={"height": 56, "width": 56})
    found = towers(folder)[0].spec.preprocess
    assert (found.geometry, found.size, found.crop) == ("stretch", 56, 56)


@pytest.mark.parametrize("backend", ["onnx", "openvino", "torch"])
def test_scores_without_texts(made, backend, tmp_path):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    registers, folder, out = made
    (out / "checkpoint").unlink(missing_ok=True)
    (out / "checkpoint").symlink_to(folder)
    pictures = dict(zip(NAMES, probe_images(16, shape=(64, 64, 3))[::2], strict=True))
    write_pictures(tmp_path / "images", pictures)
    options = {"model": str(out), "backend": backend, "precision": "fp32"}
    found = semscale.score(tmp_path / "images", out=tmp_path / "run", **options)
    assert found.summary["n_ok"] == 8
    assert found.summary["models"]["text"] is None
    assert list(found.summary["scores"]) == ["scs"]  # and no clip-score: there is nothing to compare the texts with
    store = semscale.open_store(next((tmp_path / "run" / "stores").iterdir()))
    keys = store.metadata().column("key").to_pylist()
    expected = transformers_rows(folder, [Image.fromarray(pictures[key]) for key in keys], registers)
    assert_same(store.images.take(np.arange(8)), expected)
    of_a = expected[[key.startswith("a") for key in keys]]
    assert pq.read_table(tmp_path / "run" / "groups.parquet").column("scs")[0].as_py() == pytest.approx(scs(of_a))


def write_pictures(folder, pictures):
    """Lossless files, and texts for them, which a model without a text tower has to leave alone."""
    for name, pixels in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    lines = (json.dumps({"file_name": name, "text": f"what {name[0]} shows"}) + "\n" for name in pictures)
    (folder / "metadata.jsonl").write_text("".join(lines))


def test_int8_runs_and_the_gate_measures_its_lengths_too(made):
    encoder = open_encoder(made[2] / "image", precision="int8")
    found = checked(made[2] / "image", encoder, backend="onnx", precision="int8")
    encoder.close()
    assert found.invalid == 0
    assert 0.95 < found.plain_min < 1
    assert 1e-5 < found.length_change < 0.1  # of a tower that divides by the length it would be rounding alone


def test_texts_are_refused(made):
    with pytest.raises(ModelError, match="has no text tower"):
        semscale.encode_texts(["a cat"], model=str(made[2]))


def test_the_half_graph_is_close_and_is_parsed(made, tmp_path):
    _, folder, out = made
    tower = towers(folder)[0]
    rows = trt_graph.write_graph(tower, out / "image", tmp_path / "graph", precision="fp16")
    assert all(row.passed for row in rows) and max(1 - row.min_cosine for row in rows) > 0
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed, so no graph can be parsed here")
    assert inspect_graph(load_library("tensorrt_rtx"), tmp_path / "graph" / "model.onnx") == Network(
        Tensor("pixels", "UINT8", (-1, 56, 56, 3)), Tensor("embedding", "FLOAT", (-1, 48)), normalizations=7
    )
