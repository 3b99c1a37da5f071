import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from semscale.errors import UsageError
from semscale.metrics import features, means
from semscale.metrics.consistency import scs
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.diversity import mean_distance, mode_count, modes, vendi, vendi_kernel

GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "metrics" / "golden.json"
ORDERS = (0, 0.1, 0.5, 1, 1.5, 2, 3, 50, math.inf)


def normal(n, d=16, *, seed=0, shift=0.0):
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def spoiled(x):
    return np.insert(np.insert(x, 1, 0.0, axis=0), 3, np.nan, axis=0)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(features, "BLOCK", 7)
    monkeypatch.setattr(means, "BLOCK", 7)


def by_definition(x, q):
    """The Vendi score from all n eigenvalues of K / n, with the limits of the entropy written out."""
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    p = np.linalg.eigvalsh(units @ units.T / len(x))
    p = p[p > 1e-12]
    if q == 0:
        return len(p)
    if q == 1:
        return math.exp(-sum(p * np.log(p)))
    if q == math.inf:
        return 1 / p.max()
    return sum(p**q) ** (1 / (1 - q))


def test_golden_numbers_of_the_kernels_of_the_readme():
    samples = np.array([0, 0, 10, 10, 20, 20])
    kernel = np.exp(-np.abs(samples[:, None] - samples[None]))
    assert vendi_kernel(kernel).value == pytest.approx(2.999999996, abs=1e-8)
    three = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    assert vendi_kernel(three).value == pytest.approx(2.157300483, abs=1e-9)


def test_golden_numbers_of_rows():
    if not GOLDEN.exists():
        pytest.skip("the golden numbers are not beside this checkout")
    golden = json.loads(GOLDEN.read_text())
    rows = np.random.RandomState(0).randn(400, 32)[:200]
    assert vendi(rows).value == pytest.approx(golden["vendi_R200_q1"], rel=1e-12)
    assert vendi(rows, q=2).value == pytest.approx(golden["vendi_R200_q2"], rel=1e-12)


@pytest.mark.parametrize("q", ORDERS)
@pytest.mark.parametrize(("n", "d"), [(9, 30), (30, 9), (12, 12)])
def test_vendi_equals_the_definition_whichever_problem_is_smaller(n, d, q):
    x = normal(n, d, seed=n, shift=0.3)
    assert vendi(x, q=q).value == pytest.approx(by_definition(x, q), rel=1e-9)


@pytest.mark.parametrize("q", ORDERS)
def test_vendi_at_its_ends(q):
    assert vendi(np.ones((6, 4)), q=q).value == pytest.approx(1.0, abs=1e-9)
    assert vendi(np.tile(normal(1, 300), (40, 1)), q=q).value == pytest.approx(1.0, abs=1e-9)
    assert vendi(np.eye(5), q=q).value == pytest.approx(5.0, rel=1e-12)
    assert vendi(np.eye(5), q=q).value <= 5.0


@given(st.lists(st.sampled_from(ORDERS), min_size=2, max_size=2, unique=True), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_vendi_falls_as_its_order_rises(orders, seed):
    x = normal(10, 6, seed=seed)
    low, high = sorted(orders)
    assert vendi(x, q=low).value >= vendi(x, q=high).value - 1e-9
    assert 1 - 1e-9 <= vendi(x, q=high).value <= 10


def test_vendi_is_a_float_and_its_order_zero_the_rank_itself():
    assert vendi(normal(40, 8), q=0).value == 8.0
    for q in ORDERS:
        assert type(vendi(normal(3, 3)[[0, 0, 0]], q=q).value) is float
        assert type(vendi(np.eye(5), q=q).value) is float


def test_vendi_has_no_jump_at_order_one():
    x = normal(20, 8)
    for step in (1e-4, 1e-5, 1e-7, 1e-15):
        for q in (1 - step, 1 + step):
            assert vendi(x, q=q).value == pytest.approx(vendi(x).value, rel=3 * step + 1e-9)


def test_vendi_of_a_very_large_order_is_nearly_that_of_infinity():
    x = normal(20, 8)
    assert vendi(x, q=5000).value == pytest.approx(vendi(x, q=math.inf).value, rel=1e-3)


@pytest.mark.parametrize("q", [0, 1, 2])
def test_vendi_does_not_care_for_order_length_or_repeating_all(q):
    x = normal(11, 5)
    expected = vendi(x, q=q).value
    assert vendi(x[::-1], q=q).value == pytest.approx(expected, rel=1e-10)
    assert vendi(x * np.arange(1, 12)[:, None], q=q).value == pytest.approx(expected, rel=1e-10)
    assert vendi(np.repeat(x, 3, axis=0), q=q).value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("d", [5, 60])
def test_vendi_in_blocks_and_without_invalid_rows(small_blocks, q, d):
    x = normal(40, d)
    assert vendi(spoiled(x), q=q).value == pytest.approx(by_definition(x, q), rel=1e-10)
    assert vendi(spoiled(x)).params["n_invalid"] == 2
    assert vendi(spoiled(x)).n == 40


def test_vendi_of_a_kernel_is_that_of_its_rows():
    x = normal(9, 4)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    kernel = units @ units.T
    np.fill_diagonal(kernel, 1.0)
    for q in (0.5, 1, 2, math.inf):
        assert vendi_kernel(kernel, q=q).value == pytest.approx(vendi(x, q=q).value, rel=1e-9)
    assert vendi_kernel(kernel).params["kernel"] == "given"
    assert vendi(x).params["preset"] == "vendi"
    assert vendi(x, q=2).params["preset"] != "vendi"


def test_one_image_and_none():
    with pytest.warns(FewSamplesWarning, match="vendi of 1"):
        assert vendi(np.ones((1, 3))).value == pytest.approx(1.0)
    with pytest.warns(FewSamplesWarning, match="vendi of 0"):
        assert np.isnan(vendi(np.zeros((4, 3))).value)
    with pytest.warns(FewSamplesWarning, match="mode-count of 1"):
        assert mode_count(np.ones((1, 3)), 0.5).value == 1
    with pytest.warns(FewSamplesWarning, match="mode-count of 0"):
        assert np.isnan(mode_count(np.zeros((2, 3)), 0.5).value)
    with pytest.warns(FewSamplesWarning, match="mean-distance of 1"):
        assert np.isnan(mean_distance(np.ones((1, 3))).value)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (np.ones((2, 3)), "square"),
        (np.array([[1, 0.5], [0.2, 1]]), "symmetric"),
        (np.array([[1, np.nan], [np.nan, 1]]), "finite"),
        (np.array([[2, 0.5], [0.5, 2]]), "must be 1"),
        (np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]]), "eigenvalue of -0.8"),
    ],
)
@pytest.mark.parametrize("q", [1, 2])
def test_what_is_no_kernel_is_refused(kernel, said, q):
    with pytest.raises(UsageError, match=said):
        vendi_kernel(kernel, q=q)


@pytest.mark.parametrize("q", [-1, math.nan])
def test_an_order_below_zero_is_refused(q):
    with pytest.raises(UsageError, match="order q"):
        vendi(normal(4), q=q)


def on_circle(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_modes_are_chains_of_near_images():
    x = on_circle(0, 100, 10, 200, 20, 105)
    assert modes(x, math.cos(math.radians(11))).tolist() == [0, 1, 0, 2, 0, 1]  # 0 and 20 are joined by 10
    assert mode_count(x, math.cos(math.radians(11))).value == 3
    assert mode_count(x, math.cos(math.radians(6))).value == 5
    assert mode_count(x, math.cos(math.radians(4))).value == 6
    assert mode_count(x, -1.0).value == 1


def test_a_threshold_of_minus_one_joins_everything():
    """The cosine of opposite rows may come out below -1."""
    for row in normal(50, 7):
        assert mode_count(np.stack([row, -row]), -1.0).value == 1


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.2, 0.5, 0.8])
def test_modes_equal_single_linkage_of_scipy(small_blocks, threshold):
    x = normal(60, 4)
    expected = fcluster(linkage(x, "single", metric="cosine"), 1 - threshold, criterion="distance")
    assert mode_count(x, threshold).value == expected.max()
    found = modes(x, threshold)
    assert ((found[:, None] == found[None]) == (expected[:, None] == expected[None])).all()
    assert (np.diff(np.unique(found, return_index=True)[1]) > 0).all()  # numbered by first member


@given(st.integers(0, 50), st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=40, deadline=None)
def test_raising_the_threshold_never_lowers_the_count(seed, one, other):
    x = normal(15, 3, seed=seed)
    low, high = sorted((one, other))
    assert mode_count(x, low).value <= mode_count(x, high).value
    assert mode_count(x[::-1], low).value == mode_count(x, low).value


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equal_images_are_one_mode_at_a_threshold_of_one(dtype):
    x = np.repeat(normal(6, 37).astype(dtype), 3, axis=0)
    assert modes(x * dtype(3), 1.0).tolist() == np.repeat(np.arange(6), 3).tolist()


def test_invalid_rows_are_in_no_mode():
    x = on_circle(0, 90, 0)
    assert modes(spoiled(x), 0.9).tolist() == [0, -1, 1, -1, 0]
    assert mode_count(spoiled(x), 0.9).params == {"threshold": 0.9, "linkage": "single", "n_invalid": 2}
    with pytest.raises(UsageError, match=r"a threshold of 1\.5"):
        mode_count(x, 1.5)


def brute_distance(x):
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.mean([1 - units[i] @ units[j] for i in range(len(x)) for j in range(i)])


@pytest.mark.parametrize("n", [2, 3, 20])
def test_mean_distance_is_that_over_pairs(n):
    x = normal(n, seed=n)
    assert mean_distance(x).value == pytest.approx(brute_distance(x), abs=1e-12)


def test_mean_distance_in_blocks_and_without_invalid_rows(small_blocks):
    x = normal(40)
    score = mean_distance(spoiled(x))
    assert score.value == pytest.approx(brute_distance(x), abs=1e-12)
    assert (score.n, score.params["n_invalid"]) == (40, 2)


def test_mean_distance_at_its_ends():
    assert mean_distance(np.ones((5, 3))).value == 0.0
    assert mean_distance(np.eye(4)).value == pytest.approx(1.0)
    assert mean_distance(on_circle(0, 180)).value == pytest.approx(2.0)
    assert mean_distance(on_circle(0, 180)).interval is None
    x = normal(12, shift=2.0)
    assert mean_distance(x).value == pytest.approx(1 - scs(x) / 100, abs=1e-12)


def test_mean_distance_keeps_its_digits_where_all_are_nearly_alike():
    x = np.zeros((3, 4))
    x[:, 0] = 1
    x[:, 1] = (0.0, 1e-7, 2e-7)
    expected = (1 + 4 + 1) * 1e-14 / 2 / 3  # 1 - cos is half the squared angle
    assert mean_distance(x).value == pytest.approx(expected, rel=1e-6)


def test_interval_of_the_mean_distance_is_the_jackknife():
    x = normal(9, shift=0.3)
    left_out = np.array([brute_distance(np.delete(x, i, axis=0)) for i in range(9)])
    error = math.sqrt(8 / 9 * np.square(left_out - left_out.mean()).sum())
    interval = mean_distance(x).interval
    assert (interval.high - interval.low) / 2 == pytest.approx(2.306004135 * error, rel=1e-6)  # t, 8 degrees, 97.5 %


def test_diversity_and_consistency_point_opposite_ways():
    alike, apart = normal(20, shift=3.0), normal(20)
    assert vendi(alike).value < vendi(apart).value
    assert mean_distance(alike).value < mean_distance(apart).value
    assert mode_count(alike, 0.6).value < mode_count(apart, 0.6).value
