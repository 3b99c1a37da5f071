"""Finding the few large values of a tile: the maximum of each strip first, then only strips that can hold one.

The maximum over 32 rows of one column is read at memory speed, and a thirty-second of the tile is left to compare;
comparing every value takes several times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from semscale.model import Array


@dataclass(frozen=True, slots=True)
class Hits:
    """Places of a tile, in rising order of row and then column, and the reduced similarities there."""

    rows: Array  # (P,) int64, within the tile
    columns: Array
    values: Array  # (P,) float32


def maxima(values: torch.Tensor) -> torch.Tensor:
    """(S, h, c) tile -> (S, c) largest value of each strip of h rows in one column."""
    return values.amax(dim=1)


def above(values: torch.Tensor, largest: torch.Tensor, floor: float) -> Hits:
    """(S, h, c) tile and its maxima -> every place with a value of `floor` or more."""
    floors = torch.full((1,), floor, dtype=torch.float32, device=values.device)  # a number would be rounded to bfloat16
    strips, columns = (largest >= floors).nonzero(as_tuple=True)
    candidates = values[strips, :, columns]
    return _hits(candidates, candidates >= floors, strips, columns)


def above_either(values: torch.Tensor, largest: torch.Tensor, row_floors: Array, column_floors: Array) -> Hits:
    """(S, h, c) tile, its maxima, (S, h) and (c,) floors -> every place at or above its row's or its column's."""
    by_row, by_column = (torch.from_numpy(floors).to(values.device) for floors in (row_floors, column_floors))
    needed = torch.minimum(by_row.amin(dim=1)[:, None], by_column[None, :])
    strips, columns = (largest >= needed).nonzero(as_tuple=True)
    candidates = values[strips, :, columns]
    reached = candidates >= torch.minimum(by_row[strips], by_column[columns][:, None])
    return _hits(candidates, reached, strips, columns)


def _hits(candidates: torch.Tensor, reached: torch.Tensor, strips: torch.Tensor, columns: torch.Tensor) -> Hits:
    number, offset = reached.nonzero(as_tuple=True)
    places = (strips[number] * candidates.shape[1] + offset, columns[number], candidates[number, offset].float())
    rows, across, found = (place.cpu().numpy() for place in places)
    order = np.argsort((rows << 32) + across)  # one key sorts several times faster than two
    return Hits(rows[order], across[order], found[order])
