"""How much of the truth an index finds, measured on rows that it did not learn from, against the exact search.

An index that looks through clusters looks through more of them until it finds TARGET of the true neighbours, or more
clusters no longer help.
"""

from __future__ import annotations

import numpy as np

from semscale.model import Array
from semscale.search.exact import top_k
from semscale.search.index import SEED, Index, best, candidates, unit_rows
from semscale.search.kinds import MOST_PROBES, TRAINED
from semscale.search.recheck import EQUAL
from semscale.search.vectors import Vectors

RECALL_K = 10
QUERIES = 256
TARGET = 0.95
HELPS = 0.005  # recall gained by twice the clusters


def held_out(vectors: Vectors) -> Array:
    """(q,) row numbers, rising, to measure recall with: at most QUERIES valid ones, the same whenever asked."""
    n = vectors.shape[0]
    drawn = np.sort(np.random.default_rng(SEED).choice(n, min(QUERIES, -(-n // 10)), replace=False))
    return drawn[unit_rows(vectors.take(drawn))[1]]


def tuned_recall(index: Index, vectors: Vectors, queries: Array) -> float:
    """The recall of an index in the end, when it looks through as many clusters as it takes."""
    rows = vectors.take(queries)
    truth = _nearest_others(vectors, rows, queries)
    found = _recall(index, vectors, rows, queries, truth)
    while index.shape.kind in TRAINED and found < TARGET and index.shape.probes < min(index.shape.lists, MOST_PROBES):
        before = found
        index.look_through(min(2 * index.shape.probes, index.shape.lists, MOST_PROBES))
        found = _recall(index, vectors, rows, queries, truth)
        if found < before + HELPS:
            break
    return found


def recall(index: Index, vectors: Vectors, queries: Array) -> float:
    """Share of the RECALL_K nearest rows of each of (q,) rows, but the row itself, that the index finds.

    A row as similar as the exact last one, to within EQUAL, counts: among copies any will do. NaN without neighbours.
    """
    rows = vectors.take(queries)
    return _recall(index, vectors, rows, queries, _nearest_others(vectors, rows, queries))


def _recall(index: Index, vectors: Vectors, rows: Array, numbers: Array, truth: list[Array]) -> float:
    hits = wanted = 0
    offered = candidates(index, unit_rows(rows)[0], RECALL_K) if len(rows) else ()
    for found, row, number, exact in zip(offered, rows, numbers, truth, strict=True):
        similarity = best(vectors, found, row, RECALL_K, without=int(number))[1]
        hits += min(len(exact), int((similarity >= exact.min(initial=np.inf) - EQUAL).sum()))
        wanted += len(exact)
    return hits / wanted if wanted else float("nan")


def _nearest_others(vectors: Vectors, rows: Array, numbers: Array) -> list[Array]:
    """(q, D) stored rows and their (q,) numbers -> for each the exact similarities of its RECALL_K nearest others."""
    found = []
    for part in top_k(vectors, RECALL_K + 1, queries=rows):
        asked = numbers[part.rows.start : part.rows.stop]
        for number, ids, similarity in zip(asked, part.ids, part.similarity, strict=True):
            found.append(similarity[(ids >= 0) & (ids != number)][:RECALL_K])
    return found
