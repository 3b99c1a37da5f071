"""CLIP's other configurations and long text towers: equal to transformers at their true sizes, but for the layers.

Layers repeat; two of them leave a model with every width, head, patch, position and activation that it has. The whole
depth is proved for B/32 and L/14 in test_export.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from checkpoints import CLIP_TOKENIZER, set_in_json, write_clip
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

import semscale_export
from semscale.checked import checked
from semscale.encoders import load_spec, open_encoder
from semscale.preprocess import preprocess
from semscale.producers.probes import probe_images
from semscale.tokens import Tokenizer
from semscale_bench.random_clip import SHAPES, TINY, VIT_L_14
from semscale_export import parity

TEXTS = [
    "a photo of a cat",
    "",
    "two cats, one dog",
    "café 東京 👩‍🚀",
    "a lighthouse on a cliff above the sea at dusk, " * 40,
]
TOKENIZER = CLIP_TOKENIZER if CLIP_TOKENIZER.is_dir() else None  # without it a small vocabulary


def cut(shape, layers):
    few = {"num_hidden_layers": layers}
    return dataclasses.replace(shape, vision=shape.vision | few, text=shape.text | few)


def transformers_rows(folder, images, texts, length):
    """Unit rows of both towers from transformers' own processor, tokenizer and model."""
    model = CLIPModel.from_pretrained(folder).eval()
    pixels = CLIPImageProcessor.from_pretrained(folder)(images, return_tensors="pt")
    options = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
    ids = CLIPTokenizerFast.from_pretrained(folder)(texts, **options)
    with torch.inference_mode():
        return {"image": model.get_image_features(**pixels).numpy(), "text": model.get_text_features(**ids).numpy()}


def exported_rows(out, images, texts):
    settings = load_spec(out / "image").preprocess
    pixels = np.stack([preprocess(np.asarray(image), settings) for image in images])
    return {"image": run(out / "image", pixels), "text": run(out / "text", Tokenizer(out / "text").encode(texts)[0])}


def run(folder, inputs):
    encoder = open_encoder(folder)
    try:
        return encoder.encode(inputs)
    finally:
        encoder.close()


def unit(rows):
    return np.float64(rows) / np.linalg.norm(np.float64(rows), axis=1, keepdims=True)


def assert_same(actual, expected):
    assert (unit(expected) @ unit(expected).T).min() < 0.9  # tells inputs apart, or what follows could not fail
    for shared in (0.0, unit(expected).mean(axis=0)):
        assert (unit(unit(actual) - shared) * unit(unit(expected) - shared)).sum(axis=1).min() > 1 - 1e-6


@pytest.mark.parametrize("name", ["B/16", "L/14@336", "H/14", "bigG/14"])
def test_true_sizes_cut_to_2_layers_equal_transformers(name, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "PROBES", 8)  # what follows compares too
    shape = cut(SHAPES[name], 2)
    folder = write_clip(tmp_path / "clip", shape, tokenizer=TOKENIZER)
    semscale_export.export(str(folder), tmp_path / "out")
    side = shape.image_size
    images = [Image.fromarray(image) for image in probe_images(9, shape=(side + 20, side + 60, 3))[::4]]
    expected = transformers_rows(folder, images, TEXTS, length=77)
    for tower, rows in exported_rows(tmp_path / "out", images, TEXTS).items():
        assert rows.shape[1] == shape.projection_dim
        assert_same(rows, expected[tower])


# --- Long texts --------------------------------------------------------------------------------------------------


LONG = {"true-size": (VIT_L_14.text, 77), "tiny": (TINY.text, 248)}  # and what the tokenizer says that it reads


@pytest.fixture(scope="module", params=LONG)
def long(tmp_path_factory, request):
    """A CLIP whose text tower reads 248 tokens, and its export."""
    return write_long(tmp_path_factory.mktemp("long"), *LONG[request.param])


def write_long(root, text, said):
    if TOKENIZER is None:
        pytest.skip("no CLIP tokenizer here")
    shape = dataclasses.replace(TINY, text=text | {"max_position_embeddings": 248})
    folder = write_clip(root / "clip", shape, tokenizer=TOKENIZER)
    set_in_json(folder / "tokenizer_config.json", model_max_length=said)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "PROBES", 8)  # what follows compares too
        semscale_export.export(str(folder), root / "out")
    return folder, root / "out"


def of_tokens(count):
    """A text of `count` tokens with the two at its ends."""
    return " ".join(["cat", "dog", "sea"][number % 3] for number in range(count - 2))


def test_every_position_of_a_long_text_tower_is_used(long):
    _, out = long
    assert load_spec(out / "text").tokens.length == 248
    tokenizer = Tokenizer(out / "text")
    ids, cut_off = tokenizer.encode([of_tokens(count) for count in (77, 78, 247, 248, 249, 300)])
    assert cut_off.tolist() == [False, False, False, False, True, True]
    eos = load_spec(out / "text").tokens.eos
    assert (ids == eos).argmax(axis=1).tolist() == [76, 77, 246, 247, 247, 247]  # the end token is kept


def test_long_texts_equal_transformers(long):
    folder, out = long
    texts = [*TEXTS[:2], *(of_tokens(count) for count in (77, 78, 248, 400))]
    expected = transformers_rows(folder, [Image.new("RGB", (80, 64))], texts, length=248)["text"]
    assert_same(run(out / "text", Tokenizer(out / "text").encode(texts)[0]), expected)


def test_what_lies_beyond_77_tokens_counts_up_to_248(long):
    _, out = long
    start, longer = of_tokens(100), of_tokens(260)
    ids, _ = Tokenizer(out / "text").encode([start + " a", start + " b", longer + " a", longer + " b"])
    first, second, beyond, further = unit(run(out / "text", ids))
    assert first @ second < 1 - 1e-5
    assert beyond @ further > 1 - 1e-9


def test_the_gate_and_int8_take_long_texts(tmp_path):
    _, out = write_long(tmp_path, *LONG["tiny"])
    encoder = open_encoder(out / "text", precision="int8")
    found = checked(out / "text", encoder, backend="onnx", precision="int8")
    encoder.close()
    assert (found.n, found.invalid) == (128, 0)
    assert 0.9 < found.plain_min < 1
