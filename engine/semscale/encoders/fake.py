"""A back end without a model: fast, deterministic, and different inputs get different embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from semscale.encoders import load_spec
from semscale.encoders.checks import check_inputs
from semscale.model import Array, ModelSpec

CELLS = 4  # the image is averaged over CELLS x CELLS cells


class FakeEncoder:
    """For tests of everything around an encoder. Its embeddings mean nothing.

    An embedding is a fixed random projection of a few averages of the input, of unit L2 norm, the same for every
    batch size and position.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        features = 3 * CELLS**2 if spec.kind == "image" else spec.input_shape[0]
        # One more row than features: a constant one, so that no input has length zero.
        self._projection = np.random.default_rng(0).standard_normal((features + 1, spec.dim))

    @classmethod
    def open(cls, folder: Path, *, threads: int | None, precision: str = "fp32") -> FakeEncoder:
        """Return an encoder for the specification in `folder`; needs no `model.onnx` and starts no threads."""
        del threads, precision
        return cls(replace(load_spec(folder), note="fake back end: the scores mean nothing"))

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32. Raises UsageError for another shape or type."""
        check_inputs(inputs, self.spec)
        describe = _image_features if self.spec.kind == "image" else _text_features
        rows = [_unit(np.append(describe(row), 0.01) @ self._projection) for row in inputs]
        return np.array(rows, np.float32).reshape(-1, self.spec.dim)

    def close(self) -> None:
        """Nothing to free."""


def _image_features(pixels: Array) -> Array:
    bands = (cell for band in np.array_split(pixels, CELLS) for cell in np.array_split(band, CELLS, axis=1))
    return np.concatenate([cell.mean(axis=(0, 1)) for cell in bands]) / 255 - 0.5


def _text_features(ids: Array) -> Array:
    return np.sin(ids)  # spreads neighbouring ids


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)
