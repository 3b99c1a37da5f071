"""Embeddings of images and texts that are already in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from semscale.checked import open_checked
from semscale.encoders import DEFAULT_MODEL, load_spec, precision_of
from semscale.errors import ModelError, UsageError
from semscale.model import Array, Encoder
from semscale.preprocess import preprocess, to_uint8
from semscale.run import exported_folder
from semscale.texts import TextTower
from semscale.tokens import Tokenizer

BATCH = 32


def encode_images(
    images: Iterable[Array], *, model: str = DEFAULT_MODEL, backend: str = "onnx", precision: str | None = None
) -> Array:
    """Images -> (N, D) float32 embeddings, the same as `score` would store for lossless files of them.

    They have unit norm where the model's have (docs/models.md). Each image is (H, W, 3) RGB, uint8, or float in [0, 1];
    sizes may differ, and (N, H, W, 3) will do. Raises UsageError, naming the image, for anything else: values are never
    rescaled on a guess.
    """
    if not isinstance(images, Iterable):
        raise UsageError(f"images are {type(images).__name__}; give a list of arrays, also for one")
    folder = exported_folder(model) / "image"
    spec = load_spec(folder)
    assert spec.preprocess is not None, f"{folder}: an image tower without preprocessing"
    pixels = [preprocess(_checked(i, image), spec.preprocess) for i, image in enumerate(images)]
    encoder = _opened(folder, backend, precision)
    try:
        rows = [encoder.encode(np.stack(pixels[at : at + BATCH])) for at in range(0, len(pixels), BATCH)]
    finally:
        encoder.close()
    return np.concatenate([np.empty((0, spec.dim), np.float32), *rows])


def encode_texts(
    texts: Sequence[str], *, model: str = DEFAULT_MODEL, backend: str = "onnx", precision: str | None = None
) -> tuple[Array, Array]:
    """Texts -> (N, D) float32 embeddings of unit norm, and (N,) bool: which were longer than the encoder reads.

    Raises ModelError when the model has no text tower.
    """
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"texts are {type(texts).__name__}; give a list of strings, also for one")
    folder = exported_folder(model) / "text"
    if not (folder / "model.json").exists():
        raise ModelError(f"{model}: has no text tower; use a CLIP or SigLIP model")
    tower = TextTower(load_spec(folder), lambda: (Tokenizer(folder), _opened(folder, backend, precision)))
    return tower.encode(texts)


def _opened(folder: Path, backend: str, precision: str | None) -> Encoder:
    """The tower, which has passed the numeric gate."""
    return open_checked(folder, backend=backend, precision=precision_of(backend, precision))[0]


def _checked(index: int, image: Array) -> Array:
    try:
        pixels = to_uint8(image)
    except UsageError as error:
        raise UsageError(f"image {index}: {error}") from error
    if pixels.ndim != 3:
        raise UsageError(f"image {index}: has the shape {pixels.shape}; give one image, (H, W, 3), at a time")
    return pixels
