"""The numeric gate: an exported model against the family's own library, in float32."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale.encoders import open_encoder
from semscale.errors import ParityError
from semscale.model import Array
from semscale.tokens import Tokenizer

if TYPE_CHECKING:
    from semscale_export.towers import Tower

TOLERANCE = 1e-5  # cosine distance; float32 rounding alone gives about 1e-7
BATCH_SIZES = (1, 2, 5)
TEXTS = (
    "a photo of a cat",
    "",
    "Crème brûlée, 東京の夜景, a 👩‍🚀 riding a horse — 50 % off",
    "an oil painting of " + "a lighthouse on a cliff above the sea at dusk, " * 20,
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


def measure(tower: Tower, folder: Path) -> list[ParityRow]:
    """Compare the tower exported into `folder` with its reference on fixed inputs, one row a batch size.

    Images start from the same pixels on both sides. Texts start from the strings, so that tokenising is compared too.
    """
    if tower.spec.kind == "image":
        raw: Sequence[Any] = images(tower.spec.input_shape[0])
        inputs = np.stack(raw)
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


def write(rows: Sequence[ParityRow], path: Path) -> None:
    """Write the table to `path` as JSON. Raises ParityError, after writing, when a row did not pass."""
    table = [dataclasses.asdict(row) for row in rows]
    path.write_text(json.dumps({"format": 1, "rows": table}, indent=2) + "\n", encoding="utf-8")
    failed = [row for row in rows if not row.passed]
    if failed:
        worst = min(failed, key=lambda row: row.min_cosine)
        raise ParityError(
            f"the exported {worst.tower} tower differs from its reference at batch size {worst.batch_size}: cosine "
            f"distance {1 - worst.min_cosine:.3g}, allowed {worst.tolerance:g}. Nothing was kept; report this with "
            "the model's name and the versions of torch, transformers and onnxruntime"
        )


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
