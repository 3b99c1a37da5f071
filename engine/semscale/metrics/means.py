"""Metrics that are a mean over items: cosines row by row, and their mean as a Score."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description
from semscale.metrics.features import BLOCK, check_dims, matrix
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Interval, Score
from semscale.stats.intervals import mean_interval

METHOD = "Student t over items, as if independent"


def paired_cosines(left: Array, right: Array, what: str) -> Array:
    """(N, D), (N, D) -> (N,) cosines in -1..1, row by row; NaN where either row has no direction.

    Raises UsageError, naming `what`, when the two are not matrices of one shape.
    """
    left, right = paired([left, right], what)
    return joined(cosines_of(left[at], right[at]) for at in spans(len(left)))


def cosines_of(left: Array, right: Array) -> Array:
    """(n, D), (n, D) rows held in memory -> (n,) cosines in -1..1; NaN where either row has no direction."""
    left_units, left_valid = unit_rows(left)
    right_units, right_valid = unit_rows(right)
    cosines = np.clip(np.einsum("nd,nd->n", left_units, right_units), -1.0, 1.0)
    return np.where(left_valid & right_valid, cosines, np.nan)


def paired(matrices: list[Array], what: str) -> list[Array]:
    """Return matrices of which row i belongs to row i. Raises UsageError, naming `what`, when their shapes differ."""
    arrays = [matrix(one) for one in matrices]
    for other in arrays[1:]:
        check_dims(arrays[0].shape[1], other.shape[1])
        if len(other) != len(arrays[0]):
            raise UsageError(f"{what}: {len(arrays[0])} rows beside {len(other)}; need one for each")
    return arrays


def spans(n: int) -> list[slice]:
    """Cut n rows into consecutive blocks."""
    return [slice(at, min(at + BLOCK, n)) for at in range(0, n, BLOCK)]


def joined(blocks: Iterable[Array]) -> Array:
    """Blocks of (n,) values -> (N,) float64."""
    return np.concatenate([np.zeros(0), *blocks])


def mean_of(described: Description, values: Array, bounds: tuple[float, float], params: Mapping[str, Any]) -> Score:
    """(N,) values, NaN where there is none -> their mean, with a Student-t interval cut to `bounds`; NaN of nothing."""
    known = values[~np.isnan(values)]
    value = float(known.mean()) if len(known) else float("nan")
    return Score(described.name, value, len(known), _interval(known, bounds), described.better == "higher", params)


def _interval(known: Array, bounds: tuple[float, float]) -> Interval | None:
    found = mean_interval(known, bounds)
    return None if found is None else dataclasses.replace(found, method=METHOD)
