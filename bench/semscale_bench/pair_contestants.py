"""What a contestant of case `pairs` is, and those that are not FAISS.

Job `threshold`: every pair of THRESHOLD or more, as a number a N + b with a < b, of the rows a that are looked at. Job
`neighbours`: the K nearest others of each row asked about. Both from (N, D) float32 rows in memory.

semscale's neighbours come only once everything was compared, so they cannot be timed by blocks. Where not everything is
looked at they are found for the rows asked about, which reads all rows for a few and meets each pair twice: the rate
is one that the whole join exceeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch

from semscale.model import Array
from semscale.search import Tuning, pairs_above, top_k
from semscale.search.selected import Selected
from semscale.search.vectors import ArrayVectors
from semscale_bench.pair_data import THRESHOLD, K, Part

PRODUCT_BYTES = 1 << 30  # of torch's product, at most
PRODUCT_ROWS = 1024  # of it, at most
PRECISIONS = {"float32": "fp32", "float16": "fp16", "int8": "int8"}  # as `roof` calls them
BASELINES = {"threshold": "FAISS range_search", "neighbours": "FAISS flat"}
OURS = {"threshold": "semscale threshold", "neighbours": "semscale top-k"}


@dataclass(frozen=True, slots=True)
class Done:
    """What came out of a job."""

    output: Array  # (P,) pairs as numbers, or (S, K) row numbers
    once: float = 0.0  # seconds of it that would not grow with the part that is looked at


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way of doing one job."""

    name: str
    job: str
    precision: str  # of its products
    work: Callable[[Array, Part, Any], Done]  # of rows, the part of their pairs, and the index
    build: Callable[[Array], Any] | None = None  # makes the index; who names the same function shares one
    needs: str | None = None  # the module that it uses
    approximate: bool = False  # whether it leaves pairs out, so that nobody knows how many it multiplies
    by_blocks: bool = False  # whether it looks at the blocks of a part, else at what the rows asked about have

    def looked_at(self, part: Part) -> int:
        """Unordered pairs."""
        return part.in_blocks if self.by_blocks else part.of_queries

    def extent(self, part: Part) -> str:
        """What it was timed on."""
        if part.whole:
            return "measured"
        if self.by_blocks:
            return f"extrapolated from {len(part.blocks)} of {part.of_blocks} blocks"
        at_least = ", at least" if self.name == OURS["neighbours"] else ""
        return f"extrapolated from {len(part.queries)} of {part.n} rows{at_least}"


def ours(tuning: Tuning) -> list[Contestant]:
    """semscale in both jobs."""
    precision = PRECISIONS[tuning.products.used]
    threshold, neighbours = partial(_threshold, tuning=tuning), partial(_top_k, tuning=tuning)
    return [
        Contestant(OURS["threshold"], "threshold", precision, threshold, by_blocks=True),
        Contestant(OURS["neighbours"], "neighbours", precision, neighbours),
    ]


def torch_top_k(device: str, precision: str, dtype: torch.dtype) -> Contestant:
    """Multiply as many rows with all as fit, and keep the best of each."""

    def work(rows: Array, part: Part, _index: None) -> Done:
        began = time.perf_counter()
        units = torch.from_numpy(rows).to(device, dtype)
        once = time.perf_counter() - began
        asked = units if part.whole else units[torch.from_numpy(part.queries).to(device)]
        step = max(1, min(PRODUCT_ROWS, PRODUCT_BYTES // (units.element_size() * part.n)))
        found = [(asked[at : at + step] @ units.T).topk(K + 1).indices for at in range(0, len(asked), step)]
        return Done(without_self(torch.cat(found).cpu().numpy(), part), once)

    return Contestant("torch matmul and topk", "neighbours", precision, work)


def scikit_learn() -> Contestant:
    """Its brute force, which is a product and a partial sort too."""

    def work(rows: Array, part: Part, _index: None) -> Done:
        from sklearn.neighbors import NearestNeighbors  # pyright: ignore[reportMissingImports] - not everywhere

        began = time.perf_counter()
        model = NearestNeighbors(n_neighbors=K + 1, metric="cosine", algorithm="brute").fit(rows)
        once = time.perf_counter() - began
        return Done(without_self(model.kneighbors(part.asked(rows), return_distance=False), part), once)

    return Contestant("scikit-learn", "neighbours", "fp32", work, needs="sklearn")


def without_self(ids: Array, part: Part) -> Array:
    """(S, K + 1) neighbours of each row asked about -> (S, K) others: without the row itself, or without the last."""
    own = ids == part.queries[:, None]
    own[~own.any(axis=1), -1] = True
    return ids[~own].reshape(len(ids), -1)


def _threshold(rows: Array, part: Part, _index: None, *, tuning: Tuning) -> Done:
    found, once = [], 0.0
    for first, last in _runs([block.index for block in part.blocks]):
        start = time.perf_counter()
        pairs = pairs_above(rows, THRESHOLD, tuning=tuning, first=first)  # reads all rows; the blocks come when asked
        once += time.perf_counter() - start
        for each in pairs:
            found.append(each.a * part.n + each.b)
            if each.last and each.block == last:
                break
    return Done(np.concatenate(found), once)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Rising numbers -> the first and the last of each run of consecutive ones."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield members[0], members[-1]


def _top_k(rows: Array, part: Part, _index: None, *, tuning: Tuning) -> Done:
    start = time.perf_counter()
    if part.whole:
        found = top_k(rows, K, tuning=tuning)
    else:
        queries = Selected(ArrayVectors(rows), part.queries)
        found = top_k(rows, K + 1, queries=queries, tuning=tuning)
    once = time.perf_counter() - start
    ids = np.concatenate([each.ids for each in found])
    return Done(ids if part.whole else without_self(ids, part), once)
