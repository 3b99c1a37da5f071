"""The numbers behind the figures, as tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from semscale.model import Array
from semscale.report.format import DASH, count, number, shorten
from semscale.report.summary import Estimate
from semscale.report.svg import Data

MAX_LINES = 50
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


def named(model: str | None) -> str:
    """Return the name of a model as tables and alternative texts have it."""
    return "no model named" if model is None else shorten(model, 60)


def of_intervals(estimates: Mapping[str, Estimate]) -> Data:
    """Return the value and the interval of each model."""
    lines = [(named(m), number(e.value), number(e.low), number(e.high)) for m, e in estimates.items()]
    return Data(("Model", "Value", "Low", "High"), tuple(lines[:MAX_LINES]))


def of_distributions(values: Mapping[str | None, Array]) -> Data:
    """Return the percentiles of each model's (G,) values."""
    lines = []
    for model, found in list(values.items())[:MAX_LINES]:
        lines.append((named(model), count(len(found)), *map(number, np.percentile(found, PERCENTILES).tolist())))
    return Data(("Model", "Groups", "Lowest", "5 %", "25 %", "Median", "75 %", "95 %", "Highest"), tuple(lines))


def of_scatter(values: Mapping[str | None, Array], x: str, y: str) -> Data:
    """Return each model's means of its (G, 2) values, and how both go together."""
    lines = []
    for model, found in list(values.items())[:MAX_LINES]:
        means = map(number, found.mean(axis=0).tolist())
        lines.append((named(model), count(len(found)), *means, _correlation(found)))
    return Data(("Model", "Groups", f"Mean {x}", f"Mean {y}", "Correlation"), tuple(lines))


def _correlation(values: Array) -> str:
    """Pearson's, which needs three groups and both scores to vary."""
    if len(values) < 3 or (np.ptp(values, axis=0) == 0).any():
        return DASH
    return number(float(np.corrcoef(values.T)[0, 1]))
