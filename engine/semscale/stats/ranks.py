"""Signed ranks of differences, and the distribution of their sum under no difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.model import Array


@dataclass(frozen=True, slots=True, eq=False)
class SignedRanks:
    """Ranks of the sizes of differences; equal sizes share their mean rank."""

    ranks: Array  # (n,) of the differences other than 0
    r_plus: float  # sum over positive differences
    r_minus: float
    n_zeros: int
    ties: Array  # how many share each size that more than one has, zeros left out

    @property
    def n_tied(self) -> int:
        """Differences other than 0 whose size another has too."""
        return int(self.ties.sum())


def signed_ranks(differences: Array, *, rank_zeros: bool = False) -> SignedRanks:
    """(n,) finite differences -> their signed ranks. Zeros have none; `rank_zeros` lets them take up the lowest."""
    zero = differences == 0
    sizes = np.abs(differences[~zero])
    _, place, shared = np.unique(sizes, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(shared) - (shared - 1) / 2)[place] + (zero.sum() if rank_zeros else 0)
    positive = differences[~zero] > 0
    return SignedRanks(
        ranks, float(ranks[positive].sum()), float(ranks[~positive].sum()), int(zero.sum()), shared[shared > 1]
    )


def rank_sum_chances(ranks: Array) -> Array:
    """(n,) ranks, whole or half -> chances of each doubled sum 0, 1, 2, ... when every sign is a fair coin.

    One rank after another: with chance 1/2 it adds nothing, with chance 1/2 itself. All terms are positive, so even
    the smallest chances keep their leading digits. O(n * sum of ranks); n up to 1,000 before chances underflow.
    """
    steps = np.rint(2 * np.sort(ranks)).astype(np.int64)
    chances = np.zeros(int(steps.sum()) + 1)
    chances[0], reached = 1.0, 0
    for step in steps:
        reached += step
        chances[: reached + 1] *= 0.5
        # the sums before this rank lie in 0..reached - step, and move up by it
        moved = chances[: reached + 1 - step].copy()
        chances[step : reached + 1] += moved
    return chances
