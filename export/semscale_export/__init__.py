"""Checkpoint -> ONNX towers that `semscale` runs. Needs torch, transformers and optimum, imported on first use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from semscale_export import parity
from semscale_export.checkpoint import Checkpoint, find_checkpoint
from semscale_export.families import family_of
from semscale_export.new_folder import check_free, new_folder
from semscale_export.parity import ParityRow
from semscale_export.quiet import quiet

if TYPE_CHECKING:
    from semscale_export.towers import Tower

__all__ = ["ParityRow", "export", "export_checkpoint"]


def export(model: str, out: Path, *, revision: str | None = None, weights: Path | None = None) -> list[ParityRow]:
    """Export `model`, as `find_checkpoint` takes it, into the new folder `out`; return the parity table.

        out/image/model.onnx  out/image/model.json
        out/text/model.onnx   out/text/model.json   out/text/tokenizer.json
        out/parity.json

    `out` appears whole or not at all. Raises UsageError when it already holds something, ParityError when the export
    differs from the original, ModelError when the checkpoint cannot be found, read or expressed, and
    MissingDependencyError.
    """
    check_free(out)  # before a long download
    return export_checkpoint(find_checkpoint(model, revision=revision, weights=weights), out)


def export_checkpoint(checkpoint: Checkpoint, out: Path) -> list[ParityRow]:
    """Export a checkpoint that was found; otherwise as `export`."""
    check_free(out)
    family = family_of(checkpoint)
    with new_folder(out) as folder, quiet():
        return _write(family.towers(checkpoint), folder)


def _write(towers: list[Tower], folder: Path) -> list[ParityRow]:
    from semscale_export.towers import write_tower

    rows, gates = [], []
    for tower in towers:
        write_tower(tower, folder / tower.spec.kind)
        rows += parity.measure(tower, folder / tower.spec.kind)
        gates.append(parity.gate(tower, folder / tower.spec.kind))
    parity.write(rows, folder / "parity.json", gates)
    return rows
