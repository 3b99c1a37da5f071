"""What similarities are computed in before the exact ones, with a proven bound on how far they are off.

Let x and y be stored rows, X = x/|x| and Y = y/|y| exactly, so that the similarity is s = sum X_i Y_i and
sum |X_i Y_i| <= 1 (Cauchy-Schwarz). With `u` = 2^-24, what is computed differs from s by

    factor      of each term    from
    (1 + u)^2                   X and Y, computed in float64 and rounded to float32
    (1 + h)^2                   both rounded to the operands' precision: h = 2^-11 (float16), else 0
    1 + gamma   d a/(1 - d a)   d products added in any order, fused or not, each step rounding by at most a
    1 + h                       the sum rounded to the operands' precision

(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1.) As the terms' magnitudes sum to at most
1, |computed - s| <= (1 + u)^2 (1 + h)^3 (1 + gamma) - 1, plus what is lost below the smallest number of the precision,
at most `lost` of each component of a row, hence 3 sqrt(d) lost in all. SLACK covers the float64 arithmetic of the
re-check and the float32 arithmetic on floors. a = u on a CPU. Tensor cores add in float32 but cut off instead of
rounding, also when aligning the terms (Fasi et al. 2021, doi 10.7717/peerj-cs.330); a = 4 u is taken there, which is
an allowance for published behaviour and not a proof.

On a CPU with `int8`, places are first looked for in integers (`quantised`), and what may be wanted is then multiplied
in float32: the bound is that of float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from semscale.errors import UsageError
from semscale.search import kernels

UNIT = 2.0**-24  # roundoff of float32
SLACK = 2.0**-21
KINDS = {  # (device, precision) -> roundoff of an operand, of a step of the sum, and the size that may be lost
    ("cpu", "int8"): (0.0, UNIT, 2.0**-126),
    ("cpu", "float32"): (0.0, UNIT, 2.0**-126),
    ("cuda", "float16"): (2.0**-11, 4 * UNIT, 2.0**-24),
}


@dataclass(frozen=True, slots=True)
class Products:
    """Where and in what similarities are computed first. `auto`: in integers where their products are exact."""

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["auto", "int8", "float32", "float16"] = "auto"

    def __post_init__(self) -> None:
        if self.precision != "auto" and (self.device, self.precision) not in KINDS:
            known = ", ".join(f"{precision} on {device}" for device, precision in KINDS)
            raise UsageError(f"no products in {self.precision} on {self.device}; choose from {known}")
        if self.precision == "int8" and not kernels.integers_are_exact():
            raise UsageError("no exact products of integers here: they need onnxruntime, and VNNI, AMX or their like")

    @property
    def used(self) -> str:
        """The precision that `auto` stands for here."""
        if self.precision != "auto":
            return self.precision
        if self.device == "cuda":
            return "float16"
        return "int8" if kernels.integers_are_exact() else "float32"

    def bound(self, dim: int) -> float:
        """Largest |reduced - exact| similarity of two rows of `dim` components; infinite where nothing is proven."""
        half, step, lost = KINDS[self.device, self.used]
        if dim * step >= 1:
            return math.inf
        gamma = dim * step / (1 - dim * step)
        return (1 + UNIT) ** 2 * (1 + half) ** 3 * (1 + gamma) - 1 + 3 * math.sqrt(dim) * lost + SLACK


AUTO, FLOAT32 = Products(), Products(precision="float32")
