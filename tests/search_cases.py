"""What the tests of search share: hostile vectors, joins as plain arrays, and half precision without its hardware."""

import dataclasses

import numpy as np
import torch
from hypothesis import strategies as st

from semscale.search import Products, pairs_above, top_k


@dataclasses.dataclass(frozen=True, slots=True)
class Emulated(Products):
    """Half-precision products on any CPU: operands and sums are rounded as there, and added in float32."""

    @property
    def dtype(self):
        return torch.float32

    def load(self, units):
        return units.to(getattr(torch, self.precision)).float()

    def empty(self, count):
        return torch.empty(count)

    def multiply(self, rows, columns, out):
        torch.mm(rows, columns.T, out=out)
        out.copy_(out.to(getattr(torch, self.precision)).float())


PRECISIONS = [Products(), Emulated("cpu", "bfloat16"), Emulated("cuda", "float16")]


def joined(rows, threshold, **options):
    """Everything `pairs_above` yields, by a and then b."""
    found = list(pairs_above(rows, threshold, **options))
    a = np.concatenate([np.empty(0, np.int64), *(pairs.a for pairs in found)])
    b = np.concatenate([np.empty(0, np.int64), *(pairs.b for pairs in found)])
    similarity = np.concatenate([np.empty(0), *(pairs.similarity for pairs in found)])
    order = np.lexsort((b, a))
    return a[order], b[order], similarity[order]


def nearest(rows, k, **options):
    """Everything `top_k` yields, in one piece."""
    found = list(top_k(rows, k, **options))
    assert [i for part in found for i in part.rows] == list(range(sum(len(part.rows) for part in found)))
    ids = np.concatenate([np.empty((0, k), np.int64), *(part.ids for part in found)])
    return ids, np.concatenate([np.empty((0, k)), *(part.similarity for part in found)])


def same(found, expected):
    """Assert that arrays are equal to the last bit."""
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)


@st.composite
def stored(draw, most=60, dim=None):
    """(n, D) float32 or float16 rows: some copied, some rescaled, some zero, some not finite, some huge or tiny."""
    n, dim = draw(st.integers(0, most)), dim or draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = rng.standard_normal((n, dim)).astype(draw(st.sampled_from([np.float32, np.float16])))
    if draw(st.booleans()):  # close together
        rows = (rows * 0.05 + rng.standard_normal(dim)).astype(rows.dtype)
    for _ in range(draw(st.integers(0, 8)) if n else 0):
        i, j = rng.integers(0, n, 2)
        change = rng.integers(0, 6)
        special = (0, np.nan, np.inf, rows[j], rows[j] * rows.dtype.type(2), -rows[j])[change]
        rows[i] = special
    if rows.dtype == np.float32 and n and draw(st.booleans()):
        rows[rng.integers(0, n)] *= np.float32(1e30)
        rows[rng.integers(0, n)] *= np.float32(1e-38)
    return rows
