"""Looking at tiles on a GPU, in float16 added in float32. It never ran on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from semscale.model import Array
from semscale.search import scan_cuda
from semscale.search.looking import Look, Scale, Tile, Wanted, padded, raised

HALF_SUMS = ("allow_fp16_reduced_precision_reduction", "allow_fp16_accumulation")


class CudaLooker:
    """One tile at a time, each of which keeps the whole GPU busy."""

    workers = 1

    def __init__(self, bound: float, device: str = "cuda") -> None:
        self._bound, self._device = bound, device

    def left(self, units: Array) -> torch.Tensor:
        """(n, D) unit rows in float16, on the GPU."""
        return torch.from_numpy(units).to(self._device, torch.float16)

    def part(self, left: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Some of the rows."""
        return left[start:stop]

    def right(self, units: Array) -> torch.Tensor:
        """(m, D) unit rows in float16, on the GPU."""
        return self.left(units)

    def look(self, tile: Tile, wanted: Wanted) -> Look:
        """Multiply, compare, and bring the places found to the processor."""
        strip = wanted.strip(len(tile.rows))
        products = self._products(tile.left, tile.right)
        if tile.forbidden is not None:
            products.masked_fill_(torch.from_numpy(tile.forbidden).to(products.device), -math.inf)
        flat = torch.nn.functional.pad(products, (0, 0, 0, -len(tile.rows) % strip), value=-math.inf)
        strips = flat.view(-1, strip, len(tile.columns))
        largest = scan_cuda.maxima(strips)
        floors = raised(
            wanted,
            Scale(1.0, self._bound, -math.inf),
            bound=self._bound,
            by_column=lambda k: scan_cuda.kth_of_columns(largest, k),
            by_row=lambda k: scan_cuda.kth_of_rows(products, k),
        )
        return Look(scan_cuda.reaching(strips, largest, padded(floors, len(flat))), floors)

    def _products(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        with _full_sums():
            return left @ right.T


@contextmanager
def _full_sums() -> Iterator[None]:
    """Keep CUDA from adding up a float16 product in float16: parts of it, as it does unless told, or all of it."""
    flags = torch.backends.cuda.matmul
    names = [name for name in HALF_SUMS if hasattr(flags, name)]  # the second came with torch 2.7
    before = [getattr(flags, name) for name in names]
    for name in names:
        setattr(flags, name, False)
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(flags, name, value)
