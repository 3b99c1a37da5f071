import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import PRECISIONS

from semscale.errors import UsageError
from semscale.search import Products, reference, scan
from semscale.search.recheck import cosines
from semscale.search.sides import CHUNK, dots, open_side
from semscale.search.vectors import ArrayVectors


def reduced(products, rows):
    """(n, D) valid rows -> (n, n) similarities in reduced precision."""
    side = open_side(ArrayVectors(rows))
    operand = products.load(side.units(range(len(rows))))
    out = torch.empty((len(rows), len(rows)))
    products.multiply(operand, operand, out)
    return out.double().numpy()


def hostile(dim, seed, kind):
    """Rows whose rounding errors add up instead of cancelling."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((24, dim))
    if kind == "equal":  # each component rounds the same way
        rows = np.full((24, dim), 1.0) * rng.uniform(1, 2, (24, 1))
    if kind == "positive":
        rows = np.abs(rows) + 1
    if kind == "halfway":  # between two numbers of bfloat16 once normalised
        rows = (1 + 2.0**-8 * rng.choice([1, 3], (24, dim))) * 2.0 ** rng.integers(-3, 1, (24, dim))
    if kind == "uneven":
        rows *= 10.0 ** rng.uniform(-20, 15, (24, dim))
    return rows.astype(np.float32)


@given(
    st.integers(1, 1500),
    st.integers(0, 999),
    st.sampled_from(["random", "equal", "positive", "halfway", "uneven"]),
    st.sampled_from(PRECISIONS),
)
@settings(max_examples=80, deadline=None)
def test_no_similarity_is_further_off_than_the_bound(dim, seed, kind, products):
    rows = hostile(dim, seed, kind)
    error = np.abs(reduced(products, rows) - reference.similarities(rows, rows)).max()
    assert error <= products.bound(dim)


@pytest.mark.parametrize("products", PRECISIONS[1:], ids=str)
def test_the_bound_of_half_precision_is_not_loose(products):
    errors = [
        np.abs(reduced(products, rows) - reference.similarities(rows, rows)).max()
        for rows in (hostile(dim, seed, "equal") for dim in range(1, 40) for seed in range(3))
    ]
    assert max(errors) > 0.3 * products.bound(20)


def test_bounds_grow_with_what_is_rounded():
    float32, bfloat16, float16 = (products.bound(512) for products in PRECISIONS)
    assert float32 == pytest.approx(512 * 2**-24, rel=0.05)
    assert float16 == pytest.approx(3 * 2**-11, rel=0.15)
    assert bfloat16 == pytest.approx(3 * 2**-8, rel=0.05)
    assert math.isinf(Products().bound(2**24))


def test_unknown_products_are_refused():
    with pytest.raises(UsageError, match="no products in float16 on cpu; choose from float32 on cpu"):
        Products("cpu", "float16")


def test_products_that_torch_would_round_are_refused():
    ones = torch.ones((2, 2))
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(UsageError, match="set_float32_matmul_precision"):
            Products().multiply(ones, ones, torch.empty((2, 2)))
    finally:
        torch.set_float32_matmul_precision("highest")


@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_product_of_two_rows_has_the_same_bits_wherever_they_lie(dim, step, shift):
    rng = np.random.default_rng(dim)
    room = rng.standard_normal(40 * dim + 8)
    left, right = room[shift : shift + 40 * dim].reshape(40, dim), room[::-1][: 40 * dim].reshape(40, dim)
    whole = dots(left, right)
    parts = [dots(left[at : at + step], right[at : at + step]) for at in range(0, 40, step)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(dots(right, left), whole)
    assert np.array_equal([dots(left[i : i + 1].copy(), right[i : i + 1].copy())[0] for i in range(40)], whole)


def test_cosines_are_those_of_exact_arithmetic_and_equal_rows_have_one():
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((50, 70)) * 10.0 ** rng.integers(-30, 30, (50, 1))).astype(np.float32)
    side = open_side(ArrayVectors(rows))
    a, b = rng.integers(0, 50, 200), rng.integers(0, 50, 200)
    wide = rows.astype(np.float64)
    for i, j, found in zip(a, b, cosines(side, a, side, b), strict=True):
        lengths = math.sqrt(math.fsum(wide[i] ** 2)) * math.sqrt(math.fsum(wide[j] ** 2))
        assert found == pytest.approx(math.fsum(wide[i] * wide[j]) / lengths, abs=1e-14)
    assert (cosines(side, a, side, a) == 1.0).all()


def test_cosines_do_not_depend_on_chunks(monkeypatch):
    side = open_side(ArrayVectors(np.random.default_rng(0).standard_normal((50, 33)).astype(np.float32)))
    a, b = np.random.default_rng(1).integers(0, 50, (2, 500))
    whole = cosines(side, a, side, b)
    monkeypatch.setattr("semscale.search.recheck.CHUNK_BYTES", 16 * 33 * 7)
    assert np.array_equal(cosines(side, a, side, b), whole)


def test_a_side_keeps_valid_rows_across_chunks():
    rows = np.ones((CHUNK + 5, 2), np.float32)
    rows[[0, CHUNK]] = [[0, 0], [np.nan, 1]]
    rows[CHUNK + 1] = np.inf
    rows[1] = 1e-45  # the smallest numbers are not zero
    side = open_side(ArrayVectors(rows))
    assert sorted(set(range(CHUNK + 5)) - set(side.ids.tolist())) == [0, CHUNK, CHUNK + 1]
    assert torch.allclose(side.units(range(len(side))), torch.tensor(math.sqrt(0.5)))


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_scanning_finds_every_place_and_no_other(strips, height, columns, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-5, 6, (strips, height, columns)).astype(np.float32)
    flat, tile = values.reshape(-1, columns), torch.from_numpy(values)
    found = scan.above(tile, scan.maxima(tile), 3.0)
    assert np.array_equal(np.stack([found.rows, found.columns]), np.nonzero(flat >= 3))
    row_floors = rng.choice([2.0, 4.0, np.inf], (strips, height)).astype(np.float32)
    column_floors = rng.choice([1.0, 5.0, np.inf], columns).astype(np.float32)
    found = scan.above_either(tile, scan.maxima(tile), row_floors, column_floors)
    reached = (flat >= row_floors.reshape(-1)[:, None]) | (flat >= column_floors[None])
    assert np.array_equal(np.stack([found.rows, found.columns]), np.nonzero(reached))
    assert np.array_equal(found.values, flat[reached])
