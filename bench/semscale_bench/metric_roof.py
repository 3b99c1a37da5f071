"""The roof of metrics in float64: the fastest product of two matrices, by NumPy's library or by torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from semscale_bench import roof
from semscale_bench.measure import Contestant, Timing
from semscale_bench.roof import Roof

SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048))  # m, n, k; the last is a block of rows of 2048 dimensions
TOLERANCE = 1e-12  # of a product, relative to its largest value


class DoubleProduct:
    """One product of random float64 matrices on the CPU, repeated for long enough to be timed."""

    device, precision = "cpu", "fp64"

    def __init__(self, shape: tuple[int, int, int], library: str) -> None:
        """Fill (m, k) and (k, n), multiply once by "numpy" or "torch", and check a row."""
        m, n, k = shape
        self.shape, self.name = shape, f"cpu fp64 product {m}x{n}x{k} by {library}"
        rng = np.random.default_rng(0)
        a, b, out = rng.standard_normal((m, k)), rng.standard_normal((k, n)), np.empty((m, n))
        self._multiply = _by_torch(a, b, out) if library == "torch" else lambda: np.matmul(a, b, out=out)
        self._multiply()
        expected = np.einsum("k,kn->n", a[0], b)
        assert np.abs(out[0] - expected).max() <= TOLERANCE * np.abs(expected).max(), f"{self.name} is wrong"
        self._times = roof.times_in_a_go(self._multiply)

    def __call__(self) -> int:
        """Multiply for a go; the operations done."""
        m, n, k = self.shape
        for _ in range(self._times):
            self._multiply()
        return self._times * 2 * m * n * k


class Roofs:
    """The products of some precisions: contestants before the rounds, roofs after them."""

    def __init__(self, precisions: Sequence[str]) -> None:
        """Prepare those of "fp32", "fp64", or both."""
        double = [DoubleProduct(shape, library) for shape in SHAPES for library in ("numpy", "torch")]
        self._products: dict[str, Any] = {each.name: each for each in double} if "fp64" in precisions else {}
        if "fp32" in precisions:
            self._products |= {roof.contestant_name(each): each for each in roof.products("cpu", "fp32")}

    def contestants(self) -> dict[str, Contestant]:
        """For `measure`."""
        return dict(self._products)

    def found(self, timings: dict[str, Timing]) -> list[Roof]:
        """What `measure` found of them."""
        return [roof.roof_of(product, timings[name]) for name, product in self._products.items()]


def _by_torch(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    left, right, product = (torch.from_numpy(each) for each in (a, b, out))
    return lambda: torch.mm(left, right, out=product)
