"""One tile of a join: which of its places may be wanted, and their similarities in reduced precision.

A look is given floors: reduced similarities below which a place is of no interest to its row or to its column. It may
raise them by what it sees itself. Where a row has k places of at least v, and v is off by at most d, its k-th best
exact similarity is at least v - d, so nothing is wanted whose reduced similarity is below that by more than its bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from semscale.model import Array
from semscale.search.scan import Floors, Hits

LOWEST = np.float32(-1e30)  # below every similarity, however reduced; above what is masked
STRIP = 8  # rows whose maximum stands for them in the first look at a tile


@dataclass(frozen=True, slots=True)
class Tile:
    """Some rows and some columns of a join, by position, and which of their places hold no pair."""

    rows: range
    columns: range
    left: Any  # what `Looker.left` made of the rows
    right: Any  # what `Looker.right` made of the columns
    forbidden: Array | None  # (h, c) bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for in a tile."""

    floors: Floors  # float32, of its h rows and c columns; inf where nobody asks
    k: int = 0  # raise floors that are LOWEST by the k best places of the tile

    def strip(self, tile: int) -> int:
        """Rows of a strip: so few that k strips of a tile bound its k-th best place from below."""
        return max(1, min(STRIP, tile // (2 * self.k))) if self.k else STRIP


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in a tile."""

    hits: Hits  # places within the tile, and their reduced similarities, float32
    floors: Floors  # as given, or raised


class Looker(Protocol):
    """How tiles are looked at on one device in one precision. Looks from several threads do not disturb each other."""

    workers: int  # tiles looked at at once, at most

    def left(self, units: Array) -> Any:
        """(n, D) float32 unit rows -> the rows of tiles, to be cut by `part`."""
        ...

    def part(self, left: Any, start: int, stop: int) -> Any:
        """Some of the rows."""
        ...

    def right(self, units: Array) -> Any:
        """(m, D) float32 unit rows -> the columns of a tile."""
        ...

    def look(self, tile: Tile, wanted: Wanted) -> Look:
        """Find every place whose reduced similarity is at its row's floor or at its column's, or above."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """What the values of a tile mean: similarity = worth * value, off by at most `off`."""

    worth: float
    off: float
    masked: float  # the value of places that hold no pair


def raised(
    wanted: Wanted,
    scale: Scale,
    *,
    bound: float,
    by_column: Callable[[int], Array | None],
    by_row: Callable[[int], Array | None],
) -> Floors:
    """Floors of reduced similarities within `bound`, raised where they are LOWEST by the k-th values of the tile.

    `by_column` and `by_row` give, for each, a value that at least k places reach; None where there are too few.
    """

    def higher(floors: Array, kth_of: Callable[[int], Array | None]) -> Array:
        if not wanted.k or floors.min(initial=np.inf) > LOWEST or (kth := kth_of(wanted.k)) is None:
            return floors
        at_least = np.where(kth == scale.masked, -np.inf, kth * scale.worth - scale.off)
        return np.maximum(floors, (at_least - bound).astype(np.float32))

    return Floors(higher(wanted.floors.rows, by_row), higher(wanted.floors.columns, by_column))


def padded(floors: Floors, rows: int) -> Floors:
    """The same with floors for `rows` rows, the last of which fill up a strip and hold nothing."""
    filled = np.full(rows, np.inf, np.float32)
    filled[: len(floors.rows)] = floors.rows
    return Floors(filled, floors.columns)
