"""Which looker serves some products."""

from __future__ import annotations

from semscale.search import quantised
from semscale.search.looking import Looker
from semscale.search.looking_cpu import FloatLooker, IntegerLooker
from semscale.search.products import Products

FEW = 512  # columns for which it does not pay to turn every row


def looker(products: Products, dim: int, *, columns: int, workers: int) -> Looker:
    """The looker for rows of `dim` components that meet so many columns; at most `workers` looks run at once."""
    bound = products.bound(dim)
    if products.device == "cuda":
        from semscale.search.looking_cuda import CudaLooker  # torch takes a second to import

        return CudaLooker(bound)
    if products.used == "int8" and quantised.suits(dim) and columns >= FEW:
        return IntegerLooker(bound, workers, dim)
    return FloatLooker(bound, workers)
