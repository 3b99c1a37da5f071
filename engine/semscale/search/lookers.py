"""Which looker serves some products."""

from __future__ import annotations

from semscale.search import quantised
from semscale.search.looking import Looker
from semscale.search.looking_cpu import FloatLooker, IntegerLooker
from semscale.search.looking_cuda import CudaLooker
from semscale.search.products import Products


def looker(products: Products, dim: int, workers: int) -> Looker:
    """The looker for rows of `dim` components; `workers` is the most tiles that it may look at at once."""
    bound = products.bound(dim)
    if products.device == "cuda":
        return CudaLooker(bound)
    if products.used == "int8" and dim <= quantised.WIDEST:
        return IntegerLooker(bound, workers, dim)
    return FloatLooker(bound, workers)
