"""Is a generated image new, or a copy of a reference image? Pure functions of similarities.

Distance is Euclidean between vectors of length 1, |x - y| = sqrt(2 - 2 cos), which falls as the cosine rises: comparing
distances is comparing similarities the other way round, and similarities are what is compared.
"""

from __future__ import annotations

import numpy as np

from semscale.model import Array, Score
from semscale.search.recheck import lowest_selected
from semscale.search.selected import neighbours_among
from semscale.search.tiles import DEFAULT, Tuning
from semscale.search.vectors import Vectors
from semscale.stats.proportions import wilson_interval


def own_similarity(reference: Vectors, rows: Array, *, tuning: Tuning = DEFAULT) -> Array:
    """(Q,) rows of the reference, in any order and repeated or not -> (Q,) similarity of each to its own nearest other
    reference row. NaN where there is no other."""
    distinct, place = np.unique(rows, return_inverse=True)
    _, similarity = neighbours_among(reference, distinct, 1, tuning=tuning)
    return similarity[place, 0]


def copies(similarity: Array, threshold: float) -> Array:
    """(N,) similarities -> (N,) bool: whether the threshold selects them, equal to within rounding included."""
    return similarity >= lowest_selected(threshold)


def authentic(similarity: Array, own: Array) -> Array:
    """(N,) similarities of images to their nearest reference row, (N,) of those rows to their own -> (N,) bool.

    An image is authentic when it is farther from its nearest reference row than that row is from its own nearest other
    one (Alaa et al. 2022, How faithful is your synthetic data?, section 4; strictly). Where reference rows are equal,
    everything but their equal is authentic to them: remove copies from the reference first.
    """
    return similarity < own


def copy_share(is_copy: Array, threshold: float) -> Score:
    """(N,) bool -> share of near-copies in 0..1 with its Wilson interval; lower is better."""
    return _share("near-copies", is_copy, 1.0, False, threshold=threshold)


def authenticity(is_authentic: Array) -> Score:
    """(N,) bool -> AuthPct, the percentage of authentic images in 0..100 with its Wilson interval; higher is better."""
    return _share("authenticity", is_authentic, 100.0, True, distance="Euclidean on unit vectors")


def _share(metric: str, marked: Array, scale: float, higher_is_better: bool, **params: float | str) -> Score:
    n, count = len(marked), int(marked.sum())
    interval = wilson_interval(count, n)
    if interval is not None and scale != 1.0:
        interval = type(interval)(interval.low * scale, interval.high * scale, interval.level, interval.method)
    value = scale * count / n if n else float("nan")
    return Score(metric, value, n, interval, higher_is_better, {"count": count, **params})
