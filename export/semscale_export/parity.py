"""Proof of an export: its towers against the family's own library, in float32, and what runs them against the towers.

`measure` and `gate` are for a tower that was just exported. `check` is for an exported folder at any later time: every
back end and precision that runs on this machine against the towers in ONNX Runtime, which `measure` proved.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale.checked import REFERENCE, WITHOUT_MODEL, Reference, as_json, library_version, measured, reference_of
from semscale.encoders import BACK_ENDS, find_exported, open_encoder
from semscale.errors import MissingDependencyError, ModelError, ParityError, UsageError
from semscale.gate import Comparison, Probes, check_encoder, probes_of
from semscale.model import Array
from semscale.producers.probes import probe_texts
from semscale.tokens import Tokenizer

if TYPE_CHECKING:
    from semscale_export.towers import Tower

TOLERANCE = 1e-5  # cosine distance; float32 rounding alone gives about 1e-7
BATCH_SIZES = (1, 2, 5)
PROBES = 64  # of the gate at export: torch takes twice as long over them as ONNX Runtime
TORCH_BATCH = 16
TEXTS = (
    "a photo of a cat",
    "",
    "Crème brûlée, 東京の夜景, a 👩‍🚀 riding a horse — 50 % off",
    "an oil painting of " + "a lighthouse on a cliff above the sea at dusk, " * 40,
    "two <|endoftext|> in one text, and what follows the first",
)


@dataclass(frozen=True, slots=True)
class ParityRow:
    """How far one tower is from its reference at one batch size."""

    tower: str  # "image" or "text"
    batch_size: int
    max_abs: float  # the largest difference of two coordinates
    min_cosine: float  # over the batch, between an embedding and its reference
    tolerance: float  # the largest cosine distance that passes
    passed: bool


@dataclass(frozen=True, slots=True)
class NotRun:
    """A back end and precision that could not be compared on this machine, and why."""

    tower: str
    candidate: str
    why: str


def measure(tower: Tower, folder: Path) -> list[ParityRow]:
    """Compare the tower exported into `folder` with its reference on fixed inputs, one row a batch size.

    Images start from the same pixels on both sides. Texts start from the strings, so that tokenising is compared too.
    """
    if tower.spec.kind == "image":
        raw: Sequence[Any] = images(tower.spec.input_shape[0])
        inputs = np.stack(raw).astype(tower.spec.input_dtype)
    else:
        raw = TEXTS
        inputs, _ = Tokenizer(folder).encode(TEXTS)
    expected = tower.reference(raw)
    encoder = open_encoder(folder)
    try:
        return [compare(tower.spec.kind, encoder.encode(inputs[:size]), expected[:size]) for size in BATCH_SIZES]
    finally:
        encoder.close()


def compare(tower: str, actual: Array, expected: Array, *, tolerance: float = TOLERANCE) -> ParityRow:
    """Return the row for two (B, D) arrays. NaN on either side fails."""
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    lowest = float(cosines.min())
    return ParityRow(tower, len(a), float(np.abs(a - b).max()), lowest, tolerance, 1 - lowest <= tolerance)


def write(rows: Sequence[ParityRow], path: Path, gates: Sequence[Comparison] = ()) -> None:
    """Write both tables to `path` as JSON. Raises ParityError, after writing, when a row or a gate did not pass."""
    tables = {"rows": [dataclasses.asdict(row) for row in rows], "gate": [as_json(gate) for gate in gates]}
    path.write_text(json.dumps({"format": 1, **tables}, indent=2) + "\n", encoding="utf-8")
    failed = [row for row in rows if not row.passed]
    if failed:
        worst = min(failed, key=lambda row: row.min_cosine)
        if any(math.isnan(row.min_cosine) for row in failed):
            raise ParityError(
                f"the {worst.tower} tower gives embeddings that are zero or not finite: the checkpoint's weights, or "
                "the precision, cannot hold them. Nothing was kept"
            )
        raise ParityError(
            f"the exported {worst.tower} tower differs from its reference at batch size {worst.batch_size}: cosine "
            f"distance {1 - worst.min_cosine:.3g}, allowed {worst.tolerance:g}. Nothing was kept; report this with "
            "the model's name and the versions of torch, transformers and onnxruntime"
        )
    for found in gates:
        found.raise_if_failed()


def gate(tower: Tower, folder: Path) -> Comparison:
    """Compare the tower exported into `folder` with its reference on the first PROBES probes of the numeric gate."""
    inputs = probes_of(folder, count=PROBES)
    encoder = open_encoder(folder)
    try:
        found = check_encoder(encoder, _torch_rows(tower, inputs), inputs=inputs, precision="fp32")
    finally:
        encoder.close()
    return _against_torch(found)


def check(folder: Path) -> list[Comparison | NotRun]:
    """Compare every back end and precision with the towers in the exported `folder` in float32, image tower first.

    Among them is torch in float32, where the checkpoint is at hand. What cannot run here says why. What was found is
    recorded beside the towers. Raises ModelError for a folder that is not an export.
    """
    if find_exported(folder) is None:
        raise ModelError(f"{folder}: not an exported model; give a folder that semscale export wrote")
    towers = [folder / kind for kind in ("image", "text") if (folder / kind / "model.json").is_file()]
    return [found for tower in towers for found in _check_tower(reference_of(tower), tower.name)]


def _check_tower(reference: Reference, kind: str) -> Iterator[Comparison | NotRun]:
    for backend in sorted(set(BACK_ENDS) - {WITHOUT_MODEL}):
        for precision in BACK_ENDS[backend].precisions:
            if (backend, precision) == REFERENCE:
                continue
            try:
                encoder = open_encoder(reference.folder, backend=backend, precision=precision)
            except (MissingDependencyError, UsageError, ModelError) as error:
                yield NotRun(kind, f"{backend} {precision}", str(error))
                continue
            try:
                yield measured(reference, encoder, backend=backend, precision=precision)
            finally:
                encoder.close()


def _torch_rows(tower: Tower, inputs: Probes) -> Array:
    raw: Sequence[Any] = inputs.inputs if tower.spec.kind == "image" else probe_texts(len(inputs.inputs))
    parts = [tower.reference(raw[start : start + TORCH_BATCH]) for start in range(0, len(raw), TORCH_BATCH)]
    return np.concatenate(parts)


def _against_torch(found: Comparison) -> Comparison:
    import torch

    versions = {"onnx": library_version("onnx"), "torch": str(torch.__version__)}
    return dataclasses.replace(found, candidate=" ".join(REFERENCE), reference="torch fp32", versions=versions)


def images(side: int) -> list[Array]:
    """Return the fixed test images, (side, side, 3) uint8 each: noise, black, white, a ramp and coloured blocks."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    blocks = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(-(-side // 8), axis=0).repeat(-(-side // 8), axis=1)
    return [
        rng.integers(0, 256, (side, side, 3), np.uint8),
        blocks[:side, :side],
        np.stack(
            [np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 128, np.uint8)], 2
        ),
        np.zeros((side, side, 3), np.uint8),
        np.full((side, side, 3), 255, np.uint8),
    ]
