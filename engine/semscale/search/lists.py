"""Candidate neighbours of every row, in bounded memory, while a join is under way.

A list keeps what may still be among the row's k nearest. With reduced similarities off by at most `bound`, the k-th
best exact similarity is at least the k-th best reduced one minus bound, so nothing below that minus another bound is
needed: the row's floor. A list that stays full all the same, of rows that are nearly alike, is cut to its k best by
exact similarity and row number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from semscale.model import Array
from semscale.search.looking import LOWEST

ROOM = 12  # places of a list beyond 1.5 k: with more, floors stay low for longer; with fewer, lists are tidied more
Exact = Callable[[Array, Array], Array]  # (P,) owners, (P,) others -> (P,) float64 similarities


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the lists judge candidates."""

    k: int
    bound: float
    exact: Exact
    ids: Array  # row numbers by position of the other: ties go to the lower
    rising: bool  # whether others are met in rising order of row number


class Lists:
    """At most 1.5 k + ROOM candidates for each of N owners."""

    def __init__(self, n: int, ranking: Ranking) -> None:
        self._ranking = ranking
        self._room = ranking.k + ranking.k // 2 + ROOM
        self._others = np.zeros((n, self._room), np.int32 if len(ranking.ids) < 2**31 else np.int64)
        self._values = np.full((n, self._room), -np.inf, np.float32)
        self._counts = np.zeros(n, np.int64)
        self.floors = np.full(n, LOWEST)

    def raise_floors(self, owners: slice, floors: Array) -> None:
        """Use that nothing below `floors` can be among the k nearest of some owners."""
        self.floors[owners] = np.maximum(self.floors[owners], floors)

    def add(self, owners: Array, others: Array, values: Array) -> None:
        """Offer candidates, (P,) each, by position."""
        while True:
            wanted = values >= self.floors[owners]
            owners, others, values = _by_owner(owners[wanted], others[wanted], values[wanted])
            slots = self._counts[owners] + _ranks(owners)
            fits = slots < self._room
            mine, places = owners[fits], slots[fits]
            self._others[mine, places], self._values[mine, places] = others[fits], values[fits]
            np.add.at(self._counts, mine, 1)
            if fits.all():
                return
            owners, others, values = owners[~fits], others[~fits], values[~fits]
            self._tidy(owners[np.flatnonzero(np.diff(owners, prepend=-1))])

    def best(self, owners: Array) -> tuple[Array, Array]:
        """(n,) owners -> (n, k) int64 others and (n, k) float64 exact similarities, best first.

        -1 and NaN where there are fewer than k.
        """
        self.settle(owners)
        return self._ranked(owners)

    def _tidy(self, full: Array) -> None:
        """Make room in the lists of some owners, exactly where floors alone do not make enough."""
        self.settle(full)
        crowded = full[self._counts[full] > self._room - ROOM // 2]
        if len(crowded):
            self._cut(crowded)

    def settle(self, owners: Array) -> None:
        """Raise the floors of some owners by what they hold, and drop what is below."""
        owners = owners[self.floors[owners] < np.inf]
        values = self._values[owners]
        order = np.argsort(-values, axis=1)
        values = np.take_along_axis(values, order, axis=1)
        kth = np.where(self._counts[owners] >= self._ranking.k, values[:, self._ranking.k - 1], LOWEST)
        self.floors[owners] = np.maximum(self.floors[owners], (kth - 2 * self._ranking.bound).astype(np.float32))
        kept = values >= self.floors[owners][:, None]
        self._others[owners] = np.take_along_axis(self._others[owners], order, axis=1)
        self._values[owners] = np.where(kept, values, -np.inf)
        self._counts[owners] = kept.sum(axis=1)

    def _cut(self, owners: Array) -> None:
        """Keep the k best of some owners by exact similarity, the last of which becomes their floor."""
        k = self._ranking.k
        others, exact = self._ranked(owners)
        self._others[owners, :k], self._values[owners, :k], self._values[owners, k:] = others, exact, -np.inf
        self._counts[owners] = k
        self.floors[owners] = np.maximum(self.floors[owners], (exact[:, -1] - self._ranking.bound).astype(np.float32))
        if self._ranking.rising:  # nothing is above 1, and a tie goes to those met before
            self.floors[owners[exact[:, -1] == 1.0]] = np.inf

    def _ranked(self, owners: Array) -> tuple[Array, Array]:
        """Everything that some owners hold, exactly and in order, cut at k: as `best` returns it."""
        k = self._ranking.k
        line, place = np.nonzero(np.arange(self._room) < self._counts[owners][:, None])
        others = self._others[owners[line], place].astype(np.int64)
        exact = self._ranking.exact(owners[line], others)
        order = np.lexsort((self._ranking.ids[others], -exact, line))
        order, rank = order[_ranks(line) < k], _ranks(line)
        rank = rank[rank < k]
        found, similarity = np.full((len(owners), k), -1), np.full((len(owners), k), np.nan)
        found[line[order], rank], similarity[line[order], rank] = others[order], exact[order]
        return found, similarity


def _by_owner(owners: Array, others: Array, values: Array) -> tuple[Array, Array, Array]:
    order = np.argsort((owners << 32) + others)  # one key sorts faster than two
    return owners[order], others[order], values[order]


def _ranks(sorted_owners: Array) -> Array:
    """(P,) rising -> (P,) how many equal ones come before each."""
    return np.arange(len(sorted_owners)) - np.searchsorted(sorted_owners, sorted_owners, side="left")
