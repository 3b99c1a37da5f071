"""What a published agreement without chance correction leaves open: the range of Cohen's kappa."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array


@dataclass(frozen=True, slots=True)
class KappaRange:
    """The smallest and largest Cohen's kappa that an agreement allows, and at which shares they occur."""

    low: float  # NaN with `high` where kappa is undefined
    high: float
    low_shares: tuple[float, float]  # how often the first and the second rater say A where kappa is lowest
    high_shares: tuple[float, float]


def kappa_range(agreement: float, share_a: float | tuple[float, float]) -> KappaRange:
    """Agreement of two raters on two categories, and how often one of them says A -> every kappa that both allow.

    Shares are of items, 0..1; `share_a` is known exactly or to lie between two bounds, and the other rater's share is
    free. With u and v twice the raters' shares minus 1, chance agreement is (1 + u v) / 2, and an agreement p allows
    |u - v| <= 2 (1 - p) and |u + v| <= 2 p. Kappa falls as u v grows, which is extreme on the edge of that polygon: at
    its corners and where an edge touches u = v or u = -v.

    Of 94 of 100 items with a metric that chose A on 86, kappa is 0.70 to 0.79; on all 100, it is 0; on 86 to 100, it
    is anything from -0.03 (on 97, three of the six disagreements either way) to 0.79. Raises UsageError for numbers
    that are no shares.
    """
    low, high = share_a if isinstance(share_a, tuple) else (share_a, share_a)
    if not (0 <= agreement <= 1 and 0 <= low <= high <= 1):
        raise UsageError(f"agreement {agreement} and share_a {share_a}: give shares, 0..1, the lower bound first")
    u, v = _candidates(agreement, 2 * low - 1, 2 * high - 1)
    by_chance = (1 + u * v) / 2
    usable = by_chance < 1
    if not usable.any():
        return KappaRange(float("nan"), float("nan"), (low, low), (low, low))
    u, v, by_chance = u[usable], v[usable], by_chance[usable]
    kappa = (agreement - by_chance) / (1 - by_chance)
    at = [int(kappa.argmin()), int(kappa.argmax())]
    shares = [(float((1 + u[i]) / 2), float((1 + v[i]) / 2)) for i in at]
    return KappaRange(float(kappa[at[0]]), float(kappa[at[1]]), shares[0], shares[1])


def _candidates(p: float, low: float, high: float) -> tuple[Array, Array]:
    """Points of the polygon at which u v may be extreme."""
    turns = np.array([p, -p, 1 - p, p - 1, 2 * p - 1, 1 - 2 * p])
    u = np.unique(np.concatenate([[low, high], turns[(turns > low) & (turns < high)]]))
    below = np.maximum(u - 2 * (1 - p), -2 * p - u)
    above = np.minimum(u + 2 * (1 - p), 2 * p - u)
    return np.concatenate([u, u]), np.clip(np.concatenate([below, above]), -1, 1)
