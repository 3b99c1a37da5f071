"""How much the images of one group differ: Vendi score, number of modes, mean distance. No reference set is needed.

All three are of unit rows and their cosines. High diversity says nothing about quality: noise is diverse.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import Features, directed, matrix, open_features
from semscale.metrics.means import spans
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Interval, Score
from semscale.search.recheck import lowest_selected
from semscale.stats.intervals import LEVEL, leave_one_out_error, student_interval

ROUNDING = 1e-9  # how far a kernel may be from symmetric, from a diagonal of ones, and from no negative eigenvalue

VENDI = Description(
    name="vendi",
    what="the effective number of different images in a group",
    formula="exp of the Rényi entropy of order q of the eigenvalues of K / n, K the n x n cosines; q = 1: "
    "exp(-sum of p log p), q = 2: 1 / mean(K^2), q = 0: the rank, q = inf: 1 / max p",
    range="1 (all alike) to n (all at right angles)",
    better="higher",
    estimator="of the given images; grows with n, so compare groups of equal n; small q counts rare images more. "
    "No interval: repeating images in a resample lowers it",
    smallest_n=2,
    of="images of a group",
    source="Friedman and Dieng 2023, arXiv 2210.02410; orders q: Pasarkar and Dieng 2023, arXiv 2310.12952",
    presets={"vendi": "q = 1, cosine kernel of unit rows"},
)

MODE_COUNT = Description(
    name="mode-count",
    what="how many separate clusters the images of a group fall into",
    formula="connected components of the images, two being joined where their cosine is at least the threshold: "
    "clusters of single linkage",
    range="1 to n",
    better="higher",
    estimator="does not depend on the order of the images. Chains of intermediate images join clusters, so it is the "
    "smallest count that any linkage gives at the threshold. Depends on encoder and threshold: compare at equal ones",
    smallest_n=2,
    of="images of a group",
    source="single linkage: Sibson 1973, doi 10.1093/comjnl/16.1.30",
)

MEAN_DISTANCE = Description(
    name="mean-distance",
    what="how far apart two images of a group are on average",
    formula="mean of 1 - cos(e_i, e_j) over pairs i < j",
    range="0 to 1 + 1 / (n - 1)",
    better="higher",
    estimator="unbiased (no image with itself), nothing clamped: 1 - SCS / 100 where no pair is negative; interval by "
    "Student t with the jackknife standard error over images, from three images on",
    smallest_n=2,
    of="images of a group",
    source="the U-statistic of pairwise distances: Hoeffding 1948, doi 10.1214/aoms/1177730196",
)


def vendi(x: Array, *, q: float = 1) -> Score:
    """(N, D) embeddings of a group, scaled to unit rows -> Vendi score of order `q` from 0 to infinity.

    1 to n, higher is more diverse; NaN of no image. The smaller of the n x n and the D x D problem is solved. Invalid
    rows are left out and counted. Friedman and Dieng 2023. Raises UsageError for a negative `q`.
    """
    _check_order(q)
    rows = open_features(x, directed)
    gram, n = _gram(rows), len(rows)
    warn_if_few(VENDI, n)
    value = _effective_number(gram / n, q) if n else float("nan")
    return _vendi_score(min(value, float(n)) if n else value, n, q, kernel="cosine", n_invalid=rows.n_invalid)


def vendi_kernel(kernel: Array, *, q: float = 1) -> Score:
    """(n, n) similarities, 1 on the diagonal -> Vendi score of order `q`; see `vendi`.

    Raises UsageError when the kernel is not square, symmetric, finite, 1 on its diagonal and free of negative
    eigenvalues, to 1e-9.
    """
    _check_order(q)
    similar = matrix(kernel).astype(np.float64)
    n = len(similar)
    if similar.shape != (n, n) or not np.isfinite(similar).all() or np.abs(similar - similar.T).max() > ROUNDING:
        raise UsageError(f"Vendi score: a kernel is square, symmetric and finite; this one is {similar.shape}")
    if np.abs(np.diagonal(similar) - 1.0).max() > ROUNDING:
        raise UsageError("Vendi score: k(x, x) must be 1; divide by sqrt(k(x, x) k(y, y)) first")
    values = scipy.linalg.eigvalsh(similar / n)
    if values[0] < -ROUNDING:
        raise UsageError(f"Vendi score: the kernel has an eigenvalue of {values[0] * n:g}; give one with none")
    warn_if_few(VENDI, n)
    return _vendi_score(_of_eigenvalues(values, q), n, q, kernel="given", n_invalid=0)


def _vendi_score(value: float, n: int, q: float, *, kernel: str, n_invalid: int) -> Score:
    preset = "vendi" if q == 1 and kernel == "cosine" else f"q {q:g}, {kernel} kernel"
    return Score(VENDI.name, value, n, None, True, {"preset": preset, "q": q, "kernel": kernel, "n_invalid": n_invalid})


def _check_order(q: float) -> None:
    if not q >= 0:
        raise UsageError(f"Vendi score: an order q of {q}; give 0 or more, infinity included")


def _gram(rows: Features) -> Array:
    """X^T X, or X X^T where there are fewer rows than dimensions: both have the same eigenvalues above zero."""
    if len(rows) < rows.dim:
        units = unit_rows(rows.block(0, len(rows)))[0]
        return units @ units.T
    total = np.zeros((rows.dim, rows.dim))
    for block in rows.blocks():
        units = unit_rows(block)[0]
        total += units.T @ units
    return total


def _effective_number(density: Array, q: float) -> float:
    """A symmetric matrix of trace 1, without negative eigenvalues -> exp of their Rényi entropy of order q."""
    return float(1.0 / np.square(density).sum()) if q == 2 else _of_eigenvalues(scipy.linalg.eigvalsh(density), q)


def _of_eigenvalues(values: Array, q: float) -> float:
    """Eigenvalues in rising order, of sum 1 -> exp of their Rényi entropy of order q."""
    known = values[values > len(values) * np.finfo(float).eps * values[-1]]  # what is below is rounding, not rank
    if q == 0:
        return float(len(known))
    if q == math.inf:
        return float(1.0 / known[-1])
    if abs(q - 1.0) < 1e-6:  # where 1 / (1 - q) would magnify rounding
        return float(np.exp(-(known * np.log(known)).sum()))
    return float(np.exp(_log_sum_of_powers(known, q) / (1.0 - q)))


def _log_sum_of_powers(values: Array, q: float) -> float:
    largest = values[-1]  # factored out, so that a large q does not vanish
    return float(q * np.log(largest) + np.log(((values / largest) ** q).sum()))


def mode_count(x: Array, threshold: float) -> Score:
    """(N, D) embeddings of a group and a cosine -> the number of clusters of single linkage; NaN of no image.

    Two images are in one cluster when a chain of images leads from one to the other, each step at a cosine of
    `threshold` or more; above 1 - 2.5e-7 that means equal within rounding. Single and not complete linkage: the answer
    is unique and does not depend on the order of images or on ties, and raising the threshold never lowers it. Raises
    UsageError for a threshold outside -1..1.
    """
    labels = modes(x, threshold)
    n = int((labels >= 0).sum())
    warn_if_few(MODE_COUNT, n)
    params: dict[str, Any] = {"threshold": threshold, "linkage": "single", "n_invalid": len(labels) - n}
    value = float(labels.max() + 1) if n else float("nan")
    return Score(MODE_COUNT.name, value, n, None, True, params)


def modes(x: Array, threshold: float) -> Array:
    """The clusters that `mode_count` counts: (N,) int64 numbers from 0, by first member; -1 where a row is invalid."""
    if not -1.0 <= threshold <= 1.0:
        raise UsageError(f"a threshold of {threshold}; similarities are from -1 to 1")
    lowest = lowest_selected(threshold) if threshold > -1.0 else -math.inf  # rounding may leave a cosine below -1
    rows = open_features(x, directed)
    labels = np.full(len(rows.array), -1, np.int64)
    labels[rows.rows] = _by_first_member(_clusters(rows, lowest))
    return labels


def _clusters(rows: Features, lowest: float) -> Array:
    labels = np.arange(len(rows))
    for mine in spans(len(rows)):
        units = unit_rows(rows.block(mine.start, mine.stop))[0]
        for other in spans(len(rows)):
            if other.start < mine.start:
                continue
            near = units @ unit_rows(rows.block(other.start, other.stop))[0].T >= lowest
            labels = _merged(labels, mine, other, near)
    return labels


def _merged(labels: Array, mine: slice, other: slice, near: Array) -> Array:
    """Labels after joining the rows of one block to the columns of another that are near."""
    i, j = np.nonzero(near)
    ends = labels[mine][i], labels[other][j]
    graph = scipy.sparse.coo_array((np.ones(len(i), bool), ends), shape=(len(labels), len(labels)))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1][labels]


def _by_first_member(labels: Array) -> Array:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def mean_distance(x: Array) -> Score:
    """(N, D) embeddings of a group -> mean of 1 - cos over pairs of images, higher is more diverse; NaN below two.

    With m the mean of the unit rows it is the sum of |e_i - m|^2 over n - 1, which keeps its digits where all images
    are nearly alike. Invalid rows are left out and counted.
    """
    rows = open_features(x, directed)
    n = len(rows)
    warn_if_few(MEAN_DISTANCE, n)
    params = {"n_invalid": rows.n_invalid}
    if n < 2:
        return Score(MEAN_DISTANCE.name, float("nan"), n, None, True, params)
    mean = sum(unit_rows(block)[0].sum(axis=0) for block in rows.blocks()) / n
    squares = np.concatenate([np.square(unit_rows(block)[0] - mean).sum(axis=1) for block in rows.blocks()])
    value = float(squares.sum() / (n - 1))
    each = (n * squares + squares.sum()) / (2 * (n - 1))  # of one image to the others: their mean is the value
    return Score(MEAN_DISTANCE.name, value, n, _jackknife_interval(value, each), True, params)


def _jackknife_interval(value: float, each: Array) -> Interval | None:
    """(n,) mean distances of each image to the others -> interval of the mean over pairs; None for n < 3."""
    n = len(each)
    if n < 3:
        return None
    low, high = student_interval(value, leave_one_out_error(each), n, (0.0, 1.0 + 1.0 / (n - 1)))
    method = "Student t over images, jackknife standard error of the mean over pairs"
    return Interval(float(low), float(high), LEVEL, method)
