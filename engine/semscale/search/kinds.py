"""Which index suits how many vectors, and what it needs: pure arithmetic, stated before the first vector is read.

    kind    compares a query with                              keeps of a row    chosen, where memory allows
    flat    every row                                          float32           up to FLAT_ROWS
    hnsw    rows reached along a graph of neighbours           float32, links    up to HNSW_ROWS
    ivf     the rows of the clusters nearest to it             float16           above
    ivfpq   the same, each row compressed to a few bytes       D / 8 bytes       where memory is short

HNSW: Malkov and Yashunin 2018, doi 10.1109/TPAMI.2018.2889473. IVF and PQ: Jégou et al. 2011, doi
10.1109/TPAMI.2010.57.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from semscale.errors import UsageError

KINDS = ("flat", "hnsw", "ivf", "ivfpq")
EXTENDED = ("flat", "hnsw", "ivf")  # take new rows; the codes of ivfpq were learned from the old ones
TRAINED = ("ivf", "ivfpq")
FLAT_ROWS = 100_000  # up to here a search of everything takes milliseconds
HNSW_ROWS = 2_000_000  # beyond, building the graph takes hours
LINKS = 32  # of a row in the graph, each way
EF_SEARCH = 128  # rows of the graph held open by a search
PER_LIST = 40  # training rows a cluster; FAISS asks for 39
MOST_LISTS = 32_768
MOST_PROBES = 2048  # clusters that a GPU looks through
MIN_PQ_ROWS = 16_384  # to learn the 256 codes from, 39 rows each, and leave some for the measurement
STALE_LISTS = 4  # times the rows that clusters were made for: then new clusters are due
REFETCHED = {"flat": 1, "hnsw": 1, "ivf": 1, "ivfpq": 8}  # candidates a result wanted, to be compared exactly
MARGIN = 16  # candidates beyond
SHORT = 8  # times longer that products of rows of 8 numbers take, those of codes
PASSES = 4  # over all vectors: which are valid, adding them, and two for the exact search that recall is measured by


@dataclass(frozen=True, slots=True)
class Shape:
    """An index of some kind for rows of D numbers."""

    kind: str
    dim: int
    lists: int = 0  # clusters, of ivf and ivfpq
    probes: int = 0  # clusters that a search looks through
    code: int = 0  # bytes that a row is compressed to, of ivfpq

    @property
    def factory(self) -> str:
        """FAISS's name for it."""
        return {
            "flat": "IDMap,Flat",
            "hnsw": f"IDMap,HNSW{LINKS}",
            "ivf": f"IVF{self.lists},SQfp16",
            "ivfpq": f"IVF{self.lists},PQ{self.code}np",
        }[self.kind]

    @property
    def parameters(self) -> dict[str, str | int]:
        """What the record of an index says of it."""
        probes = {"probes": self.probes} if self.kind in TRAINED else {}
        return {"factory": self.factory, **probes, **({"ef_search": EF_SEARCH} if self.kind == "hnsw" else {})}

    def training_rows(self, n: int) -> int:
        """How many of N rows it learns from."""
        if self.kind not in TRAINED:
            return 0
        return min(n, max(PER_LIST * self.lists, MIN_PQ_ROWS if self.kind == "ivfpq" else 0))

    def candidates(self, k: int) -> int:
        """How many rows to ask the index for, so that the k best of them, compared exactly, are right."""
        return REFETCHED[self.kind] * k + MARGIN

    def size(self, n: int) -> int:
        """Bytes of an index of N rows, on disk and in memory."""
        row = {"flat": 4 * self.dim, "hnsw": 4 * self.dim + 8 * LINKS + 20, "ivf": 2 * self.dim, "ivfpq": self.code}
        return n * (row[self.kind] + 8) + self.lists * 4 * self.dim

    def peak(self, n: int) -> int:
        """Bytes of memory while an index of N rows is built: FAISS copies its arrays whenever they grow."""
        return 2 * self.size(n) + 4 * self.dim * self.training_rows(n)


def shape_of(kind: str, n: int, dim: int) -> Shape:
    """The index of one of KINDS for N rows of D numbers. Raises UsageError for ivfpq of too few rows."""
    if kind not in TRAINED:
        return Shape(kind, dim)
    if kind == "ivfpq" and n < MIN_PQ_ROWS:
        raise UsageError(f"an ivfpq index learns from at least {MIN_PQ_ROWS} vectors, and there are {n}; choose flat")
    lists = max(1, min(MOST_LISTS, round(4 * math.sqrt(n)), n // (2 * PER_LIST)))
    code = max(size for size in range(1, max(1, dim // 8) + 1) if dim % size == 0)
    return Shape(kind, dim, lists, min(lists, max(8, lists // 16)), code if kind == "ivfpq" else 0)


def choose(n: int, dim: int, *, memory: int) -> str:
    """The kind for N rows of D numbers in `memory` bytes: the first that suits N and fits, else the smallest."""
    suits = [kind for kind, most in (("flat", FLAT_ROWS), ("hnsw", HNSW_ROWS)) if n <= most]
    suits += ["ivf", *(["ivfpq"] if n >= MIN_PQ_ROWS else [])]
    return next((kind for kind in suits if shape_of(kind, n, dim).peak(n) <= memory), suits[-1])


@dataclass(frozen=True, slots=True)
class Rates:
    """What a small sample took on this machine."""

    read: float  # rows a second, read from the store and normalised
    multiplied: float  # floating-point operations a second, of float32 products
    linked: Mapping[int, float]  # rows in a graph -> seconds to build it; empty where there is none


def seconds(shape: Shape, n: int, rates: Rates, *, queries: int) -> float:
    """About how long it takes to build an index of N rows and to measure its recall with some queries."""
    training = 10 * 2 * shape.training_rows(n) * shape.lists * shape.dim  # ten rounds of k-means
    assigning = 2 * n * shape.lists * shape.dim
    coding = SHORT * 2 * (25 * shape.training_rows(n) + n) * 256 * shape.dim if shape.kind == "ivfpq" else 0
    measuring = 2 * queries * n * shape.dim
    linking = sum(took * n * math.log(n + 1) / (m * math.log(m + 1)) for m, took in rates.linked.items())
    return PASSES * n / rates.read + (training + assigning + coding + measuring) / rates.multiplied + linking
