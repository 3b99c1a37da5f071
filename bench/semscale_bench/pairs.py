"""Case `pairs`: N vectors to every pair above a threshold, and to the 10 nearest of each.

Regime: float32 unit vectors in memory to arrays of row numbers and similarities in memory, all on the CPU. Ceiling: the
fastest float32 product of the same rounds, counted on the N (N - 1) / 2 pairs that have to be looked at; whoever
multiplies every pair twice reaches half of it at best. Outputs of every round are kept and compared: a sample of rows
with float64 brute force, and every contestant with semscale in full.

FAISS multiplies with the OpenBLAS in its wheel, which takes a processor that it does not know for one without AVX and
then runs five times slower. Where the processor has AVX-512 it is told so, unless OPENBLAS_CORETYPE is set or FAISS was
imported before: the comparison is with FAISS at its best.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from semscale.encoders.machine import CPUINFO
from semscale.model import Array
from semscale.search import FLOAT32, blocks, pairs_above, reference, top_k
from semscale_bench import roof
from semscale_bench.measure import Timing, measure

DIM, K, THRESHOLD = 512, 10, 0.6
CLUSTER, SPREAD = 10, 0.7  # rows of a cluster, about 0.67 similar to each other
ROWS = 1024  # of a block of torch's product
CHECKED = 50  # rows compared with float64 brute force
BASELINES = {"threshold": "faiss range_search", "neighbours": "faiss flat"}
OURS = {"threshold": "semscale threshold", "neighbours": "semscale top-k"}


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant."""

    name: str
    timing: Timing  # units are pairs
    roof_share: float  # of the fastest float32 product
    of_baseline: float  # rate over that of FAISS in the same job, the median of rounds
    recall: float  # of semscale's pairs, or of its neighbours


@dataclass(frozen=True, slots=True)
class Found:
    """All about one N."""

    n: int
    n_pairs: int  # above the threshold
    roof: float  # FLOP/s
    rows: list[Row]
    absent: list[str]  # who was not run, and why


class Job:
    """One way of doing one job, as `measure` wants it. It keeps what came out last."""

    def __init__(self, kind: str, pairs: int, work: Callable[[], Array]) -> None:
        self.kind, self._pairs, self._work = kind, pairs, work
        self.output: Array = np.empty(0)

    def __call__(self) -> int:
        """Do it; the pairs looked at."""
        self.output = self._work()
        return self._pairs


def clusters(n: int) -> Array:
    """(n, DIM) float32 unit rows in seeded clusters, in no order."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(n // CLUSTER, 1), DIM), np.float32)
    rows = centres[rng.integers(0, len(centres), n)] + np.float32(SPREAD) * rng.standard_normal((n, DIM), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def bench_pairs(n: int, *, repeats: int) -> Found:
    """Time every contestant that is installed, and the float32 products, in turn in the same rounds.

    AssertionError when an output is wrong.
    """
    rows = clusters(n)
    jobs, absent = _jobs(rows)
    products = roof.products("cpu", "fp32")
    timings = measure({**jobs, **roof.contestants(products)}, repeats=repeats)
    best = max(roof.roof_of(product, timings[roof.contestant_name(product)]).best for product in products)
    _check(rows, jobs)
    found = [_row(name, jobs, timings, best) for name in jobs]
    return Found(n, len(jobs[OURS["threshold"]].output), best, found, absent)


def _jobs(rows: Array) -> tuple[dict[str, Job], list[str]]:
    pairs = blocks.count_pairs(len(rows))
    jobs = {
        OURS["threshold"]: Job("threshold", pairs, lambda: _threshold(rows)),
        OURS["neighbours"]: Job("neighbours", pairs, lambda: _top_k(rows)),
        "torch matmul and topk": Job("neighbours", pairs, lambda: _torch(rows)),
    }
    absent = []
    if importlib.util.find_spec("faiss"):
        index = _faiss_index(rows)
        jobs[BASELINES["threshold"]] = Job("threshold", pairs, lambda: _range_search(index, rows))
        jobs[BASELINES["neighbours"]] = Job("neighbours", pairs, lambda: _without_self(index.search(rows, K + 1)[1]))
    else:
        absent.append("FAISS: not installed; pip install faiss-cpu")
    if importlib.util.find_spec("sklearn"):
        jobs["scikit-learn"] = Job("neighbours", pairs, lambda: _scikit_learn(rows))
    else:
        absent.append("scikit-learn: not installed; pip install scikit-learn")
    return jobs, absent


def _threshold(rows: Array) -> Array:
    return np.concatenate([_code(found.a, found.b, len(rows)) for found in pairs_above(rows, THRESHOLD)])


def _top_k(rows: Array) -> Array:
    return np.concatenate([found.ids for found in top_k(rows, K)])


def _torch(rows: Array) -> Array:
    units = torch.from_numpy(rows)
    found = [(units[at : at + ROWS] @ units.T).topk(K + 1).indices for at in range(0, len(rows), ROWS)]
    return _without_self(torch.cat(found).numpy())


def _scikit_learn(rows: Array) -> Array:
    from sklearn.neighbors import NearestNeighbors  # pyright: ignore[reportMissingImports] - not everywhere

    model = NearestNeighbors(n_neighbors=K + 1, metric="cosine", algorithm="brute").fit(rows)
    return _without_self(model.kneighbors(rows, return_distance=False))


def _faiss_index(rows: Array):  # noqa: ANN202 - a class of a library that may be absent
    if "avx512f" in _cpu_flags():
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index


def _cpu_flags() -> list[str]:
    return CPUINFO.read_text(encoding="utf-8").split() if CPUINFO.is_file() else []


def _range_search(index, rows: Array) -> Array:  # noqa: ANN001 - the same
    limits, _, found = index.range_search(rows, THRESHOLD)
    owners = np.repeat(np.arange(len(rows)), np.diff(limits.astype(np.int64)))
    upper = owners < found
    return _code(owners[upper], found[upper], len(rows))


def _code(a: Array, b: Array, n: int) -> Array:
    """Pairs as single numbers, to be compared as sets."""
    return a * n + b


def _without_self(ids: Array) -> Array:
    """(N, K + 1) neighbours of each row -> (N, K) of others: without the row itself, or without the last one."""
    own = ids == np.arange(len(ids))[:, None]
    own[~own.any(axis=1), -1] = True
    return ids[~own].reshape(len(ids), -1)


def _check(rows: Array, jobs: dict[str, Job]) -> None:
    """Compare semscale with float64 on a sample, and FAISS's pairs with semscale's but for those within rounding."""
    n, sample = len(rows), np.random.default_rng(1).choice(len(rows), min(CHECKED, len(rows)), replace=False)
    exact = reference.similarities(rows[sample], rows)
    exact[np.arange(len(sample)), sample] = -2.0
    pairs, nearest = (jobs[name].output for name in OURS.values())
    a, b = np.divmod(pairs, n)
    for line, row in zip(exact, sample, strict=True):
        assert np.array_equal(np.sort(np.concatenate([b[a == row], a[b == row]])), np.flatnonzero(line >= THRESHOLD))
        assert np.array_equal(nearest[row], np.lexsort((np.arange(n), -line))[:K])
    for job in jobs.values():
        if job.kind == "threshold":
            left, right = np.divmod(np.setxor1d(pairs, job.output), n)
            off = np.abs(np.einsum("pd,pd->p", rows[left], rows[right], dtype=np.float64) - THRESHOLD)
            assert (off <= FLOAT32.bound(DIM)).all(), "pairs differ by more than float32 may"


def _row(name: str, jobs: dict[str, Job], timings: dict[str, Timing], best: float) -> Row:
    job, timing = jobs[name], timings[name]
    baseline = timings.get(BASELINES[job.kind])
    rounds = [] if baseline is None else [b / o for o, b in zip(timing.seconds, baseline.seconds, strict=True)]
    ratio = float(np.median(rounds)) if rounds else float("nan")
    return Row(name, timing, timing.rate * 2 * DIM / best, ratio, _recall(job, jobs[OURS[job.kind]]))


def _recall(job: Job, ours: Job) -> float:
    """Share of what semscale found that this one found too."""
    if job.kind == "threshold":
        return float(np.isin(ours.output, job.output).mean())
    return float((job.output[:, :, None] == ours.output[:, None, :]).any(axis=1).mean())
