"""What every back end checks of its inputs and outputs."""

from __future__ import annotations

import numpy as np

from semscale.errors import ModelError, UsageError
from semscale.model import Array, ModelSpec


def check_inputs(inputs: Array, spec: ModelSpec) -> None:
    """Raise UsageError unless `inputs` is (B, *spec.input_shape) of spec.input_dtype."""
    if inputs.shape[1:] != spec.input_shape or inputs.dtype != spec.input_dtype or inputs.ndim == 0:
        wanted = ", ".join(["B", *map(str, spec.input_shape)])
        raise UsageError(
            f"the {spec.kind} tower of {spec.name} takes ({wanted}) {spec.input_dtype}, "
            f"not {inputs.shape} {inputs.dtype}"
        )


def check_finite(embeddings: Array, spec: ModelSpec) -> None:
    """Raise ModelError when a row of (B, D) holds NaN or infinity: a broken model, and never a score."""
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if broken.size:
        raise ModelError(
            f"the {spec.kind} tower of {spec.name} gave NaN or infinity for row {broken[0]} of a batch of "
            f"{len(embeddings)}; its weights are damaged, or precision {spec.precision!r} is too low for it"
        )
