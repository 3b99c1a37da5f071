"""Metrics that are a share of items for which something holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from semscale.model import Array, Interval, Score
from semscale.stats.intervals import clustered_mean_interval
from semscale.stats.proportions import wilson_interval


def share_of(metric: str, held: Array, of: str, params: Mapping[str, Any]) -> Score:
    """(n,) bool of items taken as independent, `of` in words -> their share with Wilson's interval; NaN of nothing."""
    value = float(held.mean()) if len(held) else float("nan")
    return Score(metric, value, len(held), wilson(int(held.sum()), len(held), of), True, params)


def wilson(successes: int, n: int, of: str) -> Interval | None:
    """Wilson's interval of successes / n of n items, `of` in words, taken as independent. None for n = 0."""
    return _named(wilson_interval(successes, n), f"Wilson score interval over {of}, as if independent")


def clustered_share(held: Array, clusters: Array, of: str) -> Interval | None:
    """(n,) bool and (n,) cluster numbers -> interval of the share, clusters of items being the independent units.

    Wilson's where each item is a cluster of its own. Where all items agree, which would make the other interval a
    point, Wilson's over as many items as there are clusters.
    """
    sizes = np.bincount(clusters)
    n_clusters = int(np.count_nonzero(sizes))
    if n_clusters == len(held):
        return wilson(int(held.sum()), len(held), of)
    if held.all() or not held.any():
        return wilson(n_clusters if held.all() else 0, n_clusters, f"clusters of {of}")
    return clustered_mean(held, clusters)


def clustered_mean(values: Array, clusters: Array) -> Interval | None:
    """(n,) values in 0..1 and (n,) cluster numbers -> Student-t interval of their mean. None for one cluster."""
    sizes = np.bincount(clusters)
    totals = np.bincount(clusters, weights=values)
    found = clustered_mean_interval(totals[sizes > 0], sizes[sizes > 0], (0.0, 1.0))
    return _named(found, "Student t over clusters of queries that share their best relevant item")


def _named(found: Interval | None, method: str) -> Interval | None:
    return None if found is None else dataclasses.replace(found, method=method)
