"""The tiles of a join, each with the places that hold no pair.

Tiles come in an order in which each row meets the others in rising position: for a row, all tiles in which it is a
column come before those in which it is a row, except for the one tile in which it is both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from semscale.cores import usable_cores
from semscale.errors import UsageError
from semscale.model import Array
from semscale.prefetch import ahead, ordered_map
from semscale.search import blocks
from semscale.search.groups import Groups
from semscale.search.lookers import looker
from semscale.search.looking import Look, Looker, Tile, Wanted
from semscale.search.products import AUTO, Products
from semscale.search.sides import Side, open_side
from semscale.search.vectors import Vectors, as_vectors


@dataclass(frozen=True, slots=True)
class Tuning:
    """What changes speed and memory, and never the answer. The defaults are for CPUs: a tile stays in their cache."""

    products: Products = AUTO
    tile: int = 1024  # rows and columns of one product
    panel: int = 65_536  # rows read and normalised at once: a block, the unit of resuming
    pairs: int = 262_144  # most pairs of one result
    workers: int = field(default_factory=usable_cores)  # threads that look

    def __post_init__(self) -> None:
        for name in ("tile", "panel", "pairs", "workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of {getattr(self, name)}; give at least 1")


DEFAULT = Tuning()


@dataclass(frozen=True, slots=True)
class Join:
    """What is compared with what."""

    rows: Side
    columns: Side  # the same object in a self-join
    mode: str | None  # of the groups; None where there are none

    @property
    def symmetric(self) -> bool:
        """Whether each unordered pair of one set counts once."""
        return self.rows is self.columns

    def plan(self, tuning: Tuning) -> list[blocks.Block]:
        """All blocks."""
        reach = blocks.triangle(len(self.rows)) if self.symmetric else blocks.rectangle(len(self.columns))
        if self.mode == "within":
            reach = blocks.inside(self.rows.groups, self.columns.groups, reach)
        return blocks.plan(len(self.rows), reach, panel=tuning.panel)


def open_join(vectors: Array | Vectors, other: Array | Vectors | None, groups: Groups | None) -> Join:
    """Read both sides once. Raises UsageError when they do not fit each other or the groups."""
    mode = None if groups is None else groups.mode
    rows = open_side(as_vectors(vectors), None if groups is None else groups.rows)
    if other is None:
        return Join(rows, rows, mode)
    if groups is not None and groups.columns is None:
        raise UsageError("groups between two sets need `columns`, the groups of the other set")
    columns = open_side(as_vectors(other), None if groups is None else groups.columns)
    if rows.dim != columns.dim:
        raise UsageError(f"rows of {rows.dim} numbers and rows of {columns.dim}; embed both with one model")
    return Join(rows, columns, mode)


def looks(
    join: Join, block: blocks.Block, tuning: Tuning, wanted: Callable[[Tile], Wanted]
) -> Iterator[tuple[range, range, Look]]:
    """Look at all tiles of a block that may hold a pair, in order, several at once: their rows, columns, and looks.

    `wanted` is asked on the thread that looks, when it begins to. No tile is handed on, because it would keep a block.
    """
    looking = looker(tuning.products, join.rows.dim, columns=len(join.columns), workers=tuning.workers)
    tiles = _tiles(join, block, tuning.tile, looking)
    yield from ordered_map(
        lambda tile: (tile.rows, tile.columns, looking.look(tile, wanted(tile))),
        tiles,
        workers=looking.workers,
        depth=2 * looking.workers,
    )


def _tiles(join: Join, block: blocks.Block, size: int, looking: Looker) -> Iterator[Tile]:
    panel = looking.left(join.rows.units(block.rows))
    loaded = ((span, looking.right(join.columns.units(span))) for span in blocks.spans(block.columns, size))
    for columns, right in ahead(loaded, 1):
        for rows in blocks.spans(block.rows, size):
            if _may_hold_a_pair(join, rows, columns):
                left = looking.part(panel, rows.start - block.rows.start, rows.stop - block.rows.start)
                yield Tile(rows, columns, left, right, _forbidden(join, rows, columns))


def _may_hold_a_pair(join: Join, rows: range, columns: range) -> bool:
    if join.symmetric and columns[-1] <= rows[0]:
        return False
    return join.mode != "within" or _groups_meet(join, rows, columns)


def _groups_meet(join: Join, rows: range, columns: range) -> bool:
    left, right = join.rows.groups, join.columns.groups
    return bool(left[rows[0]] <= right[columns[-1]] and right[columns[0]] <= left[rows[-1]])


def _forbidden(join: Join, rows: range, columns: range) -> Array | None:
    """(h, c) places that do not count: below the upper triangle of a self-join, and what the groups do not allow."""
    places = None
    if join.symmetric and columns[0] <= rows[-1]:
        places = _span(columns)[None, :] <= _span(rows)[:, None]
    if join.mode is not None and _groups_meet(join, rows, columns):
        same = join.rows.groups[rows.start : rows.stop, None] == join.columns.groups[None, columns.start : columns.stop]
        against = same if join.mode == "across" else ~same
        places = against if places is None else places | against
    return places


def _span(span: range) -> Array:
    return np.arange(span.start, span.stop)
