"""What a contestant is given, and what it makes of it. Runs in any environment that has NumPy."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Model:
    """One set of weights."""

    checkpoint: Path  # as `save_pretrained` writes it
    exported: Path  # the same, as `semscale export` writes it
    archive: Path  # the same, as the CLIP package reads it; no such file where it has no such model
    batch_size: int  # images a call, where a tool has batches
    work: Path  # a folder of the contestant's own, to write into


@dataclass(frozen=True, slots=True)
class Task:
    """Some images, in the order of their groups."""

    images: tuple[Path, ...]
    captions: tuple[str, ...]  # of each image; the images of a group share theirs
    groups: tuple[int, ...]  # of each image: 0, 1, 2 ...

    def first(self, groups: int) -> Task:
        """The images of the first groups."""
        count = sum(group < groups for group in self.groups)
        return Task(self.images[:count], self.captions[:count], self.groups[:count])

    def sets(self) -> list[list[int]]:
        """The numbers of the images of each group."""
        return [[i for i, g in enumerate(self.groups) if g == group] for group in range(max(self.groups) + 1)]

    def write(self, path: Path) -> Path:
        """Write it for `read_task`."""
        path.write_text(json.dumps(dataclasses.asdict(self), default=str), encoding="utf-8")
        return path


def read_task(path: Path) -> Task:
    """What `Task.write` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return Task(tuple(map(Path, values["images"])), tuple(values["captions"]), tuple(values["groups"]))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What came out; None where a contestant makes none of it."""

    clip_score: float | None = None  # mean over images of 100 cos(image, caption)
    consistency: tuple[float, ...] | None = None  # Semantic Consistency Score of each group, 0 to 100
    embeddings: np.ndarray | None = None  # (N, D), of the images, of any length
    seconds: float | None = None  # where it does more than its part in the comparison, and took the time itself
