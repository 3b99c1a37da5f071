"""How far a number of a peer and ours may be apart, and why.

Tolerances are from the precision that a peer computes with. A difference that is larger is either a finding or has its
reason beside it, with the range that it must lie in: one that vanishes is a finding too.
"""

from __future__ import annotations

from dataclasses import dataclass

DOUBLE, SINGLE = 1e-9, 1e-6  # what rounding leaves of float64 and of float32, where nothing cancels


@dataclass(frozen=True, slots=True)
class Expected:
    """Our number for one check. Differences are shares of the larger of the two numbers."""

    value: float
    convention: str
    within: float  # largest difference
    why: str = ""  # what sets the two apart, where it is more than the order of float64 additions
    beyond: float = 0.0  # smallest difference
