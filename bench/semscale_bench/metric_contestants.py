"""Who takes part in case `metrics`: semscale, and for `fid solve` the usual ways of taking the root of a matrix.

Operations are those of the products that a metric cannot do without, each pair of rows, or of dimensions, counted once:
2 N D^2 for the covariances of two sets, 4 N^2 D for all distances of two sets of N. Whoever multiplies a symmetric
product as any other does twice as many and reaches half of the roof at best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import sqrtm

from semscale.metrics.diversity import vendi
from semscale.metrics.frechet import frechet, frechet_distance
from semscale.metrics.kernel_distance import kid
from semscale.metrics.manifold import PRESETS, prdc
from semscale.metrics.moments import Moments, moments
from semscale_bench.measure import Timing
from semscale_bench.metric_data import JOBS, Data, Sizes
from semscale_bench.metric_memory import with_peak
from semscale_bench.metric_plain import Values

OURS = "semscale"
PRECISIONS = {job: "fp32" if job in ("prdc", "prc") else "fp64" for job in JOBS}  # of semscale's products
TOLERANCE = 1e-6  # relative, of what is computed in float64


@dataclass(frozen=True, slots=True)
class Done:
    """What came out of a job."""

    values: Values
    peak_bytes: int | None = None  # where memory was watched
    seconds: float | None = None  # where whoever did it took the time


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way of doing one job."""

    job: str
    name: str
    go: Callable[[bool], Done]  # of whether to watch memory
    tolerance: float = TOLERANCE  # relative, of its values
    version: str | None = None  # of a package that is a contestant

    @property
    def full_name(self) -> str:
        """What nobody else is called."""
        return f"{self.job}, {self.name}"


@dataclass(slots=True)
class Job:
    """A contestant at work, as `measure` wants it. The first go, which warms up, is watched for its memory."""

    contestant: Contestant
    expected: Values
    done: list[Done] = field(default_factory=list)

    def __call__(self) -> int:
        """Do it, check what came out, keep it."""
        done = self.contestant.go(not self.done)
        check(self.contestant, done.values, self.expected)
        self.done.append(done)
        return 1

    def seconds(self, timing: Timing) -> tuple[float, ...]:
        """Of each round: as the contestant took them, else as `measure` did."""
        told = tuple(done.seconds for done in self.done[1:] if done.seconds is not None)
        return told or timing.seconds


def check(contestant: Contestant, values: Values, expected: Values) -> None:
    """Raise AssertionError for a value that is not what plain NumPy computes."""
    assert values, f"{contestant.full_name}: no values"
    for name, value in values.items():
        off = abs(value - expected[name])
        said = f"{contestant.full_name}: {name} is {value!r}, plain NumPy says {expected[name]!r}"
        assert off <= contestant.tolerance * abs(expected[name]), said


def operations(job: str, sizes: Sizes) -> int | None:
    """Of the products of a job; None where there is more to it than products."""
    match job:
        case "fid solve":
            return None
        case "fid":
            return 2 * sizes.rows * sizes.dim**2
        case "kid subsets":
            return 4 * sizes.subsets * sizes.subset_size**2 * sizes.dim
        case "vendi":
            return sizes.group * sizes.group_dim**2
        case _:
            return 4 * sizes.few**2 * sizes.dim


def contestants(job: str, data: Data) -> list[Contestant]:
    """Of a job: semscale first, then those that need no other environment."""
    few, sizes = data.sizes.few, data.sizes
    if job == "fid solve":
        return _solvers(*(moments(one[: 2 * sizes.dim]) for one in (data.real, data.fake)))
    work: dict[str, Callable[[], Values]] = {
        "fid": lambda: {"fid": frechet(data.real, data.fake).value},
        "kid full": lambda: {"kid": kid(data.real[:few], data.fake[:few], subsets=None).value},
        "kid subsets": lambda: {
            "kid": kid(data.real, data.fake, subsets=sizes.subsets, subset_size=sizes.subset_size).value
        },
        "prdc": lambda: _prdc(data, "prdc"),
        "prc": lambda: _prdc(data, "torch-fidelity"),
        "vendi": lambda: {"vendi": vendi(data.group).value},
    }
    return [Contestant(job, OURS, _here(work[job]))]


def _solvers(a: Moments, b: Moments) -> list[Contestant]:
    spreads = a.covariance, b.covariance
    rest = float(np.square(a.mean - b.mean).sum() + np.trace(spreads[0]) + np.trace(spreads[1]))
    work: dict[str, Callable[[], Values]] = {
        OURS: lambda: {"fid": frechet_distance(a, b)},
        "scipy sqrtm": lambda: {"fid": rest - 2 * float(np.real(np.trace(sqrtm(spreads[0] @ spreads[1]))))},
        "numpy eigvals": lambda: {"fid": rest - 2 * _sum_of_roots(np.linalg.eigvals(spreads[0] @ spreads[1]))},
    }
    return [Contestant("fid solve", name, _here(each)) for name, each in work.items()]


def _sum_of_roots(values: np.ndarray) -> float:
    return float(np.real(np.sqrt(values.astype(complex))).sum())


def _prdc(data: Data, preset: str) -> Values:
    few, chosen = data.sizes.few, PRESETS[preset]
    found = prdc(data.real[:few], data.fake[:few], k=chosen.k, strict=chosen.strict)
    return {each.metric: each.value for each in (found.precision, found.recall, found.density, found.coverage)}


def _here(work: Callable[[], Values]) -> Callable[[bool], Done]:
    """Work of this process, of which `measure` takes the time."""
    return lambda watched: Done(*with_peak(work)) if watched else Done(work())
