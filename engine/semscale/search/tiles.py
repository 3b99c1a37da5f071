"""The similarities of a join in reduced precision, tile by tile, with every place that is no pair at minus infinity.

Tiles come in an order in which each row meets the others in rising position: for a row, all tiles in which it is a
column come before those in which it is a row, except for the one tile in which it is both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from semscale.errors import UsageError
from semscale.model import Array
from semscale.prefetch import ahead
from semscale.search import blocks
from semscale.search.groups import Groups
from semscale.search.products import FLOAT32, Products
from semscale.search.sides import Side, open_side
from semscale.search.vectors import Vectors, as_vectors

STRIP = 32  # rows whose maximum stands for them in the first look at a tile


@dataclass(frozen=True, slots=True)
class Tuning:
    """What changes speed and memory, and never the answer. The defaults are for CPUs: a tile stays in their cache."""

    products: Products = FLOAT32
    tile: int = 2048  # rows and columns of one product
    panel: int = 16_384  # rows read and normalised at once: a block, the unit of resuming
    pairs: int = 262_144  # most pairs of one result

    def __post_init__(self) -> None:
        for name in ("tile", "panel", "pairs"):
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


@dataclass(frozen=True, slots=True)
class Tile:
    """The similarities of some rows with some columns, by position."""

    rows: range
    columns: range
    values: torch.Tensor  # (S strips, h, c), the rows filled up to whole strips; overwritten by the next tile


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


def tiles(join: Join, block: blocks.Block, tuning: Tuning, *, strip: int = STRIP) -> Iterator[Tile]:
    """Multiply all tiles of a block that may hold a pair; `strip` rows stand together in `Tile.values`."""
    products = tuning.products
    buffer = products.empty((tuning.tile + strip) * tuning.tile)
    panel = products.load(join.rows.units(block.rows))
    spans = blocks.spans(block.columns, tuning.tile)
    loaded = ((span, products.load(join.columns.units(span))) for span in spans)
    for columns, right in ahead(loaded, 1):
        for rows in blocks.spans(block.rows, tuning.tile):
            if _may_hold_a_pair(join, rows, columns):
                values = _padded(buffer, len(rows), len(columns), strip)
                left = panel[rows.start - block.rows.start : rows.stop - block.rows.start]
                products.multiply(left, right, values[: len(rows)])
                _mask(join, rows, columns, values[: len(rows)])
                yield Tile(rows, columns, values.view(-1, strip, len(columns)))


def _padded(buffer: torch.Tensor, rows: int, columns: int, strip: int) -> torch.Tensor:
    """Room for whole strips, in one piece; the rows past the last one hold no pair."""
    whole = strip * math.ceil(rows / strip)
    values = buffer[: whole * columns].view(whole, columns)
    values[rows:] = -torch.inf
    return values


def _may_hold_a_pair(join: Join, rows: range, columns: range) -> bool:
    if join.symmetric and columns[-1] <= rows[0]:
        return False
    return join.mode != "within" or _groups_meet(join, rows, columns)


def _groups_meet(join: Join, rows: range, columns: range) -> bool:
    left, right = join.rows.groups, join.columns.groups
    return bool(left[rows[0]] <= right[columns[-1]] and right[columns[0]] <= left[rows[-1]])


def _mask(join: Join, rows: range, columns: range, values: torch.Tensor) -> None:
    """Leave only pairs that count: the upper triangle of a self-join, and what the groups allow."""
    if join.symmetric and columns[0] <= rows[-1]:
        _forbid(values, _span(columns)[None, :] <= _span(rows)[:, None])
    if join.mode is not None and _groups_meet(join, rows, columns):
        same = join.rows.groups[rows.start : rows.stop, None] == join.columns.groups[None, columns.start : columns.stop]
        _forbid(values, same if join.mode == "across" else ~same)


def _forbid(values: torch.Tensor, where: Array) -> None:
    values.masked_fill_(torch.from_numpy(where).to(values.device), -torch.inf)


def _span(span: range) -> Array:
    return np.arange(span.start, span.stop)
