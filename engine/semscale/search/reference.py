"""The same answers by brute force in NumPy float64, one row at a time: the tests' oracle, and what to read first.

Time grows with N^2 D on one core, and nothing is approximated, blocked or pruned.
"""

from __future__ import annotations

import numpy as np

from semscale.model import Array
from semscale.search.groups import Groups
from semscale.search.recheck import lowest_selected
from semscale.search.sides import dots


def similarities(rows: Array, others: Array) -> Array:
    """(N, D), (M, D) stored rows -> (N, M) float64 cosines; NaN in the place of rows that are zero or not finite."""
    out = np.full((len(rows), len(others)), np.nan)
    squares, other_squares = dots(rows, rows), dots(others, others)
    good, other_good = _valid(squares), _valid(other_squares)
    for i in np.flatnonzero(good):
        products = dots(np.broadcast_to(rows[i], others[other_good].shape), others[other_good])
        out[i, other_good] = np.clip(products / np.sqrt(squares[i] * other_squares[other_good]), -1.0, 1.0)
    return out


def pairs_above(
    rows: Array, threshold: float, *, other: Array | None = None, groups: Groups | None = None
) -> tuple[Array, Array, Array]:
    """As `exact.pairs_above`, all at once: (P,) a, (P,) b and (P,) similarity, by a and then b."""
    found = _counted(rows, other, groups)
    if other is None:
        found[np.tril_indices(len(rows))] = np.nan
    a, b = np.nonzero(found >= lowest_selected(threshold))
    return a, b, found[a, b]


def top_k(rows: Array, k: int, *, queries: Array | None = None, groups: Groups | None = None) -> tuple[Array, Array]:
    """As `exact.top_k`, all at once: (Q, k) ids and similarities, -1 and NaN where there are fewer than k."""
    found = _counted(rows, queries, groups).T
    ids, best = np.full((len(found), k), -1), np.full((len(found), k), np.nan)
    for i, line in enumerate(found):
        order = np.lexsort((np.arange(len(line)), -line))[: min(k, int(np.isfinite(line).sum()))]
        ids[i, : len(order)], best[i, : len(order)] = order, line[order]
    return ids, best


def _counted(rows: Array, other: Array | None, groups: Groups | None) -> Array:
    """Similarities, NaN wherever there is no pair that counts."""
    found = similarities(rows, rows if other is None else other)
    if other is None:
        np.fill_diagonal(found, np.nan)
    if groups is not None:
        columns = groups.rows if groups.columns is None else groups.columns
        same = groups.rows[:, None] == columns[None, :]
        found[~same if groups.mode == "within" else same] = np.nan
    return found


def _valid(squares: Array) -> Array:
    return np.isfinite(squares) & (squares > 0)
