"""How many pairs a threshold will select, from a sample of the rows, before a join is begun.

The degrees of sampled rows, counted against all others in float32, are scaled up. A forecast is for refusing a flood
and choosing a threshold; it is no result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from semscale.errors import UsageError
from semscale.model import Array, Interval
from semscale.search.groups import Groups
from semscale.search.recheck import lowest_selected
from semscale.search.sides import dots
from semscale.search.vectors import Vectors
from semscale.stats.intervals import LEVEL, student_interval

ROWS = 1024  # sampled
CHUNK = 4096  # other rows compared with the sample at a time
STEPS = 2000  # thresholds between the one asked for and 1 that are tried
SEED = 0
METHOD = "Student t over sampled images; where none of them is in a pair, at most 3 in n sampled are (rule of three)"
NONE = -2.0  # the similarity of what is no pair


@dataclass(frozen=True, slots=True)
class Forecast:
    """About how many pairs a threshold selects."""

    pairs: float
    interval: Interval
    fitting: float | None  # the lowest threshold tried that selects about as many as are allowed; None: none does


@dataclass(frozen=True, slots=True)
class _Counts:
    """What the sample met."""

    degrees: Array  # (s,) pairs of each sampled row
    above: Array  # (STEPS,) pairs at or above each threshold tried
    tried: Array  # (STEPS,) thresholds


def forecast(
    vectors: Vectors, threshold: float, most: int, *, other: Vectors | None = None, groups: Groups | None = None
) -> Forecast:
    """Forecast the pairs of a join as `exact.pairs_above` makes it, and a threshold that selects at most `most`.

    Reads all rows of one side once and ROWS of the other. Raises UsageError for a threshold outside -1..1.
    """
    if not -1.0 <= threshold <= 1.0:
        raise UsageError(f"a threshold of {threshold}; similarities are from -1 to 1")
    n = vectors.shape[0]
    rows = np.sort(np.random.default_rng(SEED).choice(n, min(n, ROWS), replace=False))
    counts = _counted(vectors, rows, lowest_selected(threshold), other, groups)
    each = n / (2 if other is None else 1)  # pairs for a mean degree of 1
    fits = np.flatnonzero(counts.above * (each / len(rows)) <= most)
    fitting = float(counts.tried[fits[0]]) if len(fits) else None
    return Forecast(float(counts.degrees.mean()) * each, _interval(counts.degrees, n, each), _rounded_up(fitting))


def _interval(degrees: Array, n: int, each: float) -> Interval:
    s = len(degrees)
    spread = degrees.std(ddof=1) if s > 1 else 0.0
    error = spread / math.sqrt(s) * math.sqrt(1 - s / n)
    low, high = student_interval(degrees.mean(), error, s, (0.0, math.inf))
    unseen = 3 / s if s < n and not degrees.any() else 0.0
    return Interval(float(low) * each, max(float(high), unseen) * each, LEVEL, METHOD)


def _rounded_up(threshold: float | None) -> float | None:
    if threshold is None:
        return None
    rounded = math.ceil(threshold * 1e4) / 1e4
    return rounded if rounded < 1.0 else None


def _counted(vectors: Vectors, rows: Array, lowest: float, other: Vectors | None, groups: Groups | None) -> _Counts:
    sample = _units(vectors, rows)
    degrees, found = np.zeros(len(rows)), np.zeros(STEPS)
    for columns, right in _chunks(vectors if other is None else other):
        values = torch.nan_to_num_(sample @ right.T, nan=NONE).clamp_(max=1.0)
        if other is None:
            values.masked_fill_(torch.from_numpy(rows[:, None] == columns[None, :]), NONE)
        if groups is not None:
            values.masked_fill_(torch.from_numpy(_forbidden(groups, rows, columns)), NONE)
        reached = values >= lowest
        degrees += reached.sum(dim=1).numpy()
        found += torch.histc(values[reached], STEPS, lowest, 1.0).numpy() if lowest < 1.0 else 0.0
    tried = lowest + (1.0 - lowest) / STEPS * np.arange(STEPS)
    return _Counts(degrees, found[::-1].cumsum()[::-1], tried)


def _forbidden(groups: Groups, rows: Array, columns: Array) -> Array:
    others = groups.rows if groups.columns is None else groups.columns
    same = groups.rows[rows][:, None] == others[columns][None, :]
    return same if groups.mode == "across" else ~same


def _chunks(vectors: Vectors) -> Iterator[tuple[Array, torch.Tensor]]:
    for at in range(0, vectors.shape[0], CHUNK):
        rows = np.arange(at, min(at + CHUNK, vectors.shape[0]))
        yield rows, _units(vectors, rows)


def _units(vectors: Vectors, rows: Array) -> torch.Tensor:
    """(k,) rows -> (k, D) float32 of length 1; NaN where a row is zero or not finite."""
    found = vectors.take(rows).astype(np.float64)
    squares = dots(found, found)
    squares[~(np.isfinite(squares) & (squares > 0))] = np.nan
    with np.errstate(invalid="ignore"):
        return torch.from_numpy((found / np.sqrt(squares)[:, None]).astype(np.float32))
