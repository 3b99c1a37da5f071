"""What every back end checks before it encodes."""

from __future__ import annotations

from semscale.errors import UsageError
from semscale.model import Array, ModelSpec


def check_inputs(inputs: Array, spec: ModelSpec) -> None:
    """Raise UsageError unless `inputs` is (B, *spec.input_shape) of spec.input_dtype."""
    if inputs.shape[1:] != spec.input_shape or inputs.dtype != spec.input_dtype or inputs.ndim == 0:
        wanted = ", ".join(["B", *map(str, spec.input_shape)])
        raise UsageError(
            f"the {spec.kind} tower of {spec.name} takes ({wanted}) {spec.input_dtype}, "
            f"not {inputs.shape} {inputs.dtype}"
        )


def closed(spec: ModelSpec) -> UsageError:
    """The error for a call of an encoder after its `close`."""
    return UsageError(f"the {spec.kind} tower of {spec.name} is closed; open it again")
