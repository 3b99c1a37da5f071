"""Case `coverage`: how often each kind of 95 % interval of a mean over groups holds the truth, in simulation.

Groups are unit vectors scattered around a direction each; how much they scatter is log-normal over groups. Not a
measurement of speed: a check of `semscale.stats.intervals`, and of the kinds of interval that were not chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from semscale.metrics.consistency import pairs
from semscale.model import Array
from semscale.stats.intervals import leave_one_out_error, two_level_mean

DIM = 32
DRAWS = 400  # of the resampling intervals
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting of the simulation, and the share of intervals of each kind that held the truth."""

    spread: float  # sigma of the log of the scatter
    groups: int
    n: int  # images a group
    covered: dict[str, float]


def simulate(spread: float, groups: int, n: int, *, trials: int, seed: int = 1) -> Cell:
    """Draw `trials` studies of `groups` groups of `n` images and count which intervals hold the true mean."""
    truth = float(pairs(_draw(4000, 60, spread, np.random.default_rng(99))).mean.mean())
    rng = np.random.default_rng(seed)
    hits: dict[str, int] = {}
    for _ in range(trials):
        for name, (low, high) in _intervals(_draw(groups, n, spread, rng), rng):
            hits[name] = hits.get(name, 0) + (low <= truth <= high)
    return Cell(spread, groups, n, {name: count / trials for name, count in hits.items()})


def _draw(groups: int, n: int, spread: float, rng: np.random.Generator) -> Array:
    scatter = 0.6 * np.exp(spread * rng.standard_normal((groups, 1, 1)))
    centre = rng.standard_normal((groups, 1, DIM))
    centre /= np.linalg.norm(centre, axis=-1, keepdims=True)
    vectors = centre + scatter * rng.standard_normal((groups, n, DIM)) / np.sqrt(DIM)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _intervals(units: Array, rng: np.random.Generator) -> Iterator[tuple[str, Span]]:
    groups, n, _ = units.shape
    found = pairs(units)
    chosen = two_level_mean(found.mean, leave_one_out_error(found.rows), np.full(groups, n), (-np.inf, np.inf)).interval
    assert chosen is not None
    yield "Student t over groups", (chosen.low, chosen.high)
    which = rng.integers(0, groups, (DRAWS, groups))
    yield "resample groups", _middle(found.mean[which].mean(axis=1))
    resampled = _resampled_scores(units, rng)
    yield (
        "resample groups, then images",
        _middle(resampled[rng.integers(0, len(resampled), which.shape), which].mean(axis=1)),
    )
    half = 1.96 * found.rows.std() / np.sqrt(groups * n * (n - 1) / 2)
    yield "pairs as samples", (found.mean.mean() - half, found.mean.mean() + half)


def _resampled_scores(units: Array, rng: np.random.Generator, draws: int = 50) -> Array:
    """(draws, G) scores of images drawn again with replacement, an image's pairs with itself left out."""
    groups, n, _ = units.shape
    gram = np.maximum(100 * units @ np.swapaxes(units, 1, 2), 0)
    gram[:, np.arange(n), np.arange(n)] = 0
    weights = rng.multinomial(n, np.full(n, 1 / n), (draws, groups)).astype(float)
    total = np.einsum("rgi,gij,rgj->rg", weights, gram, weights, optimize=True)
    count = n * n - np.square(weights).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), gram.sum(axis=(1, 2)) / (n * (n - 1)))


def _middle(values: Array) -> Span:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
