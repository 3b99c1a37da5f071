"""What a pilot is worth: intervals of one prompt's score, and plans made from a pilot, against a known truth.

    python -m semscale_bench.pilots [--trials 1000] [--seed 1]

Images are unit vectors around one direction or two; a share of them is of the second mode. Not a measurement of speed,
and no encoder's embeddings: it shows how intervals and plans fail, not how often they do on a real generator.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import click
import numpy as np
from scipy.stats import norm

from semscale.metrics.consistency import pairs, similarities
from semscale.model import Array
from semscale.stats.intervals import leave_one_out_error, student_interval
from semscale.study.samples.planning import grid, smallest
from semscale.study.samples.sample_plan import Question
from semscale.study.samples.subsets import errors_of, subset_scores

DIM = 32
APART = 0.9  # cosine of the two modes
SCATTER = 0.25
MIXES = {"one mode": 0.0, "80/20": 0.2, "95/5": 0.05}
MOST = 400  # images in the sets on which plans are tried
STRATUM = 2000  # images of each mode from which the truth is found
PRECISION = 1.0  # percent of the truth


@dataclass(frozen=True, slots=True)
class Cell:
    """One mix of modes and one number of images."""

    mix: str
    n: int
    error: float  # standard error of the score, percent of the truth
    within: float  # share of scores within PRECISION of the truth
    naive: float  # share of 95 % intervals that hold the truth, pairs taken as independent
    jackknife: float  # the same of the interval that `semscale score` gives
    needed: int  # the smallest n at which 95 % of the scores are within PRECISION
    planned: tuple[float, float, float]  # n that plans from such pilots recommend: 10 %, median, 90 %
    kept: float  # share of scores within PRECISION at the n that the plans recommend, mean over plans


def draw(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> Array:
    """(..., D) unit vectors, each with the chance `share` of the second mode."""
    second = rng.random((*shape, 1)) < share
    return _scattered(rng, second)


def _scattered(rng: np.random.Generator, second: Array) -> Array:
    axes = np.eye(DIM)
    other = APART * axes[0] + np.sqrt(1 - APART**2) * axes[1]
    rows = np.where(second, other, axes[0]) + SCATTER * rng.standard_normal((*second.shape[:-1], DIM)) / np.sqrt(DIM)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def truth_of(rng: np.random.Generator, share: float) -> float:
    """The score of infinitely many images, from means over pairs inside and between the modes."""
    first, second = (_scattered(rng, np.full((STRATUM, 1), mode)) for mode in (False, True))
    inside = [float(pairs(rows[None]).mean[0]) for rows in (first, second)]
    between = float(np.maximum(similarities(first, second), 0).mean())
    return (1 - share) ** 2 * inside[0] + share**2 * inside[1] + 2 * share * (1 - share) * between


def simulate(mix: str, n: int, *, trials: int, seed: int) -> Cell:
    """Intervals of `trials` sets of n images, plans from the first of them, and how those plans do on fresh sets."""
    rng, share = np.random.default_rng(seed), MIXES[mix]
    truth = truth_of(rng, share)
    sets = draw(rng, (trials, n), share)
    found = pairs(sets)
    error, tolerance = found.mean - truth, truth * PRECISION / 100
    low, high = student_interval(found.mean, leave_one_out_error(found.rows), n, (0.0, 100.0))
    half = norm.ppf(0.975) * _pair_spread(sets) / np.sqrt(n * (n - 1) / 2)
    fresh = kept_at(rng, share, truth)
    planned = np.array([plan(units, rng) for units in sets[: max(1, trials // 5)]])
    return Cell(
        mix, n, 100 * float(error.std()) / truth, float((np.abs(error) <= tolerance).mean()),
        naive=float((np.abs(error) <= half).mean()), jackknife=float(((low <= truth) & (truth <= high)).mean()),
        needed=int(smallest(np.arange(2, MOST + 1), fresh, 0.95) or MOST),
        planned=tuple(np.percentile(planned, [10, 50, 90]).tolist()),
        kept=float(fresh[np.minimum(planned, MOST) - 2].mean()),
    )  # fmt: skip


def _pair_spread(sets: Array) -> Array:
    """(R, n, D) -> (R,) standard deviation of the pairs' similarities."""
    above = np.triu_indices(sets.shape[1], 1)
    return np.array([np.maximum(similarities(rows, rows), 0)[above].std(ddof=1) for rows in sets])


def kept_at(rng: np.random.Generator, share: float, truth: float, sets: int = 400) -> Array:
    """(MOST - 1,) share of scores of 2, 3, ... MOST new images that are within PRECISION of the truth."""
    scores = [subset_scores(draw(rng, (MOST,), share), MOST, repeats=1, rng=rng)[0] for _ in range(sets)]
    return (np.abs(np.array(scores) - truth) <= truth * PRECISION / 100).mean(axis=0)


def plan(units: Array, rng: np.random.Generator) -> int:
    """What `plan-samples` recommends for one prompt from the pilot `units`, (n, D)."""
    asked = Question()
    sizes = grid(asked)
    found = errors_of(units, sizes, repeats=asked.repeats, rng=rng)
    within = (np.abs(found.values) <= asked.precision.points(found.pilot.score)).mean(axis=0)
    return smallest(sizes, within, asked.confidence) or int(sizes[-1])


def table(cells: Iterator[Cell]) -> Iterator[str]:
    """Rows as Markdown has them."""
    yield "| modes | images | standard error | within 1 % | naive pairs | jackknife | needed | planned | kept |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for cell in cells:
        low, middle, high = (round(value) for value in cell.planned)
        shares = " | ".join(f"{100 * v:.0f} %" for v in (cell.within, cell.naive, cell.jackknife))
        yield (
            f"| {cell.mix} | {cell.n} | {cell.error:.2f} % | {shares} | {cell.needed} | {middle} ({low} to {high}) | "
            f"{100 * cell.kept:.0f} % |"
        )


def main() -> None:
    """Print the table of docs/plan-samples.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    cells = (simulate(mix, n, trials=asked.trials, seed=asked.seed) for mix in MIXES for n in (10, 20, 50, 100))
    for line in table(cells):
        click.echo(line)


if __name__ == "__main__":
    main()
