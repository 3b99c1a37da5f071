"""`scan` for tiles on a GPU, in torch; places are brought to the processor. It never ran on a GPU."""

from __future__ import annotations

import torch

from semscale.model import Array
from semscale.search.scan import Floors, Hits


def maxima(values: torch.Tensor) -> torch.Tensor:
    """(S, h, c) tile -> (S, c) largest value of each strip of h rows in one column."""
    return values.amax(dim=1)


def kth_of_columns(largest: torch.Tensor, k: int) -> Array | None:
    """(S, c) maxima -> (c,) float32 values that at least k of each column's reach; None where there are fewer."""
    return _array(largest.topk(k, dim=0).values[-1]) if len(largest) >= k else None


def kth_of_rows(values: torch.Tensor, k: int) -> Array | None:
    """(n, c) values -> (n,) float32, the k-th largest of each row; None where there are fewer columns."""
    return _array(values.topk(k, dim=1).values[:, -1]) if values.shape[1] >= k else None


def reaching(values: torch.Tensor, largest: torch.Tensor, floors: Floors) -> Hits:
    """(S, h, c) tile, its maxima, and S h row floors -> every place at or above its row's floor or its column's."""
    by_row = torch.from_numpy(floors.rows.reshape(values.shape[:2])).to(values.device)
    by_column = torch.from_numpy(floors.columns).to(values.device)
    needed = torch.minimum(by_row.amin(dim=1)[:, None], by_column[None, :])
    strips, columns = (largest >= needed).nonzero(as_tuple=True)
    candidates = values[strips, :, columns]
    reached = candidates >= torch.minimum(by_row[strips], by_column[columns][:, None])
    number, offset = reached.nonzero(as_tuple=True)
    places = (strips[number] * values.shape[1] + offset, columns[number], candidates[number, offset].float())
    rows, across, found = (place.cpu().numpy() for place in places)
    return Hits(rows, across, found)


def _array(values: torch.Tensor) -> Array:
    return values.float().cpu().numpy()
