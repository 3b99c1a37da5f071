"""The Semantic Consistency Score: how alike are images made from one prompt by different seeds.

For n images with embeddings e_i the score is the mean over the pairs i < j of max(100 cos(e_i, e_j), 0), between 0
and 100, higher is more consistent. Each pair is clamped, not the mean. Bent 2024, arXiv 2404.08799. A collapsed
model, which draws the same image for every seed, scores 100: read it beside a measure of alignment with the prompt.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description
from semscale.metrics.features import matrix
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Score
from semscale.stats.intervals import leave_one_out_error, two_level_mean

BLOCK = 2048  # its square is how much of a Gram matrix is held at a time: 2048 x 2048 x 8 bytes = 32 MiB
MANY = 16_384  # images in a group; every pair of more than these takes seconds to minutes
SCS = Description(
    name="scs",
    what="how alike images of one prompt are that one model made from different seeds: Semantic Consistency Score",
    formula="mean over groups of the mean over pairs i < j of max(100 cos(e_i, e_j), 0), e the image embeddings",
    range="0 to 100; a model that draws one image whatever the seed scores 100: read it beside clip-score",
    better="higher",
    estimator="each pair is clamped, not the mean; interval: Student's t over groups, ddof 1; groups of fewer than two "
    "valid images are listed and left out",
    smallest_n=2,
    of="images of a group",
    source="Bent 2024, arXiv 2404.08799",
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """What the pairs inside each of G groups of n images say. Similarities are 100 cos; all NaN for n < 2."""

    mean: Array  # (G,) the score: mean clamped similarity over pairs
    rows: Array  # (G, n) mean clamped similarity of each image to the others of its group
    n_clamped: Array  # (G,) int64: pairs below zero
    minimum: Array  # (G,) smallest and largest similarity of a pair, not clamped
    maximum: Array


def scs(vectors: Array) -> float:
    """(n, D) embeddings of one group -> its Semantic Consistency Score, 0 to 100; NaN with fewer than two valid rows.

    Equal to the published double loop (Bent 2024) in float64. Rows of zeros or with NaN are left out.
    """
    units, valid = unit_rows(vectors)
    return float(pairs(units[None, valid]).mean[0])


def consistency(embeddings: Array, groups: Sequence[Hashable] | Array) -> Score:
    """(N, D) embeddings and the (N,) group of each -> the mean Semantic Consistency Score of the groups, 0 to 100.

    Every group has the same weight; those of fewer than two valid rows are left out and counted. Rows of zeros or with
    NaN are invalid. The interval is Student's t over groups, as `semscale score` gives it. Raises UsageError when the
    two are not of one length.
    """
    rows = matrix(embeddings)
    if len(rows) != len(groups):
        raise UsageError(f"consistency: {len(rows)} embeddings and {len(groups)} groups; give each embedding its group")
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    of_row = np.array([place[group] for group in groups], np.int64)
    parts = np.split(np.argsort(of_row, kind="stable"), np.cumsum(np.bincount(of_row, minlength=len(place)))[:-1])
    found = [_of_group(rows[part]) for part in parts if len(part)]
    value, error, n, clamped = (np.array([one[i] for one in found], np.float64) for i in range(4))
    used = n > 1
    mean = two_level_mean(value[used], error[used], n[used], (0.0, 100.0))
    params = {
        "definition": "bent2024",
        "n_images": int(n[used].sum()),
        "n_invalid": int(len(rows) - n.sum()),
        "n_clamped": int(clamped[used].sum()),
        "n_excluded": int((~used).sum()),
        "se_groups": mean.se_groups,
        "se_images": mean.se_images,
    }
    return Score(SCS.name, mean.value, int(used.sum()), mean.interval, True, params)


def _of_group(rows: Array) -> tuple[float, float, int, int]:
    """One group's score, its standard error, its valid rows and its clamped pairs."""
    units, valid = unit_rows(rows)
    found = pairs(units[None, valid])
    return float(found.mean[0]), float(leave_one_out_error(found.rows)[0]), int(valid.sum()), int(found.n_clamped[0])


def pairs(units: Array) -> Pairs:
    """(G, n, D) unit rows -> statistics of the n (n - 1) / 2 pairs of each group, in blocks of bounded memory.

    Groups above MANY images take the closed form where it is exact; their smallest and largest pair stay NaN.
    """
    groups, n, _ = units.shape
    if n < 2:
        undefined = np.full(groups, np.nan)
        return Pairs(undefined, np.full((groups, n), np.nan), np.zeros(groups, np.int64), undefined, undefined)
    if n > MANY and all_acute(units):
        return _closed_form(units)
    return _every_pair(units)


def all_acute(units: Array) -> bool:
    """(G, n, D) unit rows -> True only where no pair of any group can be negative, found in O(nD).

    Rows within 45 degrees of their mean are within 90 degrees of one another. Sufficient, not necessary.
    """
    mean = units.mean(axis=1, keepdims=True)
    length = np.linalg.norm(mean, axis=2, keepdims=True)
    return bool((units @ np.swapaxes(mean, 1, 2) >= length * np.sqrt(0.5)).all() and (length > 0).all())


def _closed_form(units: Array) -> Pairs:
    """Mean of pairs = (|sum of e|^2 - n) / (n (n - 1)), and likewise by row; exact where no pair is negative."""
    groups, n, _ = units.shape
    total = units.sum(axis=1, keepdims=True)
    rows = 100.0 * ((units @ np.swapaxes(total, 1, 2))[..., 0] - 1.0) / (n - 1)
    unknown = np.full(groups, np.nan)
    return Pairs(rows.mean(axis=1), rows, np.zeros(groups, np.int64), unknown, unknown)


def _every_pair(units: Array) -> Pairs:
    groups, n, _ = units.shape
    sums, clamped = np.zeros((groups, n)), np.zeros(groups, np.int64)
    low, high = np.full(groups, np.inf), np.full(groups, -np.inf)
    step = max(1, min(BLOCK, BLOCK * BLOCK // n))
    for start in range(0, n, step):
        block = similarities(units[:, start : start + step], units)
        own = np.arange(block.shape[1])
        block[:, own, start + own] = np.nan  # an image with itself is no pair
        low = np.fmin(low, np.fmin.reduce(block, axis=(1, 2)))
        high = np.fmax(high, np.fmax.reduce(block, axis=(1, 2)))
        block[:, own, start + own] = 0.0
        clamped += (block < 0).sum(axis=(1, 2))
        sums[:, start : start + step] = np.maximum(block, 0.0, out=block).sum(axis=2)
    return Pairs(sums.sum(axis=1) / (n * (n - 1)), sums / (n - 1), clamped // 2, low, high)


def similarities(left: Array, right: Array) -> Array:
    """(..., n, D), (..., m, D) unit rows -> (..., n, m) of 100 cos, in -100..100 whatever the rounding."""
    products = left @ np.swapaxes(right, -1, -2)
    products *= 100.0
    return np.clip(products, -100.0, 100.0, out=products)


class Between:
    """Mean similarity of images of different groups, from running sums; groups weigh the same.

    With m_g the mean unit vector of group g it is 100 (|sum of m|^2 - sum of |m|^2) / (G (G - 1)): the mean of 100 cos,
    not clamped, over all pairs of images from two groups.
    """

    def __init__(self, dim: int) -> None:
        self._total, self._own, self._groups = np.zeros(dim), 0.0, 0

    def add(self, means: Array) -> None:
        """Add groups by their mean unit vectors, (G, D)."""
        self._total += means.sum(axis=0)
        self._own += float(np.einsum("gd,gd->", means, means))
        self._groups += len(means)

    @property
    def value(self) -> float:
        """100 cos; NaN for fewer than two groups."""
        n_pairs = self._groups * (self._groups - 1)
        return float(100 * (self._total @ self._total - self._own) / n_pairs) if n_pairs else float("nan")


def corrected(score: Array | float, between: Array | float) -> Array:
    """100 (score - between) / (100 - between): 0 where images of one prompt are no more alike than images of different
    prompts, 100 where they are all the same. Puts encoders with different base similarities on one scale.
    """
    room = 100.0 - np.asarray(between, np.float64)
    return 100.0 * (score - np.asarray(between)) / np.where(room > 1e-9, room, np.nan)
