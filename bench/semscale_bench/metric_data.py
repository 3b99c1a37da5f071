"""The features of case `metrics`: those of two sets of images, and the embeddings of one group, in files.

A few directions hold most of the spread, as in the features of networks, and every other has a little, so that no
covariance is singular. The second set differs in mean and spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semscale.model import Array

JOBS = ("fid solve", "fid", "kid full", "kid subsets", "prdc", "prc", "vendi")
RANK, NOISE = 64, 0.1  # directions with spread, and the spread of all others
SLICE = 4096  # rows that are drawn at once


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is compared."""

    rows: int = 50_000  # of either set, where the time grows as their number; at least 2 dim
    dim: int = 2048
    compared: int = 10_000  # of them at most, where every row meets every other
    subsets: int = 100  # of KID
    subset_size: int = 1000
    group: int = 10_000  # embeddings of the group
    group_dim: int = 512

    @property
    def few(self) -> int:
        """Rows of either set that all meet each other."""
        return min(self.rows, self.compared)


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """What is compared, mapped from the files real.npy, fake.npy and group.npy of a folder."""

    folder: Path
    sizes: Sizes
    real: Array  # (rows, dim) float32
    fake: Array  # (rows, dim) float32
    group: Array  # (group, group_dim) float32


def write(folder: Path, sizes: Sizes) -> Data:
    """Draw everything from fixed seeds."""
    directions = np.random.default_rng(0).standard_normal((RANK, max(sizes.dim, sizes.group_dim)), np.float32)
    directions /= np.sqrt(np.arange(1, RANK + 1, dtype=np.float32))[:, None]
    wide, narrow = directions[:, : sizes.dim], directions[:, : sizes.group_dim]
    real = _write(folder / "real.npy", sizes.rows, wide, seed=1)
    fake = _write(folder / "fake.npy", sizes.rows, wide, seed=2, scale=0.9, shift=0.05)
    return Data(folder, sizes, real, fake, _write(folder / "group.npy", sizes.group, narrow, seed=3))


def _write(path: Path, n: int, directions: Array, *, seed: int, scale: float = 1.0, shift: float = 0.0) -> Array:
    rng = np.random.default_rng(seed)
    rank, dim = directions.shape
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim))
    for at in range(0, n, SLICE):
        part = rng.standard_normal((min(SLICE, n - at), rank), np.float32) @ (np.float32(scale) * directions)
        part += np.float32(NOISE) * rng.standard_normal(part.shape, np.float32)
        rows[at : at + SLICE] = part + np.float32(0.5 + shift)
    rows.flush()
    return np.load(path, mmap_mode="r")
