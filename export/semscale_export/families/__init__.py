"""The model families that can be exported: a table of `model_type` -> module, each imported only when asked for.

A family's module has one function, `towers(checkpoint) -> list[Tower]`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from semscale.errors import MissingDependencyError, ModelError
from semscale_export.checkpoint import Checkpoint
from semscale_export.quiet import quiet

if TYPE_CHECKING:
    from semscale_export.towers import Tower

FAMILIES = {"clip": "semscale_export.families.clip"}
PACKAGES = {"torch": "torch", "transformers": "transformers", "optimum": "optimum-onnx", "onnx": "onnx"}


class Family(Protocol):
    """What a family's module offers."""

    def towers(self, checkpoint: Checkpoint) -> list[Tower]:
        """Load the checkpoint and return its towers, the image tower first."""
        ...


def family_of(checkpoint: Checkpoint) -> Family:
    """Return the module that knows this checkpoint's family.

    Raises ModelError for a family that is not in the table, MissingDependencyError when a library is not installed.
    """
    if checkpoint.model_type not in FAMILIES:
        raise ModelError(
            f"{checkpoint.name}: model type {checkpoint.model_type!r} cannot be exported; "
            f"supported are {sorted(FAMILIES)}"
        )
    try:
        with quiet():
            return cast(Family, importlib.import_module(FAMILIES[checkpoint.model_type]))
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        raise MissingDependencyError("exporting a model", PACKAGES[error.name], "export") from error
