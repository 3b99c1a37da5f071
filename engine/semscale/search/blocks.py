"""Which rows are compared with which: pure arithmetic on positions, made before the first product.

A block is a panel of rows, read once, against all columns that it has yet to meet, read tile by tile in rising order.
Blocks are what a join can be resumed by, and the plan never depends on what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from semscale.model import Array

Reach = Callable[[range], range]  # rows of a block -> the columns that may hold a partner of one of them


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of pairs, by position; of a self-join the part above the diagonal counts."""

    index: int
    rows: range
    columns: range


def spans(whole: range, size: int) -> list[range]:
    """Cut a range into consecutive ones of at most `size`."""
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def plan(n: int, reach: Reach, *, panel: int) -> list[Block]:
    """All blocks of `n` rows, `panel` of them in each, in the order to do them in."""
    return [Block(index, rows, reach(rows)) for index, rows in enumerate(spans(range(n), panel))]


def triangle(n: int) -> Reach:
    """Columns of a self-join: from the first row of the panel on."""
    return lambda rows: range(rows.start, n)


def rectangle(m: int) -> Reach:
    """Columns of a join with `m` other rows: all of them."""
    return lambda rows: range(m)


def inside(rows: Array, columns: Array, reach: Reach) -> Reach:
    """Narrow `reach` to the columns whose group lies among the rows'; (N,) and (M,) groups in rising order."""

    def narrowed(panel: range) -> range:
        wide = reach(panel)
        low = int(np.searchsorted(columns, rows[panel[0]], side="left"))
        high = int(np.searchsorted(columns, rows[panel[-1]], side="right"))
        return range(max(low, wide.start), max(low, wide.start, min(high, wide.stop)))

    return narrowed


def count_pairs(n: int, m: int | None = None) -> int:
    """Unordered pairs of `n` rows, or pairs of `n` rows with `m` others."""
    return n * (n - 1) // 2 if m is None else n * m
