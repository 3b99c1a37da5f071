"""The roof of an encoder: the fastest matrix product of its precision on its device, by torch, on a CPU by NumPy too.

In float32 NumPy's library is a quarter faster than torch's on an AMD processor. Products are counted as 2 m n k
operations, as in `flops`. An encoder in int8 has no roof: torch's integer product is slower than the kernels that it
runs. Who multiplies int8 with torch has one, `integer_products`, counted in the same way. On a GPU this was never run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
INTEGER_SHAPES = ((2048, 2048, 512), (2048, 2048, 2048))  # on a CPU; the first is a tile of unit rows by another
GO_SECONDS = 0.2  # what a go lasts at least, so that a short piece of work is timed many times over


@dataclass(frozen=True, slots=True)
class Roof:
    """The best rate of one product over all rounds."""

    device: str  # "cpu" or "cuda"
    precision: str
    shape: tuple[int, int, int]  # m, n, k
    best: float  # operations a second
    median: float


class Product:
    """One matrix product on random numbers, repeated for long enough to be timed."""

    library = "torch"

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
                self._begin()
            _wait(self.device)
        return self._times * 2 * m * n * k

    def _multiply(self) -> None:
        with _tf32(self.precision == "tf32"):
            self._begin()
            _wait(self.device)

    def _begin(self) -> None:
        torch.mm(self._a, self._b, out=self._out)

    def _check(self) -> None:
        a, b, found = (part.cpu().double().numpy() for part in (self._a[0], self._b, self._out[0]))
        expected = a @ b
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        assert error <= TOLERANCES[self.precision], f"{self.precision} product on {self.device} is off by {error:.1e}"


class NumpyProduct(Product):
    """The same by NumPy, in float32 on the CPU."""

    library = "NumPy"

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """See `Product`."""
        super().__init__("cpu", "fp32", shape)

    def _begin(self) -> None:
        np.matmul(self._a.numpy(), self._b.numpy(), out=self._out.numpy())


class IntegerProduct:
    """One product of random int8 matrices with sums in int32 on the CPU, repeated for long enough to be timed."""

    device, precision, library = "cpu", "int8", "torch"

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """Fill (m, k) and (n, k), the second to be transposed, multiply once, and check a row in int64."""
        self.shape = shape
        m, n, k = shape
        generator = torch.Generator().manual_seed(0)
        left, right = (
            torch.randint(-127, 128, size, generator=generator, dtype=torch.int8) for size in ((m, k), (n, k))
        )
        self._a, self._b = left, right.T
        self._out = torch.empty((m, n), dtype=torch.int32)
        self._multiply()
        expected = self._a[0].numpy().astype(np.int64) @ self._b.numpy().astype(np.int64)
        assert (self._out[0].numpy() == expected).all(), "int8 product on cpu is wrong"
        self._times = times_in_a_go(self._multiply)

    def __call__(self) -> int:
        """Multiply for a go; the operations done."""
        m, n, k = self.shape
        for _ in range(self._times):
            self._multiply()
        return self._times * 2 * m * n * k

    def _multiply(self) -> None:
        torch._int_mm(self._a, self._b, out=self._out)  # pyright: ignore[reportPrivateImportUsage]


def products(device: str, precision: str) -> list[Product]:
    """Every product that the roof of a precision is the best of; none for a precision without a roof."""
    if precision not in TYPES:
        return []
    made = [Product(device, precision, shape) for shape in SHAPES[device]]
    by_numpy = (device, precision) == ("cpu", "fp32")
    return made + [NumpyProduct(shape) for shape in SHAPES[device] if by_numpy]


def integer_products() -> list[IntegerProduct]:
    """Every product that the roof of int8 with sums in int32 is the best of, on the CPU."""
    return [IntegerProduct(shape) for shape in INTEGER_SHAPES]


def roof_of(product: Product | IntegerProduct, timing: Timing) -> Roof:
    """The rate of a product that `measure` timed."""
    best = timing.units / min(timing.seconds)
    return Roof(product.device, product.precision, product.shape, best, timing.rate)


def times_in_a_go(work: Callable[[], object]) -> int:
    """How often to do a piece of work that was done before, so that it lasts GO_SECONDS; does it once to find out."""
    start = time.perf_counter()
    work()
    return max(1, round(GO_SECONDS / (time.perf_counter() - start)))


def contestant_name(product: Product | IntegerProduct) -> str:
    """What a product is called among the contestants."""
    return f"{product.device} {product.precision} product {'x'.join(map(str, product.shape))}, {product.library}"


def contestants(products: Sequence[Product | IntegerProduct]) -> dict[str, Contestant]:
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
