"""A FAISS index over rows of length 1, so that inner products are cosines; its ids are row numbers of the store.

Rows that are zero or not finite are left out. What an index finds are candidates: their similarities are computed
again in float64 (`rescored`), so what it answers differs from the exact answer only in rows that it missed.
"""

from __future__ import annotations

import dataclasses
import errno
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from semscale.errors import StoreError
from semscale.model import Array
from semscale.search import faiss_gpu
from semscale.search.faiss_library import library
from semscale.search.kinds import EF_SEARCH, TRAINED, Rates, Shape
from semscale.search.recheck import cosines
from semscale.search.sides import dots, open_side
from semscale.search.vectors import ArrayVectors, Vectors

SLICE = 8192  # rows that are read and normalised at a time
SEED = 0
TRIAL = 2048  # rows that rates are measured with, and at most a tenth of all


class Index:
    """An index of one shape. `trained` makes one, `read` opens one."""

    def __init__(self, shape: Shape, form: Any) -> None:
        self.shape = shape
        self._faiss = library(f"an index of kind {shape.kind}")
        self._form = form  # on the CPU
        self._placed: Any = None  # on GPUs
        self._numbers: Array | None = None  # of the rows of `_placed`, where it does not know them itself
        self._newer = False  # whether the GPUs hold more than the CPU form
        self._set_search()

    def __len__(self) -> int:
        return int((self._placed if self._newer else self._form).ntotal)

    @classmethod
    def trained(cls, shape: Shape, sample: Array) -> Index:
        """An empty index that has learned from (n, D) float32 unit rows what it needs to.

        Raises MissingDependencyError where FAISS is not installed.
        """
        faiss = library(f"an index of kind {shape.kind}")
        form = faiss.index_factory(shape.dim, shape.factory, faiss.METRIC_INNER_PRODUCT)
        if shape.kind in TRAINED:
            if faiss_gpu.gpus(faiss, shape.kind):
                faiss_gpu.train(faiss, form, sample)
            else:
                form.train(sample)
        return cls(shape, form)

    @classmethod
    def read(cls, path: Path, shape: Shape) -> Index:
        """Open a file that `write` wrote. Raises StoreError for anything else, MissingDependencyError."""
        faiss = library(f"an index of kind {shape.kind}")
        try:
            form = faiss.read_index(str(path))
        except RuntimeError as error:
            raise StoreError(f"{path}: not an index that FAISS reads; build it again with `semscale index`") from error
        return cls(shape, form)

    def write(self, path: Path) -> None:
        """Write the CPU form. Raises OSError when the file cannot be written."""
        try:
            self._faiss.write_index(self._on_cpu(), str(path))
        except RuntimeError as error:  # how FAISS says so
            raise OSError(errno.EIO, str(error), str(path)) from error

    def add(self, ids: Array, units: Array) -> None:
        """Add (n, D) float32 unit rows under (n,) int64 row numbers."""
        if self.shape.kind == "ivf" and self._gpus():
            self._on_gpus().add_with_ids(units, ids)
            self._newer = True
        else:
            self._form.add_with_ids(units, ids)
            self._placed = None

    def search(self, units: Array, k: int) -> Array:
        """(Q, D) float32 unit rows -> (Q, k) int64 row numbers, roughly best first; -1 where fewer were found."""
        if not self._gpus() or k > faiss_gpu.MOST:
            return self._on_cpu().search(units, k)[1]
        found = self._on_gpus().search(units, k)[1]
        return found if self._numbers is None else np.where(found >= 0, self._numbers[found], -1)

    def look_through(self, probes: int) -> None:
        """Have every search look through so many clusters."""
        self.shape = dataclasses.replace(self.shape, probes=probes)
        self._on_cpu()
        self._placed = None
        self._set_search()

    def _gpus(self) -> int:
        return faiss_gpu.gpus(self._faiss, self.shape.kind)

    def _on_gpus(self) -> Any:
        if self._placed is None:
            flat = self.shape.kind == "flat"  # the GPUs take what the map of row numbers leads to
            self._numbers = self._faiss.vector_to_array(self._form.id_map) if flat else None
            self._placed = faiss_gpu.placed(self._faiss, self._form.index if flat else self._form)
        return self._placed

    def _on_cpu(self) -> Any:
        if self._newer:
            self._form = faiss_gpu.returned(self._faiss, self._placed)
            self._newer = False
            self._set_search()
        return self._form

    def _set_search(self) -> None:
        if self.shape.kind in TRAINED:
            self._form.nprobe = self.shape.probes
        if self.shape.kind == "hnsw":
            self._faiss.downcast_index(self._form.index).hnsw.efSearch = EF_SEARCH


def survey(vectors: Vectors) -> Array:
    """(N,) bool: which rows are neither zero nor infinite nor NaN. Reads all of them once, in slices."""
    valid = np.empty(vectors.shape[0], bool)
    for rows in slices(range(vectors.shape[0])):
        valid[rows] = unit_rows(vectors.take(rows))[1]
    return valid


def add_rows(index: Index, vectors: Vectors, rows: range, *, first: int = 0) -> int:
    """Add the valid ones of some consecutive rows, in slices, numbered from `first` on; how many there were."""
    before = len(index)
    for part in slices(rows):
        units, valid = unit_rows(vectors.take(part))
        index.add(part[valid] + first, units[valid])
    return len(index) - before


def slices(rows: range) -> Iterable[Array]:
    """(n,) row numbers, at most SLICE at a time."""
    return (np.arange(at, min(at + SLICE, rows.stop)) for at in range(rows.start, rows.stop, SLICE))


def training_sample(vectors: Vectors, valid: Array, shape: Shape, *, without: Array) -> Array:
    """(n, D) float32 unit rows to learn from, none of the rows `without` where there are others; always the same."""
    rows = np.flatnonzero(valid)
    others = np.setdiff1d(rows, without, assume_unique=True)
    drawn = np.random.default_rng(SEED).permutation(others if len(others) else rows)
    return _taken(vectors, np.sort(drawn[: shape.training_rows(len(drawn))]))


def rescored(index: Index, vectors: Vectors, query: Array, k: int, *, without: int = -1) -> tuple[Array, Array]:
    """(D,) query -> at most k (n,) row numbers and float64 similarities, best first, ties by the lower number.

    Leaves out the row `without`. The similarities are exact; the rows are those that the index did not miss.
    """
    units, valid = unit_rows(query[None])
    if not valid[0]:
        return np.empty(0, np.int64), np.empty(0)
    return best(vectors, candidates(index, units, k)[0], query, k, without=without)


def candidates(index: Index, units: Array, k: int) -> Array:
    """(Q, D) float32 unit rows -> (Q, c) int64 rows that may be among the k most similar ones; -1 where fewer."""
    return index.search(units, min(index.shape.candidates(k + 1), max(len(index), 1)))


def best(vectors: Vectors, found: Array, query: Array, k: int, *, without: int) -> tuple[Array, Array]:
    """What `rescored` returns, of some (c,) candidates for a (D,) query."""
    found = np.unique(found)
    found = found[(found >= 0) & (found != without)]
    left, right = open_side(ArrayVectors(query[None])), open_side(ArrayVectors(vectors.take(found)))
    similarity = cosines(left, np.zeros(len(right), np.int64), right, np.arange(len(right)))
    order = np.argsort(-similarity, kind="stable")[:k]
    return found[right.ids][order], similarity[order]


def measure_rates(vectors: Vectors, shape: Shape) -> Rates:
    """Time a small sample: reading, multiplying and, for a graph, linking."""
    started = time.perf_counter()
    units, valid = unit_rows(vectors.take(np.arange(min(TRIAL, -(-vectors.shape[0] // 10)))))
    read = len(units) / (time.perf_counter() - started)
    units = units[valid]
    started = time.perf_counter()
    np.matmul(units, units.T)
    multiplied = 2 * len(units) ** 2 * shape.dim / (time.perf_counter() - started)
    linked = {}
    if shape.kind == "hnsw":
        started = time.perf_counter()
        Index.trained(shape, units).add(np.arange(len(units)), units)
        linked = {len(units): time.perf_counter() - started}
    return Rates(read, multiplied, linked)


def _taken(vectors: Vectors, rows: Array) -> Array:
    """(n,) valid rows -> (n, D) float32 unit rows, widened a slice at a time."""
    out = np.empty((len(rows), vectors.shape[1]), np.float32)
    for part in slices(range(len(rows))):
        out[part] = unit_rows(vectors.take(rows[part]))[0]
    return out


def unit_rows(rows: Array) -> tuple[Array, Array]:
    """(n, D) stored rows -> float32 rows of length 1, and (n,) bool: which have a direction; the others are zeros."""
    squares = dots(rows, rows)
    valid = np.isfinite(squares) & (squares > 0)
    units = np.zeros(rows.shape, np.float32)
    units[valid] = rows[valid] / np.sqrt(squares[valid])[:, None]
    return units, valid
