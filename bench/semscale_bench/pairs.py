"""Case `pairs`: N vectors to every pair above a threshold, and to the 10 nearest of each.

Regime: float32 unit vectors in memory to arrays of row numbers in memory. The building of an index counts: it is timed
once, and the rate is all N (N - 1) / 2 pairs over its seconds and the median round's. Ceiling: the fastest product of
the same rounds in the precision of the contestant, and in float32, counted on those pairs; whoever multiplies every
pair twice reaches half of it at best, and an index that leaves pairs out has none.

Where a part of the pairs is timed (`pair_data`), seconds are scaled by pairs looked at, but for the reading of all rows
before the first block. Outputs of the last round are checked: semscale's by float64 brute force on a sample of rows,
others' pairs by semscale's, and others' neighbours have their recall stated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from semscale.model import Array
from semscale_bench import pair_checks, roof
from semscale_bench.measure import Timing, measure
from semscale_bench.pair_contestants import BASELINES, Contestant
from semscale_bench.pair_data import Case, Part, clusters
from semscale_bench.pair_entries import beside, entries, tuning
from semscale_bench.pair_memory import Peak, peak
from semscale_bench.roof import Roof


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant."""

    name: str
    job: str
    precision: str  # of its products
    extent: str  # "measured", or what it was extrapolated from
    timing: Timing  # of what was done in a round; units are pairs
    build_seconds: float  # of its index, once
    seconds: tuple[float, ...]  # for all pairs, of each round, building included
    rate: float  # pairs a second, at the median of `seconds`
    roof_share: float | None  # of the fastest product in its precision; None where it leaves pairs out
    of_fp32: float | None  # the same, of the fastest float32 product
    of_baseline: float | None  # rate over that of FAISS in the same job, the median of rounds; None without FAISS
    recall: float  # of semscale's pairs, or of its neighbours
    peak: Peak | None  # None where it was not asked for

    @property
    def median(self) -> float:
        """Of `seconds`."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median of `seconds`."""
        return (max(self.seconds) - min(self.seconds)) / self.median


@dataclass(frozen=True, slots=True)
class Found:
    """All about one case."""

    case: Case
    n_pairs: int  # above the threshold; extrapolated where not all were looked at
    rows: list[Row]
    roofs: list[Roof]
    absent: list[str]  # who was not run, and why


class Job:
    """A contestant at work, as `measure` wants it. It keeps what came out last."""

    def __init__(self, contestant: Contestant, rows: Array, part: Part, index: Index) -> None:
        self._contestant, self._rows, self._part, self._index = contestant, rows, part, index
        self._once: list[float] = []  # of each go, the warm-up included
        self.output: Array = np.empty(0)

    def __call__(self) -> int:
        """Do it; the pairs looked at."""
        done = self._contestant.work(self._rows, self._part, self._index.index)
        self.output = done.output
        self._once.append(done.once)
        return self._contestant.looked_at(self._part)

    def seconds(self, timing: Timing) -> tuple[float, ...]:
        """For all pairs, of each round, the building of the index included."""
        scale = self._part.pairs / timing.units
        rounds = zip(timing.seconds, self._once[1:], strict=True)
        return tuple(self._index.seconds + once + scale * (took - once) for took, once in rounds)


@dataclass(frozen=True, slots=True)
class Index:
    """What a contestant searches, or None, and how long it took to build."""

    index: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class _Rounds:
    """What was measured."""

    case: Case
    part: Part
    outputs: dict[str, Array]
    timings: dict[str, Timing]
    seconds: dict[str, tuple[float, ...]]
    roofs: list[Roof]

    def share(self, contestant: Contestant, precision: str) -> float | None:
        """Of the fastest product in a precision."""
        if contestant.approximate:
            return None
        best = max(each.best for each in self.roofs if each.precision == precision)
        return self.rate(contestant) * 2 * self.case.dim / best

    def rate(self, contestant: Contestant) -> float:
        """Pairs a second."""
        return self.part.pairs / statistics.median(self.seconds[contestant.name])

    def of_baseline(self, contestant: Contestant) -> float | None:
        """Rate over that of FAISS."""
        theirs = self.seconds.get(BASELINES[contestant.job])
        if theirs is None:
            return None
        return statistics.median(np.divide(theirs, self.seconds[contestant.name]).tolist())


def bench_pairs(case: Case, *, repeats: int, memory: bool = True, rivals: tuple[str, ...] = ()) -> Found:
    """Time every contestant that is installed, and the products, in turn in the same rounds.

    `rivals` names some of the others, as `beside` takes them. Before that each works once in a process of its own, for
    its peak memory. AssertionError when an output is wrong.
    """
    present, absent = entries(case)
    everyone = beside(rivals, present)
    peaks = {each.name: peak(case, each.name) if memory else None for each in everyone}
    rows, part = clusters(case.n, case.dim), case.part(tuning(case))
    indexes = _built(everyone, rows)
    jobs = {each.name: Job(each, rows, part, indexes[each.build]) for each in everyone}
    rounds = _measured(case, part, jobs, {"fp32", *(each.precision for each in everyone)}, repeats)
    pair_checks.check(rows, part, everyone, rounds.outputs)
    found = [_row(each, rounds, indexes[each.build].seconds, peaks[each.name]) for each in everyone]
    return Found(case, pair_checks.count_found(part, rounds.outputs), found, rounds.roofs, absent)


def _built(everyone: list[Contestant], rows: Array) -> dict[Callable[[Array], Any] | None, Index]:
    """Each index once."""
    indexes: dict[Callable[[Array], Any] | None, Index] = {None: Index(None, 0.0)}
    for build in {each.build: None for each in everyone if each.build is not None}:
        start = time.perf_counter()
        indexes[build] = Index(build(rows), time.perf_counter() - start)
    return indexes


def _measured(case: Case, part: Part, jobs: dict[str, Job], precisions: set[str], repeats: int) -> _Rounds:
    products = _products(case, precisions)
    timings = measure({**jobs, **roof.contestants(products)}, repeats=repeats)
    roofs = [roof.roof_of(product, timings[roof.contestant_name(product)]) for product in products]
    outputs = {name: job.output for name, job in jobs.items()}
    seconds = {name: job.seconds(timings[name]) for name, job in jobs.items()}
    return _Rounds(case, part, outputs, timings, seconds, roofs)


def _products(case: Case, precisions: set[str]) -> list[roof.Product | roof.IntegerProduct]:
    floating = [each for precision in sorted(precisions) for each in roof.products(case.device, precision)]
    return floating + (roof.integer_products() if "int8" in precisions else [])


def _row(contestant: Contestant, rounds: _Rounds, build_seconds: float, peak: Peak | None) -> Row:
    name, precision, part = contestant.name, contestant.precision, rounds.part
    return Row(
        name=name,
        job=contestant.job,
        precision=precision,
        extent=contestant.extent(part),
        timing=rounds.timings[name],
        build_seconds=build_seconds,
        seconds=rounds.seconds[name],
        rate=rounds.rate(contestant),
        roof_share=rounds.share(contestant, precision),
        of_fp32=rounds.share(contestant, "fp32"),
        of_baseline=rounds.of_baseline(contestant),
        recall=pair_checks.recall(contestant, part, rounds.outputs),
        peak=peak,
    )
