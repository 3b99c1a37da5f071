"""SigLIP and SigLIP 2: equal to transformers from the file and the string on, in float32 and as half graphs."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from checkpoints import PHOTOS, set_in_json
from hypothesis import given, settings
from hypothesis import strategies as st
from images import png
from PIL import Image
from siglip_checkpoints import SIGLIP_B_16, TINY, write_siglip, write_siglip2
from transformers import AutoTokenizer, SiglipImageProcessor, SiglipModel, SiglipTokenizer

import semscale_export
from semscale.decode import decode
from semscale.encoders import load_spec, open_encoder
from semscale.encoders.trt_library import load_library
from semscale.errors import MissingDependencyError, ModelError, ParityError
from semscale.model import Preprocess, Tokens
from semscale.preprocess import preprocess
from semscale.producers.probes import probe_images
from semscale.tokens import Tokenizer
from semscale_export import parity, siglip_tokenizer, trt_graph
from semscale_export.checkpoint import find_checkpoint
from semscale_export.families import family_of
from semscale_export.families import siglip as family
from semscale_export.siglip_tokenizer import HARD_TEXTS
from semscale_export.trt_build import inspect_graph

KINDS = ["siglip", "siglip2"]
TEXTS = [
    "a photo of a cat",
    "",
    "A Photo of a DOG!",
    "do cats " * 60,
    "café 東京 👩‍🚀",
    "two cats, one dog",
    "x",
    "rain at dusk",
]


@pytest.fixture(scope="module", autouse=True)
def few_probes():
    """A short gate at export, for time: what it compares is compared here too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "PROBES", 8)
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("siglip")
    return {"siglip": write_siglip(root / "siglip"), "siglip2": write_siglip2(root / "siglip2")}


@pytest.fixture(scope="module")
def exports(checkpoints, tmp_path_factory):
    root = tmp_path_factory.mktemp("exports")
    for name, folder in checkpoints.items():
        semscale_export.export(str(folder), root / name)
    return {name: root / name for name in checkpoints}


@pytest.fixture
def copied(checkpoints, tmp_path):
    def copy(kind):
        return shutil.copytree(checkpoints[kind], tmp_path / kind)

    return copy


def cosines(a, b):
    a, b = np.float64(a), np.float64(b)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def assert_same(actual, expected):
    """Equal to 1e-5 in cosine distance, also after removing what all embeddings share."""
    shared = expected.mean(axis=0)
    assert cosines(actual, expected).min() >= 1 - 1e-5
    assert cosines(actual - shared, expected - shared).min() >= 1 - 1e-5


def assert_told_apart(embeddings):
    """Without this a random model could give one embedding for everything, and `assert_same` could not fail."""
    assert (embeddings @ embeddings.T).min() < 0.5


def run(folder, inputs):
    encoder = open_encoder(folder)
    try:
        return encoder.encode(inputs)
    finally:
        encoder.close()


def by_transformers(folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
    assert list(ids) == ["input_ids"]  # as released: without a mask
    return ids["input_ids"]


def given_to(kind, texts):
    """What transformers before version 5 must be given: it does not lower the case for SigLIP 2, as training did."""
    return ["".join(map(str.lower, text)) for text in texts] if kind == "siglip2" else texts


def text_reference(folder, texts):
    model = SiglipModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return torch.nn.functional.normalize(model.get_text_features(by_transformers(folder, texts))).numpy()


def image_reference(folder, images):
    model, processor = SiglipModel.from_pretrained(folder).eval(), SiglipImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        pixels = processor(images, return_tensors="pt")
        return torch.nn.functional.normalize(model.get_image_features(**pixels)).numpy()


def drawn(count=6):
    """Encoded images of several proportions, each kept whole by stretching."""
    shapes = [(48, 96), (97, 61), (64, 64), (33, 40), (240, 20), (128, 127)]
    return [encoded(probe_images(9, shape=(*shape, 3))[i]) for i, shape in enumerate(shapes)][:count]


def encoded(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def prepared(exported, files):
    settings = load_spec(exported / "image").preprocess
    return np.stack([preprocess(decode(file), settings) for file in files])


# --- Towers ------------------------------------------------------------------------------------------------------


def test_specifications_are_those_of_each_kind(exports):
    for kind, tokens in (("siglip", Tokens(64, eos=1, pad=1)), ("siglip2", Tokens(64, eos=1, pad=0))):
        image, text = load_spec(exports[kind] / "image"), load_spec(exports[kind] / "text")
        half = (0.5, 0.5, 0.5)
        assert image.preprocess == Preprocess(64, 64, "bicubic", half, half, geometry="stretch")
        assert (text.tokens, text.input_shape, text.dim, image.dim) == (tokens, (64,), 64, 64)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_those_of_the_processor(checkpoints, exports, mode):
    processor = SiglipImageProcessor.from_pretrained(checkpoints["siglip"])
    files = [*drawn(), png(3, (300, 200))]
    for file, ours in zip(files, prepared(exports["siglip"], files), strict=True):
        image = Image.open(io.BytesIO(file)).convert(mode).convert("RGB")
        if mode == "L":
            ours = prepared(exports["siglip"], [encoded(np.asarray(image))])[0]
        theirs = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
        np.testing.assert_array_equal(ours, theirs.transpose(1, 2, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_towers_equal_transformers_from_files_and_strings(checkpoints, exports, kind):
    out, folder = exports[kind], checkpoints[kind]
    images = image_reference(folder, [Image.open(io.BytesIO(file)) for file in drawn()])
    pixels = prepared(out, drawn())
    texts, ids = text_reference(folder, given_to(kind, TEXTS)), Tokenizer(out / "text").encode(TEXTS)[0]
    assert_told_apart(images)
    assert_told_apart(texts)
    for size in (2, 3, 6):
        assert_same(run(out / "image", pixels[-size:]), images[-size:])
        assert_same(run(out / "text", ids[-size:]), texts[-size:])
    assert_same(run(out / "text", ids), texts)


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_is_its_own_whatever_the_batch(exports, kind):
    for tower, inputs in (
        ("image", prepared(exports[kind], drawn())),
        ("text", Tokenizer(exports[kind] / "text").encode(TEXTS)[0]),
    ):
        whole = run(exports[kind] / tower, inputs)
        alone = np.concatenate([run(exports[kind] / tower, inputs[i : i + 1]) for i in range(len(inputs))])
        np.testing.assert_allclose(alone, whole, atol=2e-6)


def test_padding_matters_unlike_in_clip(exports):
    out = exports["siglip2"] / "text"
    ids, _ = Tokenizer(out).encode(TEXTS)
    assert cosines(run(out, np.where(ids == 0, 1, ids)), run(out, ids)).min() < 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_padding_id_is_caught_and_leaves_nothing(checkpoints, tmp_path, monkeypatch, kind):
    right = family._tokens
    monkeypatch.setattr(family, "_tokens", lambda *given: replace(right(*given), pad=3))
    with pytest.raises(ParityError, match="text tower differs from its reference"):
        semscale_export.export(str(checkpoints[kind]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no DreamBooth photos here")
def test_true_shape_equals_transformers_on_photos_and_texts(tmp_path):
    folder = write_siglip(tmp_path / "siglip", SIGLIP_B_16)
    try:
        semscale_export.export(str(folder), tmp_path / "out")
        files = [file.read_bytes() for file in sorted(PHOTOS.glob("*/00.jpg"))[:4]]
        images = image_reference(folder, [Image.open(io.BytesIO(file)).convert("RGB") for file in files])
        texts, (ids, _) = text_reference(folder, TEXTS), Tokenizer(tmp_path / "out/text").encode(TEXTS)
        assert_told_apart(images)
        assert_told_apart(texts)
        assert_same(run(tmp_path / "out/image", prepared(tmp_path / "out", files)), images)
        assert_same(run(tmp_path / "out/text", ids), texts)
    finally:
        shutil.rmtree(tmp_path)  # gigabytes, which pytest would keep for three runs


# --- Half precision ----------------------------------------------------------------------------------------------

NORMS = {"image": 2 * 2 + 2, "text": 2 * 3 + 1}  # the image tower's pooling head has one of its own


@pytest.fixture(scope="module")
def half(checkpoints, exports, tmp_path_factory):
    """By tower: the folder of SigLIP's half graph, and the rows that compare it with float32."""
    root = tmp_path_factory.mktemp("half")
    found = {}
    for tower in family_of(checkpoint := find_checkpoint(str(checkpoints["siglip"]))).towers(checkpoint):
        kind = tower.spec.kind
        rows = trt_graph.write_graph(tower, exports["siglip"] / kind, root / kind, precision="fp16")
        found[kind] = (root / kind, rows)
    return found


@pytest.mark.parametrize("tower", list(NORMS))
def test_half_graph_is_close_and_its_norms_are_whole(half, tower):
    folder, rows = half[tower]
    assert [row.passed for row in rows] == [True, True]
    assert all(row.max_abs > 0 for row in rows)  # it did round
    graph = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    ops = Counter(node.op_type for node in graph.graph.node)
    assert (ops["LayerNormalization"], ops["Pow"], ops["ReduceMean"]) == (NORMS[tower], 0, 0)
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.graph.output]
    assert shapes == [["batch", 64]]


@pytest.mark.parametrize("tower", list(NORMS))
def test_tensorrt_reads_the_half_graph_with_whole_norms_and_a_dynamic_batch(half, tower):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed, so no network can be made here")
    network = inspect_graph(load_library("tensorrt_rtx"), half[tower][0] / "model.onnx")
    assert network.normalizations == NORMS[tower]
    assert (network.input.shape[0], network.output.shape) == (-1, (-1, 64))


# --- Tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_transformers_on_hard_texts(checkpoints, exports, kind):
    texts = [*HARD_TEXTS, *TEXTS, *parity.TEXTS]
    ids, cut = Tokenizer(exports[kind] / "text").encode(texts)
    theirs = by_transformers(checkpoints[kind], given_to(kind, texts)).numpy()
    assert [text for text, same in zip(texts, (ids == theirs).all(axis=1), strict=True) if not same] == []
    assert cut[texts.index("word " * 100)]
    assert ids[cut][:, -1].tolist() == [1] * cut.sum()  # what is cut still ends


@given(st.text(st.characters(exclude_categories=("M", "Cs", "Co", "Cn")), max_size=40))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_text_equals_sentencepiece(checkpoints, exports, text):
    ids, _ = Tokenizer(exports["siglip"] / "text").encode([text])
    np.testing.assert_array_equal(ids, by_transformers(checkpoints["siglip"], [text]))


def test_capitals_and_punctuation_make_no_difference_to_siglip(exports):
    tokenizer = Tokenizer(exports["siglip"] / "text")
    same, _ = tokenizer.encode(["a photo of a cat", "A  PHOTO, of a cat!!", "\ta photo of...a cat"])
    np.testing.assert_array_equal(same[0], same[1])
    assert (same[0] != same[2]).any()  # "ofa"


def test_siglip2_lowers_the_case_where_its_files_say_so(exports, tmp_path):
    ids, _ = Tokenizer(exports["siglip2"] / "text").encode(["A Photo", "a photo"])
    np.testing.assert_array_equal(ids[0], ids[1])
    kept = find_checkpoint(str(write_siglip2(tmp_path / "kept", lower=False)))
    _, exported = family._tokenizers(kept)
    assert exported.encode("A Photo").ids != exported.encode("a photo").ids


def test_bytes_that_stand_for_unknown_characters_are_converted(tmp_path):
    folder = write_siglip(tmp_path / "bytes", bytes_for_unknown=True)
    reference, exported = family._tokenizers(find_checkpoint(str(folder)))
    assert len(exported.encode("👩").ids) > 4
    assert reference("👩")["input_ids"] == exported.encode("👩").ids


def test_a_conversion_with_other_ids_is_refused(checkpoints, monkeypatch):
    checkpoint = find_checkpoint(str(checkpoints["siglip"]))
    tokenizer = SiglipTokenizer.from_pretrained(checkpoints["siglip"])
    monkeypatch.setattr(tokenizer, "remove_punctuation", lambda text: text.replace("a", ""))
    with pytest.raises(ModelError, match=r"siglip: spiece\.model cannot be turned into .* those of '.*' differ"):
        siglip_tokenizer.convert(checkpoint, tokenizer)


@pytest.mark.parametrize(("module", "package"), siglip_tokenizer.PACKAGES.items())
def test_a_missing_library_is_named(checkpoints, tmp_path, monkeypatch, module, package):
    monkeypatch.setattr(siglip_tokenizer, "find_spec", lambda name: None if name == module else name)
    with pytest.raises(MissingDependencyError, match=rf"needs {package}, .* 'semscale\[export\]'"):
        semscale_export.export(str(checkpoints["siglip"]), tmp_path / "out")


# --- Refusals ----------------------------------------------------------------------------------------------------


def test_naflex_is_refused_with_an_alternative(copied, tmp_path):
    folder = copied("siglip2")
    set_in_json(folder / "config.json", model_type="siglip2")
    with pytest.raises(ModelError, match=r"NaFlex .*google/siglip2-base-patch16-224"):
        semscale_export.export(str(folder), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "file", "change", "said"),
    [
        ("siglip2", "tokenizer_config.json", {"padding_side": "left"}, "pads on the left with '<pad>'"),
        ("siglip2", "tokenizer_config.json", {"truncation_side": "left"}, "cuts on the left"),
        (
            "siglip",
            "preprocessor_config.json",
            {"size": {"height": 64, "width": 48}},
            "preprocessor_config.json has si",
        ),
        ("siglip", "preprocessor_config.json", {"resample": 0}, "preprocessor_config.json has resample"),
    ],
)
def test_what_the_engine_cannot_express_is_refused(copied, tmp_path, kind, file, change, said):
    folder = copied(kind)
    set_in_json(folder / file, **change)
    with pytest.raises(ModelError, match=said):
        semscale_export.export(str(folder), tmp_path / "out")


def test_a_vision_half_without_its_head_is_refused(copied, tmp_path):
    folder = copied("siglip")
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    set_in_json(folder / "config.json", vision_config=vision | {"vision_use_head": False})
    with pytest.raises(ModelError, match="vision_use_head = false"):
        semscale_export.export(str(folder), tmp_path / "out")


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    small = replace(TINY, text=TINY.text | {"vocab_size": 100})
    with pytest.raises(ModelError, match=r"highest id is .* 100 embeddings"):
        semscale_export.export(str(write_siglip(tmp_path / "small", small)), tmp_path / "out")


@pytest.mark.parametrize(("kind", "file"), [("siglip", "spiece.model"), ("siglip2", "tokenizer.json")])
def test_missing_tokenizer_files_are_named(copied, tmp_path, kind, file):
    folder = copied(kind)
    (folder / file).unlink()
    with pytest.raises(ModelError, match=file):
        semscale_export.export(str(folder), tmp_path / "out")


def test_damaged_tokenizer_settings_are_named(copied, tmp_path):
    folder = copied("siglip")
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json in .* cannot be loaded"):
        semscale_export.export(str(folder), tmp_path / "out")


@pytest.mark.parametrize("size", [224, {"shortest_edge": 64}, "large"])
def test_sizes_that_are_no_height_and_width_are_refused(size, tmp_path):
    folder = write_siglip(tmp_path / "siglip")
    set_in_json(folder / "preprocessor_config.json", size=size)
    with pytest.raises(ModelError, match=r"size|preprocessor_config"):
        semscale_export.export(str(folder), tmp_path / "out")
