import json
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics import features as feature_rows
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.frechet import fid, fid_infinity, frechet, frechet_distance
from semscale.metrics.moments import Moments, moments

GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "metrics" / "golden.json"


def golden_sets():
    rng = np.random.RandomState(0)
    reference = rng.randn(400, 32)
    return reference, rng.randn(500, 32) * 1.05 + 0.1


def sample(n, d, seed=0, *, scale=1.0, shift=0.0):
    """Correlated features of unequal spread."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((d, d)) * np.linspace(0.1, 2.0, d)
    return scale * (rng.standard_normal((n, d)) @ mixing) + shift


def by_eigenvalues(a, b):
    """The definition, with the trace of the root as the sum of roots of the eigenvalues of S_a S_b."""
    first, second = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    roots = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    return np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + np.trace(first) + np.trace(second) - 2 * roots


def distance(a, b):
    return frechet_distance(moments(a), moments(b))


def test_golden_number():
    a, b = golden_sets()
    score = fid(a, b)
    assert score.value == pytest.approx(1.9602256957, abs=1e-9)
    assert (score.metric, score.n, score.interval, score.higher_is_better) == ("fid", 400, None, False)
    assert score.params == {"n_a": 400, "n_b": 500, "n_invalid": 0, "dim": 32, "ddof": 1}
    if GOLDEN.exists():
        assert score.value == pytest.approx(json.loads(GOLDEN.read_text())["fid"], abs=1e-11)


def test_unit_gaussians_one_apart_in_each_of_2048_dimensions_are_exactly_2048_apart():
    identity = np.eye(2048)
    centre = Moments.given(np.zeros(2048), identity, 3)
    assert frechet_distance(centre, Moments.given(np.ones(2048), identity, 5000)) == 2048.0


def test_a_set_is_at_no_distance_from_itself():
    for rows in (sample(500, 64), sample(40, 64), np.tile(sample(5, 8), (30, 1))):
        size = rows.var(axis=0, ddof=1).sum()
        assert 0 <= distance(rows, rows) <= 1e-12 * size


def by_singular_values(a, b):
    """The same with the trace of the root as the nuclear norm of the product of the centred rows: exact at any rank."""
    first, second = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b))
    roots = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + (first**2).sum() + (second**2).sum() - 2 * roots


@pytest.mark.parametrize(("n", "m"), [(500, 700), (65, 700), (64, 64), (63, 700), (700, 40), (30, 20)])
def test_equals_the_definition_whichever_way_the_trace_is_found(n, m):
    a, b = sample(n, 64), sample(m, 64, seed=1, scale=1.3, shift=0.2)
    tolerance = 1e-8 if min(n, m) > 64 else 1e-4  # the roots of rounded eigenvalues
    assert distance(a, b) == pytest.approx(by_eigenvalues(a, b), rel=tolerance)
    assert distance(a, b) == pytest.approx(by_singular_values(a, b), rel=1e-12 if n != 64 else 1e-9)


@pytest.mark.parametrize("n", [2, 3, 50, 128, 129, 400])
@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0])
def test_scaling_a_set_moves_it_by_the_closed_form_at_any_rank(n, scale):
    a = sample(n, 128, shift=0.3)
    size = np.square(a.mean(axis=0)).sum() + a.var(axis=0, ddof=1).sum()
    assert distance(a, scale * a) == pytest.approx((1 - scale) ** 2 * size, rel=1e-10, abs=1e-10 * size)


def test_directions_without_spread_cost_nothing_in_a_full_set():
    """Rank 20 of 128 with 600 rows: the root of a rounded eigenvalue would leave 1e-8 for each of the other 108."""
    a = sample(600, 20) @ sample(20, 128, seed=5)
    exact = 0.25 * (np.square(a.mean(axis=0)).sum() + a.var(axis=0, ddof=1).sum())
    assert distance(a, 1.5 * a) == pytest.approx(exact, rel=1e-11)
    assert distance(a, a) <= 1e-11 * exact


def test_features_that_one_set_or_the_other_never_uses_cost_little():
    """The product of the two is not of full rank: where it has nothing, roots of rounded eigenvalues are found."""
    a, b = sample(400, 64), sample(400, 64, seed=1)
    a[:, :32], b[:, 16:48] = 0.0, 0.0
    size = a.var(axis=0, ddof=1).sum() + b.var(axis=0, ddof=1).sum()
    assert distance(a, b) == pytest.approx(by_singular_values(a, b), abs=1e-8 * size)


def test_diagonal_gaussians_have_a_closed_form():
    spread = np.geomspace(1e-3, 10.0, 40)
    a = Moments.given(np.zeros(40), np.diag(spread), 100)
    b = Moments.given(np.linspace(0, 1, 40), np.diag(spread[::-1]), 100)
    expected = np.square(np.linspace(0, 1, 40)).sum() + np.square(np.sqrt(spread) - np.sqrt(spread[::-1])).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_one_dimension():
    a, b = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [11.0]])
    assert distance(a, b) == pytest.approx((2 - 10.5) ** 2 + (2 - np.sqrt(0.5)) ** 2)


def test_sets_without_spread():
    assert distance(np.ones((50, 4)), np.zeros((50, 4))) == 4.0
    assert distance(np.ones((3, 8)), np.zeros((50, 8))) == 8.0
    assert distance(sample(50, 4), np.zeros((50, 4))) == pytest.approx(
        np.square(sample(50, 4)).sum(axis=1).mean(), rel=0.1
    )


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_rows_leave_it_undefined(n):
    with pytest.warns(FewSamplesWarning, match=f"of {n} images of each set: below 5 it says little"):
        assert np.isnan(fid(sample(n, 4), sample(50, 4)).value)
    with pytest.warns(FewSamplesWarning):
        assert np.isnan(fid(sample(50, 4), sample(n, 4)).value)


def test_warns_up_to_as_many_images_as_dimensions_under_the_name_given():
    with pytest.warns(FewSamplesWarning, match="fd-dinov2 of 8 images of each set: below 9"):
        frechet(sample(8, 8), sample(50, 8), name="fd-dinov2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frechet(sample(9, 8), sample(50, 8), name="fd-dinov2").metric == "fd-dinov2"


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_symmetric_never_negative_and_blind_to_order_rotation_and_shift(n, m, d, seed):
    a, b = sample(n, d, seed), sample(m, d, seed + 1, scale=0.7, shift=0.4)
    rng = np.random.default_rng(seed)
    found = distance(a, b)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    close = pytest.approx(found, rel=1e-6, abs=1e-6)  # a rank that is nearly full turns on the last bits
    assert found >= 0
    assert distance(b, a) == close
    assert distance(a[rng.permutation(n)], b) == close
    assert distance(a @ rotation, b @ rotation) == close
    assert distance(a + 5.0, b + 5.0) == close
    assert distance(a, a[rng.permutation(n)]) <= 1e-6


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_dtype_is_computed_in_float64(dtype):
    a, b = sample(100, 8).astype(dtype), sample(100, 8, seed=1).astype(dtype)
    assert fid(a, b).value == pytest.approx(by_eigenvalues(a.astype(float), b.astype(float)), rel=1e-10)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_invalid_rows_are_left_out_and_counted(bad):
    a, b = sample(100, 8), sample(90, 8, seed=1)
    spoiled = np.insert(a, [0, 50, 100], bad, axis=0)
    spoiled[0, 1:] = 0.0
    score = fid(spoiled, b)
    assert score.value == pytest.approx(fid(a, b).value, rel=1e-12)
    assert (score.params["n_a"], score.params["n_b"], score.params["n_invalid"]) == (100, 90, 3)


@pytest.mark.parametrize("wrong", [np.ones(4), np.ones((2, 2, 2)), np.ones((2, 0)), np.ones((2, 2), complex)])
def test_what_is_no_matrix_of_numbers_is_refused(wrong):
    with pytest.raises(UsageError, match=r"expected a \(N, D\) array"):
        fid(wrong, sample(50, 4))


def test_features_of_two_encoders_are_refused():
    with pytest.raises(UsageError, match="of 4 and of 5 dimensions"):
        fid(sample(50, 4), sample(50, 5))
    with pytest.raises(UsageError, match="of 4 and of 5 dimensions"):
        moments(sample(50, 4)).merge(moments(sample(50, 5)))


def test_moments_are_the_mean_and_the_unbiased_covariance():
    rows = sample(300, 6, shift=4.0)
    found = moments(rows)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(rows, rowvar=False), rtol=1e-11)
    assert found.n == 300 and found.rows is None
    assert np.isnan(moments(rows[:1]).covariance).all()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 12), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_merging_parts_gives_the_whole_in_any_order(parts, d, seed):
    rows = sample(sum(parts), d, seed, shift=3.0)
    pieces = [moments(piece) for piece in np.split(rows, np.cumsum(parts)[:-1])]
    forwards, backwards = pieces[0], pieces[-1]
    for piece in pieces[1:]:
        forwards = forwards.merge(piece)
    for piece in pieces[-2::-1]:
        backwards = backwards.merge(piece)
    whole = moments(rows)
    for merged in (forwards, backwards):
        assert merged.n == whole.n
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-10, atol=1e-10)
        assert (merged.rows is None) == (whole.rows is None)
        if whole.n >= 2:
            assert frechet_distance(merged, whole) <= 1e-6


def test_a_mean_far_above_the_spread_loses_nothing():
    """Sums of squares would: here even float64 keeps four digits of 1e-4 beside 1e8."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5000, 3)) * 0.01
    np.testing.assert_allclose(moments(rows + 2.0**13).covariance, np.cov(rows, rowvar=False), rtol=1e-8, atol=1e-12)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    rows, other = sample(200, 16), sample(50, 16, seed=1)
    whole, swept = moments(rows), fid_infinity(other, rows, start=40)
    monkeypatch.setattr(feature_rows, "BLOCK", 7)
    blocked = moments(rows)
    np.testing.assert_allclose(blocked.scatter, whole.scatter, rtol=1e-12, atol=1e-12)
    assert blocked.rows is None
    assert fid_infinity(other, rows, start=40).value == pytest.approx(swept.value, rel=1e-9)


def test_a_mapped_file_is_never_in_memory_whole(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (40_000, 32))
    mapped[:] = sample(40_000, 32)
    tracemalloc.start()
    found = moments(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n == 40_000
    assert peak < 5 * feature_rows.BLOCK * 32 * 8 < 40_000 * 32 * 4 / 1.5


def test_statistics_of_other_programs_can_be_compared_with():
    a, b = golden_sets()
    saved = Moments.given(a.mean(axis=0), np.cov(a, rowvar=False), 400)
    assert fid(saved, b).value == pytest.approx(fid(a, b).value, rel=1e-11)
    for mean, covariance, n in [
        (np.zeros(3), np.eye(4), 9),
        (np.zeros(3), np.eye(3), 1),
        (np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), 9),
        (np.array([0.0, np.nan]), np.eye(2), 9),
    ]:
        with pytest.raises(UsageError, match="moments"):
            Moments.given(mean, covariance, n)


def test_infinity_is_the_intercept_of_its_own_sweep():
    a, b = golden_sets()
    score = fid_infinity(a, b, start=100, seed=3)
    sizes, values = np.array(score.params["sweep"]).T
    slope, intercept = np.polyfit(1 / sizes, values, 1)
    assert score.value == pytest.approx(intercept, rel=1e-9)
    assert score.params["slope"] == pytest.approx(slope, rel=1e-9)
    assert len(sizes) == 15 and (sizes[0], sizes[-1]) == (100, 500)
    assert values[-1] == pytest.approx(fid(a, b).value, rel=1e-11)
    assert (score.metric, score.n, score.interval) == ("fid-infinity", 500, None)
    assert json.loads(json.dumps(dict(score.params)))["seed"] == 3


def test_infinity_removes_the_bias_of_a_small_generated_set():
    """Drawn from the reference's own distribution, whose moments are known: the truth is 0."""
    d = 8
    truth = Moments.given(np.zeros(d), np.eye(d), 10**9)
    plain, infinite = [], []
    for seed in range(40):
        rows = np.random.default_rng(seed).standard_normal((400, d))
        plain.append(fid(truth, rows).value)
        infinite.append(fid_infinity(truth, rows, start=60, points=6, seed=seed).value)
    assert np.mean(plain) > 0.03
    assert abs(np.mean(infinite)) < 0.15 * np.mean(plain)


def test_infinity_is_seeded_directed_and_free_of_order():
    a, b = golden_sets()
    once = fid_infinity(a, b, start=100)
    assert fid_infinity(a, b, start=100).params == once.params
    assert fid_infinity(moments(a), b, start=100).value == once.value
    assert fid_infinity(a, b, start=100, seed=1).value != once.value
    assert abs(fid_infinity(b, a, start=100).value - once.value) > 1e-3


def test_infinity_warns_where_the_line_is_none_and_refuses_one_point():
    a, b = golden_sets()
    with pytest.warns(FewSamplesWarning, match="fid-infinity of 32 images in the smallest draw: below 33"):
        fid_infinity(a, b, start=32)
    for wrong in ({"points": 1}, {"start": 500}, {"start": 1}):
        with pytest.raises(UsageError, match="two that differ"):
            fid_infinity(a, b, **wrong)
    spoiled = np.vstack([b, np.full((5, 32), np.nan)])
    assert fid_infinity(a, spoiled, start=100).params == fid_infinity(a, b, start=100).params | {"n_invalid": 5}
