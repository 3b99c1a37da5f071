"""FAISS in case `pairs`, on the CPU, at its best: see `semscale.search.faiss_library`.

Indexes have FAISS's defaults but for what their rows name: IVF has as many clusters as semscale's own index, about
4 sqrt(N), and keeps float32; HNSW links a row to 32 others and holds 64 open in a search. The two look at some of the
pairs, and their rates count those that they answer for.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from semscale.model import Array
from semscale.search.faiss_library import library
from semscale.search.kinds import shape_of
from semscale_bench.pair_contestants import BASELINES, Contestant, Done, without_self
from semscale_bench.pair_data import THRESHOLD, Case, K, Part

PROBES = (4, 16, 64)  # clusters that a search of IVF looks through
LINKS, OPEN = 32, 64  # of HNSW


def contestants(case: Case) -> list[Contestant]:
    """FAISS in both jobs."""
    lists = clusters_of(case)
    return [
        Contestant(BASELINES["threshold"], "threshold", "fp32", _range_search, flat, "faiss"),
        Contestant(BASELINES["neighbours"], "neighbours", "fp32", search, flat, "faiss"),
        *(
            Contestant(f"FAISS IVF{lists}, nprobe {probes}", "neighbours", "fp32", partial(search_ivf, probes=probes),
                       ivf, "faiss", approximate=True) for probes in PROBES if probes <= lists
        ),
        Contestant(f"FAISS HNSW{LINKS}, efSearch {OPEN}", "neighbours", "fp32", search, hnsw, "faiss",
                   approximate=True),
    ]  # fmt: skip


def clusters_of(case: Case) -> int:
    """How many clusters IVF has."""
    return shape_of("ivf", case.n, case.dim).lists


def flat(rows: Array) -> Any:
    """Every row, as it is."""
    return _filled("Flat", rows)


def ivf(rows: Array) -> Any:
    """Clusters of rows."""
    return _filled(f"IVF{shape_of('ivf', *rows.shape).lists},Flat", rows)


def hnsw(rows: Array) -> Any:
    """A graph of neighbours."""
    index = _filled(f"HNSW{LINKS},Flat", rows)
    index.hnsw.efSearch = OPEN
    return index


def search(rows: Array, part: Part, index: Any) -> Done:
    """The neighbours that an index finds."""
    return Done(without_self(index.search(part.asked(rows), K + 1)[1], part))


def search_ivf(rows: Array, part: Part, index: Any, *, probes: int) -> Done:
    """The same, in so many clusters."""
    index.nprobe = probes
    return search(rows, part, index)


def _filled(factory: str, rows: Array) -> Any:
    faiss = library("a contestant")
    index = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    return index


def _range_search(rows: Array, part: Part, index: Any) -> Done:
    limits, _, found = index.range_search(part.asked(rows), THRESHOLD)
    owners = np.repeat(part.queries, np.diff(limits.astype(np.int64)))
    later = owners < found
    return Done(owners[later] * part.n + found[later])
