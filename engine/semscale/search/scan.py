"""Finding the few large values of a tile: the maximum of each strip first, then only strips that can hold one.

The maximum over a few rows of one column is read at memory speed, and a fraction of the tile is left to compare;
comparing every value takes several times as long. Longer strips leave less to compare, and hold more values in vain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.model import Array


@dataclass(frozen=True, slots=True)
class Hits:
    """Places of a tile, in no order, and what was found there."""

    rows: Array  # (P,) int64, within the tile
    columns: Array
    values: Array  # (P,) of the tile's type


@dataclass(frozen=True, slots=True)
class Floors:
    """The smallest values that are of interest to each row and to each column of a tile."""

    rows: Array  # (h,)
    columns: Array  # (c,)


def maxima(values: Array) -> Array:
    """(S, h, c) tile -> (S, c) largest value of each strip of h rows in one column."""
    return values.max(axis=1)


def kth_of_columns(largest: Array, k: int) -> Array | None:
    """(S, c) maxima -> (c,) values that at least k of each column's reach; None where there are fewer strips."""
    return np.partition(largest, -k, axis=0)[-k] if len(largest) >= k else None


def kth_of_rows(values: Array, k: int) -> Array | None:
    """(n, c) values -> (n,) the k-th largest of each row; None where there are fewer columns."""
    return np.partition(values, -k, axis=1)[:, -k] if values.shape[1] >= k else None


def hopeful(largest: Array, floors: Floors) -> Array:
    """(S, c) maxima, and floors of S h rows and c columns -> (S, c) bool: which strips may reach one."""
    by_row = floors.rows.reshape(len(largest), -1).min(axis=1)
    return largest >= np.minimum(by_row[:, None], floors.columns[None, :])


def reaching(values: Array, hopeful: Array, floors: Floors) -> Hits:
    """(S, h, c) tile and its hopeful strips -> every place at or above its row's floor or its column's."""
    strips, columns = np.divmod(np.flatnonzero(hopeful), values.shape[2])
    candidates = values[strips, :, columns]
    by_row = floors.rows.reshape(values.shape[:2])[strips]
    reached = np.flatnonzero(candidates >= np.minimum(by_row, floors.columns[columns][:, None]))
    number, offset = np.divmod(reached, values.shape[1])
    return Hits(strips[number] * values.shape[1] + offset, columns[number], candidates[number, offset])
