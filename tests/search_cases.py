"""What the tests of search share: hostile vectors, joins as plain arrays, and half precision without its hardware."""

from functools import partial

import numpy as np
import pytest
from hypothesis import strategies as st

from semscale.search import FLOAT32, Products, pairs_above, top_k
from semscale.search.kernels import integers_are_exact
from semscale.search.looking_cuda import CudaLooker

PRECISIONS = [*([Products(precision="int8")] if integers_are_exact() else []), FLOAT32, Products("cuda", "float16")]


@pytest.fixture(scope="module")
def every_looker():
    """Integers for small joins too, and half precision on any processor: rounded as on a GPU, and added in float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semscale.search.lookers.FEW", 0)
        patch.setattr("semscale.search.looking_cuda.CudaLooker", partial(Emulated, device="cpu"))
        yield


class Emulated(CudaLooker):
    """The looker of GPUs on the processor."""

    def left(self, units):
        return super().left(units).float()

    def _products(self, left, right):
        return (left @ right.T).half().float()


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
