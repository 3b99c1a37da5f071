"""The vectors of case `pairs`, and which of their pairs are looked at: all, or those of timed blocks.

Where all would take too long, semscale's threshold join does some whole blocks of its plan, spread over it, and every
other contestant looks for the partners of some rows of those blocks among all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.model import Array
from semscale.search import blocks
from semscale.search.tiles import Tuning

K, THRESHOLD = 10, 0.6
CLUSTER, SPREAD = 10, 0.7  # rows of a cluster, about 0.67 similar to each other
SLICE = 65_536  # rows that are drawn at once
BLOCKS = 2  # of the plan
QUERIES = 2048  # rows asked about


@dataclass(frozen=True, slots=True)
class Case:
    """How many vectors of what length, where, and whether all their pairs are looked at."""

    n: int
    dim: int
    device: str  # "cpu" or "cuda"
    whole: bool

    def part(self, tuning: Tuning) -> Part:
        """What is looked at."""
        plan = blocks.plan(self.n, blocks.triangle(self.n), panel=tuning.panel)
        count = len(plan) if self.whole else min(BLOCKS, len(plan))
        chosen = tuple(plan[(2 * i + 1) * len(plan) // (2 * count)] for i in range(count))
        if self.whole:
            return Part(self.n, chosen, len(plan), np.arange(self.n))
        rows = np.concatenate([np.arange(block.rows.start, block.rows.stop) for block in chosen])
        drawn = np.random.default_rng(2).choice(rows, min(QUERIES, len(rows)), replace=False)
        return Part(self.n, chosen, len(plan), np.sort(drawn))


@dataclass(frozen=True, slots=True)
class Part:
    """Some blocks of the plan for N rows, and some rows of theirs."""

    n: int
    blocks: tuple[blocks.Block, ...]
    of_blocks: int
    queries: Array  # (S,) int64 row numbers, rising

    @property
    def whole(self) -> bool:
        """Whether everything is looked at."""
        return len(self.queries) == self.n

    @property
    def pairs(self) -> int:
        """All unordered pairs of N rows."""
        return blocks.count_pairs(self.n)

    @property
    def in_blocks(self) -> int:
        """Pairs of the blocks: of each of their rows with every later row."""
        return sum((2 * self.n - 1 - each.rows.start - each.rows.stop) * len(each.rows) // 2 for each in self.blocks)

    @property
    def of_queries(self) -> int:
        """The rows' share of all pairs; who asks about every row meets each pair twice."""
        return len(self.queries) * (self.n - 1) // 2

    def asked(self, rows: Array) -> Array:
        """(N, D) -> (S, D), the rows themselves where all are asked about."""
        return rows if self.whole else rows[self.queries]


def clusters(n: int, dim: int) -> Array:
    """(n, dim) float32 unit rows in seeded clusters, in no order."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(n // CLUSTER, 1), dim), np.float32)
    of_rows = rng.integers(0, len(centres), n)
    rows = np.empty((n, dim), np.float32)
    for at in range(0, n, SLICE):
        part = rows[at : at + SLICE]
        rng.standard_normal(dtype=np.float32, out=part)
        part *= np.float32(SPREAD)
        part += centres[of_rows[at : at + SLICE]]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows
