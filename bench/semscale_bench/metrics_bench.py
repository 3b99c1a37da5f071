"""Case `metrics`: features in files to the distances between two sets, and to the diversity of one.

Regime: (N, D) float32 rows, mapped from files in the page cache, to numbers; peers, which want arrays, have them in
memory before the clock starts, in a process of their own that waits while others work. Ceiling: the fastest product in
the precision of semscale's products, of the same rounds, counted on the operations of `metric_contestants`. `fid solve`
has none: it is a factorisation and eigenvalues, and has a goal.

Every output of every round, the warm-up included, is compared with what plain NumPy computes once, in another way.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from semscale_bench import metric_plain
from semscale_bench.measure import Timing, measure
from semscale_bench.metric_contestants import OURS, PRECISIONS, Contestant, Job, contestants, operations
from semscale_bench.metric_data import JOBS, Data, Sizes, write
from semscale_bench.metric_peers import peers
from semscale_bench.metric_plain import Values
from semscale_bench.metric_roof import Roofs
from semscale_bench.roof import Roof

GOALS = {"fid solve": 10.0}  # seconds of a job


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant in one job."""

    job: str
    name: str
    version: str | None  # of a peer
    seconds: tuple[float, ...]  # of each round
    speed_up: float | None  # its seconds over semscale's, the median of rounds; None for semscale
    precision: str | None  # of semscale's products
    operations: int | None  # of products; None where there is more to it, and for others than semscale
    roof_share: float | None  # of the fastest product in that precision
    peak_bytes: int  # of memory, above what was held before
    values: Values  # of the last round
    off: float  # the largest difference of a value from plain NumPy's, relative
    goal_seconds: float | None  # of semscale, where one is set

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
    """All about the case."""

    sizes: Sizes
    rows: list[Row]
    roofs: list[Roof]
    absent: list[str]  # who was not run, and why


def bench_metrics(sizes: Sizes, *, repeats: int, jobs: Sequence[str] = JOBS, python: Path | None = None) -> Found:
    """Time everyone in some jobs, and the products, in turn in the same rounds; peers by the interpreter `python`.

    AssertionError when an output is wrong, UsageError when `python` is none.
    """
    with TemporaryDirectory() as folder:
        data = write(Path(folder), sizes)
        with peers(python, data, jobs) as (others, absent):
            everyone = [*(each for job in jobs for each in contestants(job, data)), *others]
            rows, roofs = _measured(everyone, data, jobs, repeats)
    return Found(sizes, sorted(rows, key=lambda row: jobs.index(row.job)), roofs, absent)


def _measured(
    everyone: Sequence[Contestant], data: Data, jobs: Sequence[str], repeats: int
) -> tuple[list[Row], list[Roof]]:
    expected = {job: metric_plain.expected(job, data) for job in jobs}
    working = {each.full_name: Job(each, expected[each.job]) for each in everyone}
    products = Roofs(sorted({PRECISIONS[job] for job in jobs if operations(job, data.sizes)}))
    timings = measure({**working, **products.contestants()}, repeats=repeats)
    roofs = products.found(timings)
    return [_row(job, working, timings, data.sizes, roofs) for job in working.values()], roofs


def _row(job: Job, working: dict[str, Job], timings: dict[str, Timing], sizes: Sizes, roofs: Sequence[Roof]) -> Row:
    who = job.contestant
    seconds, peak_bytes = job.seconds(timings[who.full_name]), job.done[0].peak_bytes
    first = f"{who.job}, {OURS}"
    is_ours = who.name == OURS
    count = operations(who.job, sizes) if is_ours else None
    assert peak_bytes is not None  # the first go is watched
    return Row(
        job=who.job,
        name=who.name,
        version=who.version,
        seconds=seconds,
        speed_up=None if is_ours else _times(seconds, working[first].seconds(timings[first])),
        precision=PRECISIONS[who.job] if is_ours else None,
        operations=count,
        roof_share=None if count is None else count / statistics.median(seconds) / _best(roofs, PRECISIONS[who.job]),
        peak_bytes=peak_bytes,
        values=job.done[-1].values,
        off=_off(job.done[-1].values, job.expected),
        goal_seconds=GOALS.get(who.job) if is_ours else None,
    )


def _times(theirs: Sequence[float], ours: Sequence[float]) -> float:
    return statistics.median(np.divide(theirs, ours).tolist())


def _best(roofs: Sequence[Roof], precision: str) -> float:
    return max(each.best for each in roofs if each.precision == precision)


def _off(values: Values, expected: Values) -> float:
    return max(abs(value / expected[name] - 1.0) for name, value in values.items())
