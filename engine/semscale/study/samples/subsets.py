"""How far the consistency score of N images is from the truth, found from a pilot of M images of the same prompt.

Random subsets of the pilot show how scores of N images scatter about the pilot's score. That is too little: subsets
share images, and at N = M they do not scatter at all. What they miss is exactly the pilot's own variance,

    Var(score of N new images) = Var(score of N of the M) + Var(score of M),

for the score is a U-statistic, with Var(N) = (4 (N - 2) z1 + 2 z2) / (N (N - 1)), where z1 is the variance over images
of an image's mean similarity to all others and z2 the variance over pairs (Hoeffding 1948). Both are estimated without
bias from the pilot, so Var(N) is known for every N, above M too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.metrics.consistency import BLOCK, similarities
from semscale.model import Array

LONGEST = 128  # images in the largest subset that is drawn; scores of more are close to normal
WHOLE = 1024  # images whose similarities are held at once: 8 MiB
HELD = 1 << 21  # numbers of the subsets in hand: 16 MiB


@dataclass(frozen=True, slots=True)
class Pilot:
    """What M images of one prompt say about the scores of any number of them."""

    n: int  # M
    score: float  # of all M
    images: float  # z1: variance over images of an image's mean similarity to all others
    pairs: float  # z2: variance over pairs; at least 2 z1

    def variance(self, n: Array | int) -> Array:
        """Images, n > 1 -> variance of the score of so many new images, about the truth."""
        n = np.asarray(n, np.float64)
        return (4 * (n - 2) * self.images + 2 * self.pairs) / (n * (n - 1))


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of scores of N images of one prompt, for each of K sizes N."""

    pilot: Pilot
    values: Array  # (R, K) score less truth, in points; each row is one random order of the pilot's images


def pilot_of(units: Array) -> Pilot:
    """(M, D) unit rows, M > 3 -> the score, and unbiased estimates of both variances, cut off at what they can be."""
    m = len(units)
    rows, squares = _lacking(units)
    mean = float(rows.sum()) / (m * (m - 1))
    centred = squares - m * (m - 1) * mean**2
    linked = float(np.square(rows - rows.mean()).sum()) - centred  # over ordered pairs of pairs that share one image
    one = linked / (m * (m - 1) * (m - 2))
    none = -(4 * linked + 2 * centred) / (m * (m - 1) * (m - 2) * (m - 3))
    images = max(0.0, one - none)
    return Pilot(m, 100.0 - mean, images, max(2 * images, centred / (m * (m - 1)) - none))


def subset_scores(units: Array, longest: int, *, repeats: int, rng: np.random.Generator) -> Array:
    """(M, D) unit rows -> (R, longest - 1) scores of the first 2, 3, ... `longest` images of R random orders.

    The columns are random subsets without replacement. Equal to the score of each subset by itself to rounding.
    """
    gram = _clamped(units, units) if len(units) <= WHOLE else None
    together = max(1, HELD // (longest * max(longest, units.shape[1])))
    parts = []
    for start in range(0, repeats, together):
        asked = min(together, repeats - start)
        order = np.argsort(rng.random((asked, len(units))), axis=1)[:, :longest]
        if gram is None:
            chosen = units[order]
            found = _clamped(chosen, chosen)
        else:
            found = gram[order[:, :, None], order[:, None, :]]
        parts.append(np.cumsum((found * np.tri(longest, k=-1)).sum(axis=2), axis=1)[:, 1:])
    sizes = np.arange(2, longest + 1)
    return np.concatenate(parts) / (sizes * (sizes - 1) / 2)


def errors_of(units: Array, sizes: Array, *, repeats: int, rng: np.random.Generator) -> Errors:
    """(M, D) unit rows, M > 3, and (K,) sizes > 1 -> the errors of scores of so many images.

    Up to half of the pilot, and LONGEST, they are those of random subsets, widened by what subsets miss; above that,
    the errors of the largest subsets, scaled to the standard error that the pilot's two variances give.
    """
    pilot, longest = pilot_of(units), drawn_up_to(len(units))
    among = subset_scores(units, longest, repeats=repeats, rng=rng) - pilot.score
    among *= _widening(pilot, np.arange(2, longest + 1))
    last = float(np.sqrt(pilot.variance(longest)))
    shape = among[:, -1:] / last if last > 0 else np.zeros((repeats, 1))
    beyond = shape * np.sqrt(pilot.variance(sizes))
    return Errors(pilot, np.where(sizes <= longest, among[:, np.minimum(sizes, longest) - 2], beyond))


def drawn_up_to(n: int) -> int:
    """The size of the largest subset that is drawn from a pilot of n images: half of them, so that two are disjoint."""
    return min(n // 2, LONGEST)


def _widening(pilot: Pilot, sizes: Array) -> Array:
    """What to multiply errors of subsets by: about the square root of 2 at half of the pilot."""
    true = pilot.variance(sizes)
    seen = true - pilot.variance(pilot.n)
    return np.sqrt(np.divide(true, seen, out=np.ones_like(true), where=seen > 0))


def _clamped(left: Array, right: Array) -> Array:
    return np.maximum(similarities(left, right), 0.0)


def _lacking(units: Array) -> tuple[Array, float]:
    """(M,) sums over the other images of 100 less the similarity, and the sum of its square over ordered pairs.

    What lacks to 100 instead of the similarity, which would cancel where images are nearly alike.
    """
    sums, squares = np.empty(len(units)), 0.0
    step = max(1, min(BLOCK, BLOCK * BLOCK // len(units)))
    for start in range(0, len(units), step):
        block = 100.0 - _clamped(units[start : start + step], units)
        own = np.arange(len(block))
        block[own, start + own] = 0.0
        sums[start : start + step] = block.sum(axis=1)
        squares += float(np.square(block, out=block).sum())
    return sums, squares
