"""What every case of `semscale bench` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure, and on what; a case takes from it what concerns it."""

    model: str = "B/32"  # a shape with random weights, a checkpoint folder, or an exported folder
    backend: str = "auto"
    precision: str | None = None  # None: the back end's own
    batch_sizes: tuple[int, ...] = ()  # (): those of the back end, and 1
    data: Path | None = None  # a folder of images; None: generated ones
    seconds: float = 3.0  # each contestant is timed for at least
    repeats: int = 3  # rounds at least
