"""Unit rows as 8-bit integers, with a proven bound on how far their products are from the similarities.

Products of integers are exact, and several times as fast as those of float32, so all that is lost is lost here, once a
row, where it can be measured. A row X of length 1 is first turned by an orthogonal matrix R, which changes no product
and spreads a few large components over all, then rounded: X R = s c + e, with one step s for every row, integers c and
the remainder e. For two rows

    |X.Y - s^2 c.d| = |(s c + e).(s d + f) - s^2 c.d| <= |e| |Y| + |s c| |f| <= |e| + (1 + |e|) |f|     (Cauchy-Schwarz)

|e| is computed for each row. R changes signs at random, against rows that lean one way, and is then the Kronecker
product of cosine transforms of p and q components, p q = D. What is computed, y, differs from X R by the rounding of X
(u = 2^-24), of R, and of the two products that turn a row: a sum of q products rounds each component by at most
gamma_q |X| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), hence a row by at most
sqrt(q) gamma_q; `turning_error` adds these up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

from semscale.model import Array
from semscale.search import kernels
from semscale.search.products import UNIT

LARGEST = 127
CHUNK = 512  # rows at a time: they stay in cache
REACH = 5.2  # standard deviations of a component; a larger one is cut, and so rare that |e| hardly grows
LARGEST_FACTOR = 1024
WIDEST = 32_768  # components of a row whose products surely fit 32 bits
ROUNDING = 1 + 2.0**-9  # of |e|, computed in float32 from D squares: (1 + D u) (1 + 4 u), generously, for D <= WIDEST


@dataclass(frozen=True, slots=True)
class Codes:
    """Some rows as integers."""

    values: Array  # (n, D) int8
    losses: Array  # (n,) float64: at least |e| of each row


def step(dim: int) -> float:
    """s: what one of the integers is worth, in rows of `dim` components."""
    return float(np.float32(REACH / (LARGEST * math.sqrt(dim))))


def codes(units: Array) -> Codes:
    """(n, D) float32 rows of length 1 -> their integers, and at most how much of each row is lost."""
    values, losses = np.empty(units.shape, np.int8), np.empty(len(units))
    for at in range(0, len(units), CHUNK):
        part = slice(at, at + CHUNK)
        values[part], losses[part] = _rounded(units[part])
    return Codes(values, losses * ROUNDING + turning_error(units.shape[1]))


def _rounded(units: Array) -> tuple[Array, Array]:
    """(n, D) -> (n, D) whole numbers, (n,) lengths of the remainders."""
    size, turned = np.float32(step(units.shape[1])), _turned(units)
    rounded = turned * (1 / size)
    np.rint(rounded, out=rounded)
    np.clip(rounded, -LARGEST, LARGEST, out=rounded)
    turned -= rounded * size
    return rounded, np.sqrt(np.einsum("nd,nd->n", turned, turned))


def bound(left: Array, right: Array) -> float:
    """(n,), (m,) losses -> at most how far s^2 c.d is from the similarity, of any row of one with any of the other."""
    e, f = float(left.max(initial=0.0)), float(right.max(initial=0.0))
    return (e + (1 + e) * f) * (1 + 2.0**-40)


def suits(dim: int) -> bool:
    """Whether rows of `dim` components are worth turning: products fit 32 bits, and R is of small matrices."""
    return dim <= WIDEST and max(_factors(dim)) <= LARGEST_FACTOR


def turning_error(dim: int) -> float:
    """At most |y - X R|, and what rounding s c in float32 adds."""
    turned = sum((_gamma(size) + UNIT) * math.sqrt(size) for size in _factors(dim))
    return (turned + 4 * UNIT) * 1.01 + 4 * UNIT


def _gamma(count: int) -> float:
    return count * UNIT / (1 - count * UNIT)


def _turned(units: Array) -> Array:
    """(n, D) -> (n, D) rows times R, their components in another order, which is the same for all."""
    n, dim = units.shape
    p, q = _factors(dim)
    once = _product((units * _signs(dim)).reshape(n * p, q), _orthogonal(q)).reshape(n, p, q)
    return _product(np.ascontiguousarray(once.transpose(0, 2, 1)).reshape(n * q, p), _orthogonal(p)).reshape(n, dim)


def _product(rows: Array, columns: Array) -> Array:
    out = np.empty((len(rows), len(columns)), np.float32)
    kernels.multiply_floats(rows, columns, out)
    return out


@cache
def _factors(dim: int) -> tuple[int, int]:
    """p <= q with p q = dim, as near to each other as can be."""
    p = next(size for size in range(math.isqrt(dim), 0, -1) if dim % size == 0)
    return p, dim // p


@cache
def _signs(dim: int) -> Array:
    return np.random.default_rng(0).choice(np.array([-1, 1], np.float32), dim)


@cache
def _orthogonal(size: int) -> Array:
    """(size, size) float32: a cosine transform, none of whose entries is above sqrt(2 / size)."""
    return scipy.fft.dct(np.eye(size), norm="ortho", axis=1).astype(np.float32)
