"""Where joins run: on the GPU that torch finds, else on the processor. No join ever ran on a GPU."""

from __future__ import annotations

from typing import Literal

import torch

from semscale.errors import UsageError
from semscale.search.products import Products
from semscale.search.tiles import DEFAULT, Tuning

ON_A_GPU = Tuning(products=Products("cuda", "float16"), tile=8192)  # a product large enough to keep a GPU busy


def tuning_on(device: Literal["auto", "cpu", "cuda"]) -> Tuning:
    """How joins are set on a device; blocks are the same on all. Raises UsageError for a GPU that is not there."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return DEFAULT
    if not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU (`semscale doctor` says why); use --device cpu")
    return ON_A_GPU
