"""Looking at tiles on the processor: first in 8-bit integers, and in float32 at what that leaves open."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from semscale.model import Array
from semscale.search import kernels, quantised, scan
from semscale.search.looking import Look, Scale, Tile, Wanted, padded, raised
from semscale.search.scan import Floors, Hits

CROWDED = 0.2  # share of hopeful strips from which on float32 for the whole tile is faster than for its places
GATHERED = 256  # places multiplied at once: of 512 components, both sides stay in cache
LEAST, MOST = np.iinfo(np.int32).min, np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Rows:
    """Unit rows, and their integers as factors of `kernels.multiply_integers`."""

    units: Array  # (n, D) float32
    codes: Array  # (n, D) uint8 of rows, (D, n) int8 of columns; nothing where only float32 is used
    losses: Array  # (n,)


class FloatLooker:
    """float32 throughout, within `bound`."""

    def __init__(self, bound: float, workers: int) -> None:
        self.workers = workers if kernels.has_onnxruntime() else 1
        self._bound = bound
        self._buffers = threading.local()

    def left(self, units: Array) -> Rows:
        """(n, D) unit rows as they are."""
        return Rows(units, np.empty((len(units), 0), np.uint8), np.empty(len(units)))

    def part(self, left: Rows, start: int, stop: int) -> Rows:
        """Some of the rows."""
        return Rows(left.units[start:stop], left.codes[start:stop], left.losses[start:stop])

    def right(self, units: Array) -> Rows:
        """(m, D) unit rows as they are."""
        return self.left(units)

    def look(self, tile: Tile, wanted: Wanted) -> Look:
        """Multiply, and compare."""
        strips = self._room(tile, wanted, np.dtype(np.float32))
        flat = strips.reshape(-1, len(tile.columns))
        kernels.multiply_floats(tile.left.units, tile.right.units, flat[: len(tile.rows)])
        _mask(flat, tile, -np.inf)
        largest = scan.maxima(strips)
        floors = _raised(strips, largest, tile, wanted, Scale(1.0, self._bound, -np.inf), bound=self._bound)
        whole = padded(floors, len(flat))
        return Look(scan.reaching(strips, scan.hopeful(largest, whole), whole), floors)

    def _room(self, tile: Tile, wanted: Wanted, dtype: np.dtype[Any]) -> Array:
        """(S, strip, c), the rows of a tile filled up to whole strips; of this thread, and overwritten by its next."""
        strip = wanted.strip(len(tile.rows))
        shape = math.ceil(len(tile.rows) / strip), strip, len(tile.columns)
        room = getattr(self._buffers, "room", None)
        if room is None or len(room) < math.prod(shape):
            room = self._buffers.room = np.empty(math.prod(shape), np.int32)
        return room[: math.prod(shape)].view(dtype).reshape(shape)


class IntegerLooker(FloatLooker):
    """8-bit integers first; places that may be wanted, and tiles that are full of them, in float32."""

    def __init__(self, bound: float, workers: int, dim: int) -> None:
        super().__init__(bound, workers)
        self._worth = quantised.step(dim) ** 2

    def left(self, units: Array) -> Rows:
        """(n, D) unit rows, and their integers."""
        codes = quantised.codes(units)
        return Rows(units, kernels.unsigned(codes.values), codes.losses)

    def right(self, units: Array) -> Rows:
        """(m, D) unit rows, and their integers."""
        codes = quantised.codes(units)
        return Rows(units, np.ascontiguousarray(codes.values.T), codes.losses)

    def look(self, tile: Tile, wanted: Wanted) -> Look:
        """Multiply integers, compare, and do it again in float32 for what may be wanted."""
        strips = self._room(tile, wanted, np.dtype(np.int32))
        flat = strips.reshape(-1, len(tile.columns))
        kernels.multiply_integers(tile.left.codes, tile.right.codes, flat[: len(tile.rows)])
        _mask(flat, tile, LEAST)
        largest = scan.maxima(strips)
        off = quantised.bound(tile.left.losses, tile.right.losses)
        floors = _raised(strips, largest, tile, wanted, Scale(self._worth, off, LEAST), bound=self._bound)
        whole = self._in_integers(padded(floors, len(flat)), off)
        hopeful = scan.hopeful(largest, whole)
        if np.count_nonzero(hopeful) > CROWDED * hopeful.size:
            return super().look(tile, Wanted(floors, wanted.k))
        return Look(self._refined(tile, scan.reaching(strips, hopeful, whole), floors), floors)

    def _refined(self, tile: Tile, places: Hits, floors: Floors) -> Hits:
        """The same places in float32, without those that turn out to be below their floors."""
        values = np.empty(len(places.rows), np.float32)
        pair = self._gathered(tile.left.units.shape[1])
        for at in range(0, len(values), GATHERED):
            part = slice(at, at + GATHERED)
            left, right = pair[:, : len(values[part])]
            np.take(tile.left.units, places.rows[part], axis=0, out=left, mode="clip")  # "raise" would copy once more
            np.take(tile.right.units, places.columns[part], axis=0, out=right, mode="clip")
            np.vecdot(left, right, out=values[part])
        kept = values >= np.minimum(floors.rows[places.rows], floors.columns[places.columns])
        return Hits(places.rows[kept], places.columns[kept], values[kept])

    def _gathered(self, dim: int) -> Array:
        """(2, GATHERED, D) float32, of this thread."""
        if not hasattr(self._buffers, "gathered"):
            self._buffers.gathered = np.empty((2, GATHERED, dim), np.float32)
        return self._buffers.gathered

    def _in_integers(self, floors: Floors, off: float) -> Floors:
        """Floors of reduced similarities as floors of integer products, which are off by `off` more."""
        return Floors(self._lowered(floors.rows, off), self._lowered(floors.columns, off))

    def _lowered(self, floors: Array, off: float) -> Array:
        exact = np.floor((floors.astype(np.float64) - (off + self._bound)) / self._worth)
        return np.clip(exact, LEAST + 1, MOST).astype(np.int32)


def _mask(flat: Array, tile: Tile, masked: float) -> None:
    """Leave only places that hold a pair."""
    flat[len(tile.rows) :] = masked
    if tile.forbidden is not None:
        flat[: len(tile.rows)][tile.forbidden] = masked


def _raised(strips: Array, largest: Array, tile: Tile, wanted: Wanted, scale: Scale, *, bound: float) -> Floors:
    rows = strips.reshape(-1, len(tile.columns))[: len(tile.rows)]
    return raised(
        wanted,
        scale,
        bound=bound,
        by_column=lambda k: scan.kth_of_columns(largest, k),
        by_row=lambda k: scan.kth_of_rows(rows, k),
    )
