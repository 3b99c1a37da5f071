"""Products of unit rows in reduced precision, with a proven bound on how far a similarity is from the exact one.

Let x and y be stored rows, X = x/|x| and Y = y/|y| exactly, so that the similarity is s = sum X_i Y_i and
sum |X_i Y_i| <= 1 (Cauchy-Schwarz). With `u` = 2^-24, what is computed differs from s by

    factor      of each term    from
    (1 + u)^2                   X and Y, computed in float64 and rounded to float32
    (1 + h)^2                   both rounded to the operands' precision: h = 2^-8 (bfloat16), 2^-11 (float16), else 0
    1 + gamma   d a/(1 - d a)   d products added in any order, fused or not, each step rounding by at most a
    1 + h                       the sum rounded to the operands' precision

(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1.) As the terms' magnitudes sum to at most
1, |computed - s| <= (1 + u)^2 (1 + h)^3 (1 + gamma) - 1, plus what is lost below the smallest number of the precision,
at most `lost` of each component of a row, hence 3 sqrt(d) lost in all. SLACK covers the float64 arithmetic of the
re-check and the float32 arithmetic on floors. a = u on a CPU. Tensor cores add in float32 but cut off instead of
rounding, also when aligning the terms (Fasi et al. 2021, doi 10.7717/peerj-cs.330); a = 4 u is taken there, which is
an allowance for published behaviour and not a proof.

No path on a GPU was ever run on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from semscale.errors import UsageError

UNIT = 2.0**-24  # roundoff of float32
SLACK = 2.0**-21
KINDS = {  # (device, precision) -> roundoff of an operand, of a step of the sum, and the size that may be lost
    ("cpu", "float32"): (0.0, UNIT, 2.0**-126),
    ("cpu", "bfloat16"): (2.0**-8, UNIT, 2.0**-126),
    ("cuda", "float16"): (2.0**-11, 4 * UNIT, 2.0**-24),
}


@dataclass(frozen=True, slots=True)
class Products:
    """How similarities are computed before the exact ones.

    bfloat16 on a CPU pays only where AMX works, and ends the process where AMX is announced and broken: ask
    `semscale.encoders.machine.amx` first.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        if (self.device, self.precision) not in KINDS:
            known = ", ".join(f"{precision} on {device}" for device, precision in KINDS)
            raise UsageError(f"no products in {self.precision} on {self.device}; choose from {known}")

    @property
    def dtype(self) -> torch.dtype:
        """Of operands and similarities."""
        return getattr(torch, self.precision)

    def bound(self, dim: int) -> float:
        """Largest |reduced - exact| similarity of two rows of `dim` components; infinite where nothing is proven."""
        half, step, lost = KINDS[self.device, self.precision]
        if dim * step >= 1:
            return math.inf
        gamma = dim * step / (1 - dim * step)
        return (1 + UNIT) ** 2 * (1 + half) ** 3 * (1 + gamma) - 1 + 3 * math.sqrt(dim) * lost + SLACK

    def load(self, units: torch.Tensor) -> torch.Tensor:
        """(n, D) float32 unit rows -> the operand they become, on the device."""
        return units.to(self.device, self.dtype)

    def empty(self, count: int) -> torch.Tensor:
        """Room for `count` similarities."""
        return torch.empty(count, dtype=self.dtype, device=self.device)

    def multiply(self, rows: torch.Tensor, columns: torch.Tensor, out: torch.Tensor) -> None:
        """(r, D), (c, D) operands -> `out`, (r, c) similarities.

        Raises UsageError when torch was told to round float32 products to less.
        """
        if self.precision == "float32" and torch.get_float32_matmul_precision() != "highest":
            raise UsageError(
                "torch was told to round float32 products; call torch.set_float32_matmul_precision('highest')"
            )
        with _full_sums():
            torch.mm(rows, columns.T, out=out)


FLOAT32 = Products()


@contextmanager
def _full_sums() -> Iterator[None]:
    """Keep CUDA from adding up parts of a float16 product in float16, which it does unless told."""
    flags = torch.backends.cuda.matmul
    before = flags.allow_fp16_reduced_precision_reduction
    flags.allow_fp16_reduced_precision_reduction = False
    try:
        yield
    finally:
        flags.allow_fp16_reduced_precision_reduction = before
