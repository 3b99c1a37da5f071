import math
from importlib import resources

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import every_looker  # noqa: F401 - a fixture

from semscale.errors import UsageError
from semscale.search import FLOAT32, Products, Tuning, kernels, pairs_above, quantised, reference, scan, scan_cuda
from semscale.search.lookers import looker
from semscale.search.looking import LOWEST, Tile, Wanted
from semscale.search.looking_cpu import FloatLooker, IntegerLooker
from semscale.search.recheck import cosines
from semscale.search.scan import Floors
from semscale.search.sides import CHUNK, dots, open_side
from semscale.search.vectors import ArrayVectors

pytestmark = pytest.mark.usefixtures("every_looker")
needs_integers = pytest.mark.skipif(not kernels.integers_are_exact(), reason="integer products are not exact here")
HALF = Products("cuda", "float16")
KINDS = ["random", "equal", "positive", "halfway", "uneven", "outliers"]


def everything(rows, wanted):
    """All N x N places of rows that are wanted anyhow."""
    return Wanted(Floors(np.full(rows, wanted, np.float32), np.full(rows, wanted, np.float32)))


def reduced(products, rows):
    """(n, D) valid rows -> (n, n) similarities in reduced precision."""
    units, n = open_side(ArrayVectors(rows)).units(range(len(rows))), len(rows)
    looking = looker(products, rows.shape[1], columns=n, workers=1)
    tile = Tile(range(n), range(n), looking.left(units), looking.right(units), None)
    hits = looking.look(tile, everything(n, LOWEST)).hits
    out = np.full((n, n), np.nan)
    out[hits.rows, hits.columns] = hits.values
    return out


def hostile(dim, seed, kind):
    """Rows whose rounding errors add up instead of cancelling."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((24, dim))
    if kind == "equal":  # each component rounds the same way
        rows = np.full((24, dim), 1.0) * rng.uniform(1, 2, (24, 1))
    if kind == "positive":
        rows = np.abs(rows) + 1
    if kind == "halfway":  # between two numbers of float16 once normalised
        rows = (1 + 2.0**-11 * rng.choice([1, 3], (24, dim))) * 2.0 ** rng.integers(-3, 1, (24, dim))
    if kind == "outliers":  # as encoders make them: a few components carry most of the length
        rows[:, :: max(dim // 3, 1)] *= 30
    if kind == "uneven":
        rows *= 10.0 ** rng.uniform(-20, 15, (24, dim))
    return rows.astype(np.float32)


@given(
    st.integers(1, 1500),
    st.integers(0, 999),
    st.sampled_from(KINDS),
    st.sampled_from([FLOAT32, HALF]),
)
@settings(max_examples=80, deadline=None)
def test_no_similarity_is_further_off_than_the_bound(dim, seed, kind, products):
    rows = hostile(dim, seed, kind)
    error = np.abs(reduced(products, rows) - reference.similarities(rows, rows)).max()
    assert error <= products.bound(dim)


def test_the_bound_of_every_looker_is_not_loose():
    errors = [
        np.abs(reduced(HALF, rows) - reference.similarities(rows, rows)).max()
        for rows in (hostile(dim, seed, "equal") for dim in range(1, 40) for seed in range(3))
    ]
    assert max(errors) > 0.3 * HALF.bound(20)


def test_bounds_grow_with_what_is_rounded():
    assert FLOAT32.bound(512) == pytest.approx(512 * 2**-24, rel=0.05)
    assert HALF.bound(512) == pytest.approx(3 * 2**-11, rel=0.15)
    assert math.isinf(FLOAT32.bound(2**24))


def integer_similarities(rows):
    """(n, D) rows -> (n, n) similarities by integer products, and their bounds."""
    units = open_side(ArrayVectors(rows)).units(range(len(rows)))
    codes = quantised.codes(units)
    exact = codes.values.astype(np.int64) @ codes.values.astype(np.int64).T
    bounds = [[quantised.bound(e[None], f[None]) for f in codes.losses] for e in codes.losses]
    return exact * quantised.step(rows.shape[1]) ** 2, np.array(bounds)


@given(st.integers(1, 1500), st.integers(0, 999), st.sampled_from(KINDS))
@settings(max_examples=60, deadline=None)
def test_no_product_of_integers_is_further_off_than_its_bound(dim, seed, kind):
    rows = hostile(dim, seed, kind)
    found, bounds = integer_similarities(rows)
    assert (np.abs(found - reference.similarities(rows, rows)) <= bounds).all()


@pytest.mark.parametrize("kind", ["random", "positive", "outliers"])
@pytest.mark.parametrize("dim", [512, 640, 768, 1152])
def test_the_bound_of_integers_is_small_whatever_the_encoder(dim, kind):
    _, bounds = integer_similarities(hostile(dim, 0, kind))
    assert bounds.max() < 0.03


def test_the_bound_of_integers_is_reached_where_rounding_has_a_direction():
    """Two rows along one remainder: the bound is what Cauchy-Schwarz allows, not a multiple of it."""
    rng = np.random.default_rng(0)
    row = rng.standard_normal((1, 512)).astype(np.float32)
    units = open_side(ArrayVectors(row)).units(range(1))
    codes = quantised.codes(units)
    lost = quantised._turned(units) - codes.values * np.float32(quantised.step(512))
    assert np.linalg.norm(lost) == pytest.approx(codes.losses[0], rel=0.01)


@needs_integers
def test_products_of_integers_are_exact_at_their_extremes():
    rng = np.random.default_rng(0)
    for dim in (1, 7, 512, 4096):
        left = rng.choice([-127, 127, 0, 5], (70, dim)).astype(np.int8)
        right = rng.choice([-127, 127, 0, 5], (90, dim)).astype(np.int8)
        left[0], right[0] = 127, -127
        out = np.empty((70, 90), np.int32)
        kernels.multiply_integers(kernels.unsigned(left.copy()), np.ascontiguousarray(right.T), out)
        assert np.array_equal(out, left.astype(np.int64) @ right.astype(np.int64).T)


@needs_integers
def test_integers_leave_little_to_float32(monkeypatch):
    rows = np.random.default_rng(0).standard_normal((600, 512)).astype(np.float32)
    rows[1] = rows[0] + 0.1 * rows[2]
    multiplied = []
    monkeypatch.setattr("semscale.search.looking_cpu.FloatLooker.look", lambda *_: pytest.fail("all of it in float32"))
    monkeypatch.setattr(
        "semscale.search.looking_cpu.IntegerLooker._refined", lambda *given: multiplied.append(given[2]) or given[2]
    )
    found = list(pairs_above(rows, 0.9, tuning=Tuning(Products(precision="int8"))))
    assert sum(len(pairs.a) for pairs in found) == 1
    assert sum(len(hits.rows) for hits in multiplied) == 1


@needs_integers
def test_tiles_full_of_pairs_are_multiplied_in_float32(monkeypatch):
    rows = hostile(64, 0, "positive")
    monkeypatch.setattr("semscale.search.looking_cpu.IntegerLooker._refined", lambda *_: pytest.fail("by places"))
    found = list(pairs_above(rows, 0.5, tuning=Tuning(Products(precision="int8"))))
    assert sum(len(pairs.a) for pairs in found) == 24 * 23 // 2


def test_the_graphs_are_what_they_are_called():
    """The files were written by this; they are kept so that a join needs no package that writes graphs."""
    onnx = pytest.importorskip("onnx")
    offset = onnx.helper.make_tensor("offset", onnx.TensorProto.UINT8, [], [kernels.OFFSET])
    kinds = {
        "multiply_integers": ("MatMulInteger", [offset], ["UINT8", "INT8", "INT32"], ["d", "m"], {}),
        "multiply_floats": ("Gemm", [], ["FLOAT"] * 3, ["m", "d"], {"transB": 1}),
    }
    for name, (kind, constants, types, right, options) in kinds.items():
        shapes = zip(["left", "right", "out"], types, [["n", "d"], right, ["n", "m"]], strict=True)
        left, right, out = (
            onnx.helper.make_tensor_value_info(each, getattr(onnx.TensorProto, kind_of), shape)
            for each, kind_of, shape in shapes
        )
        inputs = ["left", "right", *(constant.name for constant in constants)]
        node = onnx.helper.make_node(kind, inputs, ["out"], **options)
        graph = onnx.helper.make_graph([node], kind, [left, right], [out], constants)
        made = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8, producer_name="semscale"
        )
        kept = (resources.files("semscale.search") / f"{name}.onnx").read_bytes()
        assert onnx.load_from_string(kept) == made


def test_without_onnx_runtime_joins_are_in_float32_by_torch(monkeypatch):
    monkeypatch.setattr(kernels, "has_onnxruntime", lambda: False)
    monkeypatch.setattr(kernels, "_run", lambda *_: pytest.fail("ONNX Runtime was called"))
    kernels.integers_are_exact.cache_clear()
    try:
        assert Products().used == "float32"
        with pytest.raises(UsageError, match="they need onnxruntime"):
            Products(precision="int8")
        rows = hostile(64, 0, "random")
        found = [pairs.similarity for pairs in pairs_above(rows, 0.1, tuning=Tuning(Products()))]
        assert np.array_equal(np.concatenate(found), reference.pairs_above(rows, 0.1)[2])
    finally:
        kernels.integers_are_exact.cache_clear()


def test_unknown_products_are_refused():
    with pytest.raises(UsageError, match="no products in float16 on cpu; choose from int8 on cpu"):
        Products("cpu", "float16")


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


@pytest.mark.parametrize("dim", [8192, 8193, 20_000])
def test_long_rows_have_the_same_bits_alone_and_among_others(dim):
    """NumPy sums rows of more than 8192 numbers in an order that depends on how many rows there are."""
    rows = np.random.default_rng(0).standard_normal((20, dim)).astype(np.float32)
    rows[1] = rows[0]
    whole = dots(rows, rows[::-1])
    assert np.array_equal([dots(rows[i : i + 1], rows[19 - i : 20 - i])[0] for i in range(20)], whole)
    side = open_side(ArrayVectors(rows))
    assert cosines(side, np.array([0]), side, np.array([1])) == 1.0
    found = list(pairs_above(rows, 0.5, tuning=Tuning(pairs=1)))
    assert sum(len(pairs.a) for pairs in found) == 1


def test_rows_whose_length_has_a_large_prime_factor_are_not_turned():
    assert quantised.suits(512) and quantised.suits(1408) and quantised.suits(1021)
    assert not quantised.suits(8191) and not quantised.suits(2 * 4093) and not quantised.suits(2**16)
    assert type(looker(Products(), 8191, columns=10**6, workers=1)) is FloatLooker


def test_few_columns_are_not_worth_turning_every_row(monkeypatch):
    monkeypatch.setattr("semscale.search.lookers.FEW", 512)
    assert type(looker(Products(), 64, columns=511, workers=1)) is FloatLooker
    if kernels.integers_are_exact():
        assert type(looker(Products(), 64, columns=512, workers=1)) is IntegerLooker


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
    assert np.allclose(side.units(range(len(side))), math.sqrt(0.5))


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_scanning_finds_every_place_and_no_other(strips, height, columns, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-5, 6, (strips, height, columns)).astype(np.float32)
    flat = values.reshape(-1, columns)
    row_floors = rng.choice([2.0, 4.0, np.inf], strips * height).astype(np.float32)
    column_floors = rng.choice([1.0, 5.0, np.inf], columns).astype(np.float32)
    floors = Floors(row_floors, column_floors)
    reached = (flat >= row_floors[:, None]) | (flat >= column_floors[None])
    there = scan.reaching(values, scan.hopeful(scan.maxima(values), floors), floors)
    tile = torch.from_numpy(values)
    for found in (there, scan_cuda.reaching(tile, scan_cuda.maxima(tile), floors)):
        order = np.lexsort((found.columns, found.rows))
        assert np.array_equal(np.stack([found.rows, found.columns])[:, order], np.nonzero(reached))
        assert np.array_equal(found.values[order], flat[reached])


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 20), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_kth_value_is_reached_by_k_places(strips, height, columns, k, seed):
    values = np.random.default_rng(seed).integers(-5, 6, (strips, height, columns)).astype(np.float32)
    flat, tile = values.reshape(-1, columns), torch.from_numpy(values)
    ordered = np.sort(flat, axis=1)
    for found in (scan.kth_of_rows(flat, k), scan_cuda.kth_of_rows(torch.from_numpy(flat), k)):
        assert (found is None) == (columns < k)
        assert found is None or np.array_equal(found, ordered[:, -k])
    for found in (
        scan.kth_of_columns(scan.maxima(values), k),
        scan_cuda.kth_of_columns(scan_cuda.maxima(tile), k),
    ):
        assert (found is None) == (strips < k)
        assert found is None or ((flat >= found).sum(axis=0) >= k).all()
