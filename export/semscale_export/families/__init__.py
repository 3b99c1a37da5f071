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

FAMILIES = {
    "clip": "semscale_export.families.clip",
    "dinov2": "semscale_export.families.dinov2",
    "dinov2_with_registers": "semscale_export.families.dinov2",
    "efficientnet-lite0": "semscale_export.families.efficientnet_lite",
    "fid-inception": "semscale_export.families.inception",
    "open_clip": "semscale_export.families.open_clip",
    "siglip": "semscale_export.families.siglip",
}
REFUSED = {  # model type -> why not, and what to export in its place
    "siglip2": "it is a NaFlex checkpoint, which cuts each image into patches at a shape of its own, and an exported "
    "tower takes one size; export a SigLIP 2 of fixed resolution, for example google/siglip2-base-patch16-224"
}
PACKAGES = {"torch": "torch", "transformers": "transformers", "optimum": "optimum-onnx", "onnx": "onnx"}


class Family(Protocol):
    """What a family's module offers."""

    def towers(self, checkpoint: Checkpoint) -> list[Tower]:
        """Load the checkpoint and return its towers, the image tower first."""
        ...


def family_of(checkpoint: Checkpoint) -> Family:
    """Return the module that knows this checkpoint's family.

    Raises ModelError for a family that is refused or not in the table, MissingDependencyError when a library is not
    installed.
    """
    if checkpoint.model_type in REFUSED:
        raise ModelError(f"{checkpoint.name} cannot be exported: {REFUSED[checkpoint.model_type]}")
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
