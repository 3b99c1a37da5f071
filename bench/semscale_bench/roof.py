"""The roof of an encoder: the fastest matrix product of its precision on its device, measured by torch.

Products are counted as 2 m n k floating-point operations, as in `flops`. There is no roof for int8: torch's integer
product is slower than the kernels that an encoder runs. On a GPU this was never run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from semscale_bench.measure import Contestant, Timing

TYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TOLERANCES = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2}  # of a product, relative to its largest value
SHAPES = {  # m, n, k; the last of each is the widest product of a ViT: B/32 by 32 images, L/14 by 128
    "cpu": ((1024, 1024, 1024), (2048, 2048, 2048), (1600, 3072, 768)),
    "cuda": ((4096, 4096, 4096), (8192, 8192, 8192), (32896, 4096, 1024)),
}
GO_SECONDS = 0.2  # what a go lasts at least, so that a short piece of work is timed many times over


@dataclass(frozen=True, slots=True)
class Roof:
    """The best rate of one product over all rounds."""

    device: str  # "cpu" or "cuda"
    precision: str
    shape: tuple[int, int, int]  # m, n, k
    best: float  # FLOP/s
    median: float  # FLOP/s


class Product:
    """One matrix product on random numbers, repeated for long enough to be timed."""

    def __init__(self, device: str, precision: str, shape: tuple[int, int, int]) -> None:
        """Fill (m, k) and (k, n) with seeded normal numbers, multiply once, and check a row in float64."""
        self.device, self.precision, self.shape = device, precision, shape
        m, n, k = shape
        generator = torch.Generator().manual_seed(0)
        self._a, self._b = (
            torch.randn(size, generator=generator).to(device, TYPES[precision]) for size in ((m, k), (k, n))
        )
        self._out = torch.empty((m, n), dtype=TYPES[precision], device=device)
        self._multiply()
        self._check()
        self._times = times_in_a_go(self._multiply)

    def __call__(self) -> int:
        """Multiply for a go; the FLOPs done."""
        m, n, k = self.shape
        with _tf32(self.precision == "tf32"):
            for _ in range(self._times):
                torch.mm(self._a, self._b, out=self._out)
            _wait(self.device)
        return self._times * 2 * m * n * k

    def _multiply(self) -> None:
        with _tf32(self.precision == "tf32"):
            torch.mm(self._a, self._b, out=self._out)
            _wait(self.device)

    def _check(self) -> None:
        a, b, found = (part.cpu().double().numpy() for part in (self._a[0], self._b, self._out[0]))
        expected = a @ b
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        assert error <= TOLERANCES[self.precision], f"{self.precision} product on {self.device} is off by {error:.1e}"


def products(device: str, precision: str) -> list[Product]:
    """Every product that the roof of a precision is the best of; none for a precision without a roof."""
    if precision not in TYPES:
        return []
    return [Product(device, precision, shape) for shape in SHAPES[device]]


def roof_of(product: Product, timing: Timing) -> Roof:
    """The rate of a product that `measure` timed."""
    best = timing.units / min(timing.seconds)
    return Roof(product.device, product.precision, product.shape, best, timing.rate)


def times_in_a_go(work: Callable[[], object]) -> int:
    """How often to do a piece of work that was done before, so that it lasts GO_SECONDS; does it once to find out."""
    start = time.perf_counter()
    work()
    return max(1, round(GO_SECONDS / (time.perf_counter() - start)))


def contestant_name(product: Product) -> str:
    """What a product is called among the contestants."""
    return f"{product.device} {product.precision} product {'x'.join(map(str, product.shape))}"


def contestants(products: list[Product]) -> dict[str, Contestant]:
    """The products by their names, for `measure`."""
    return {contestant_name(product): product for product in products}


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
