import json
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics import features, kernel_distance
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.kernel_distance import cmmd, gaussian_less_one, kid, polynomial

GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "metrics" / "golden.json"


def golden_sets():
    rng = np.random.RandomState(0)
    reference = rng.randn(400, 32)
    return reference, rng.randn(500, 32) * 1.05 + 0.1


def sample(n, d=16, seed=0, *, shift=0.3):
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def cubic(x, y):
    return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3


def gaussian(x, y):
    x, y = (np.asarray(v, np.float64) / np.sqrt(sum(float(p) ** 2 for p in v)) for v in (x, y))
    return np.exp(-sum((p - q) ** 2 for p, q in zip(x, y, strict=True)) / 200)


def discrepancy(a, b, kernel, *, biased=False):
    """MMD^2 as a loop over pairs; the biased one counts an image with itself."""

    def within(rows):
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if biased or i != j]
        return np.mean([kernel(rows[i], rows[j]) for i, j in pairs])

    return within(a) + within(b) - 2 * np.mean([kernel(x, y) for x in a for y in b])


def quietly(function, *args, **kwargs):
    """A score without the warning that its sets are small."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)
        return function(*args, **kwargs)


def test_golden_numbers():
    a, b = golden_sets()
    drawn, full = kid(a, b, subset_size=200), kid(a, b, subsets=None)
    assert drawn.value == pytest.approx(0.05344383483929, abs=1e-13)
    assert drawn.params["spread"] == pytest.approx(0.01393686595010, abs=1e-13)
    assert full.value == pytest.approx(0.05427454137398, abs=1e-13)
    assert cmmd(a, b, biased=True).value == pytest.approx(0.19954431382785, abs=1e-11)
    assert cmmd(a, b).value == pytest.approx(0.15500651978529, abs=1e-11)
    assert (drawn.metric, drawn.n, drawn.higher_is_better, drawn.interval) == ("kid", 400, False, None)
    assert full.interval.low < full.value < full.interval.high
    if GOLDEN.exists():
        golden = json.loads(GOLDEN.read_text())
        assert [drawn.value, drawn.params["spread"]] == pytest.approx(golden["kid_tf_protocol"], abs=1e-13)
        assert full.value == pytest.approx(golden["kid_full_unbiased"], abs=1e-13)
        assert cmmd(a, b, biased=True).value == pytest.approx(golden["cmmd_biased_unit"], abs=1e-11)
        assert cmmd(a, b).value == pytest.approx(golden["cmmd_unbiased_unit"], abs=1e-11)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 9), (12, 5)])
def test_equals_the_loop_over_pairs(n, m):
    a, b = sample(n, 6), sample(m, 6, seed=1, shift=-0.2)
    assert quietly(kid, a, b, subsets=None).value == pytest.approx(discrepancy(a, b, cubic), rel=1e-11)
    assert quietly(cmmd, a, b).value == pytest.approx(1000 * discrepancy(a, b, gaussian), abs=1e-10)
    biased = 1000 * discrepancy(a, b, gaussian, biased=True)
    assert quietly(cmmd, a, b, biased=True).value == pytest.approx(biased, abs=1e-10)


def test_subsets_are_drawn_in_the_order_of_torch_fidelity():
    a, b = sample(30, 4), sample(25, 4, seed=1)
    score = quietly(kid, a, b, subsets=3, subset_size=5, seed=7)
    rng = np.random.RandomState(7)
    expected = []
    for _ in range(3):
        of_a = a[rng.choice(30, 5, replace=False)]
        of_b = b[rng.choice(25, 5, replace=False)]
        expected.append(discrepancy(of_a, of_b, cubic))
    assert score.value == pytest.approx(np.mean(expected), rel=1e-12)
    assert score.params["spread"] == pytest.approx(np.std(expected), rel=1e-10)
    assert (score.params["subsets"], score.params["subset_size"], score.params["seed"]) == (3, 5, 7)
    assert score.params["ddof"] == 0
    assert quietly(kid, b, a, subsets=3, subset_size=5, seed=7).value != score.value


def test_one_subset_of_everything_is_the_full_statistic():
    a, b = sample(120), sample(120, seed=1)
    assert kid(a, b, subsets=2, subset_size=120).value == pytest.approx(kid(a, b, subsets=None).value, rel=1e-10)
    assert kid(a, b, subsets=2, subset_size=120).params["spread"] == pytest.approx(0, abs=1e-12)


def test_the_preset_is_named_only_where_it_is_kept():
    a, b = sample(1000, 2), sample(1001, 2, seed=1)
    assert kid(a, b).params["preset"] == "torch-fidelity"
    assert kid(a, b, subsets=2).params["preset"] == "subsets"
    assert kid(a, b, subsets=None).params["preset"] == "full"
    assert cmmd(a, b).params["preset"] == "unbiased"
    assert cmmd(a, b, biased=True).params["preset"] == "biased"


@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_full_statistics_are_symmetric_and_blind_to_order_and_rotation(n, m, d, seed):
    a, b = sample(n, d, seed), sample(m, d, seed + 1, shift=-0.1)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    for function in (lambda x, y: quietly(kid, x, y, subsets=None), lambda x, y: quietly(cmmd, x, y)):
        close = pytest.approx(function(a, b).value, rel=1e-9, abs=1e-9)
        assert function(b, a).value == close
        assert function(a[rng.permutation(n)], b[rng.permutation(m)]).value == close
        assert function(a @ rotation, b @ rotation).value == close


def test_length_matters_to_kid_and_not_to_cmmd():
    a, b = sample(120), sample(150, seed=1)
    lengths = np.random.default_rng(5).uniform(0.1, 10, (120, 1))
    assert cmmd(a * lengths, b).value == pytest.approx(cmmd(a, b).value, abs=1e-9)
    assert abs(kid(a * lengths, b, subsets=None).value - kid(a, b, subsets=None).value) > 1


def test_a_set_against_itself_biased_is_zero_and_unbiased_is_below():
    a = sample(150)
    assert cmmd(a, a, biased=True).value == pytest.approx(0, abs=1e-11)
    assert cmmd(a, a).value < 0
    assert kid(a, a, subsets=None).value < 0


def test_opposite_points_are_at_the_end_of_the_range():
    a = np.tile([1.0, 0.0], (120, 1))
    assert cmmd(a, -a).value == pytest.approx(2000 * -np.expm1(-4 / 200), rel=1e-12)
    assert kid(a, -a, subsets=None).value == pytest.approx(2 * (1.5**3 - 0.5**3), rel=1e-12)


def test_cmmd_is_nearly_ten_times_the_squared_difference_of_means():
    a, b = golden_sets()
    means = [(x / np.linalg.norm(x, axis=1, keepdims=True)).mean(axis=0) for x in (a, b)]
    assert cmmd(a, b, biased=True).value == pytest.approx(10 * np.square(means[0] - means[1]).sum(), rel=0.02)


def test_small_distances_keep_their_digits():
    """Kernel values of close unit rows are 1 less 1e-10: rounding them to 1 first would leave six digits."""
    d = 64
    rng = np.random.default_rng(0)
    axis, noise = np.eye(d)[0], rng.standard_normal((200, d)) * 1e-5
    noise[:, 0] = 0
    a, b = axis + noise[:100], axis + noise[100:] + 3e-5 * np.eye(d)[1]
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    expected = 10 * sum(  # the kernel is linear in squared distances here, so the biased estimate is of the means alone
        float(x) ** 2 for x in units[0].mean(axis=0) - units[1].mean(axis=0)
    )
    assert cmmd(a, b, biased=True).value == pytest.approx(expected, rel=1e-4)


def test_kernels_are_what_they_say():
    a, b = sample(5, 7), sample(4, 7, seed=1)
    np.testing.assert_allclose(polynomial(a, b), [[cubic(x, y) for y in b] for x in a], rtol=1e-12)
    np.testing.assert_allclose(gaussian_less_one(a, b) + 1, [[gaussian(x, y) for y in b] for x in a], rtol=1e-12)
    assert gaussian_less_one(a, a).max() <= 0


def test_blocks_give_what_the_whole_gives(monkeypatch):
    a, b = sample(150), sample(101, seed=1)
    whole = [kid(a, b, subsets=None), cmmd(a, b), cmmd(a, b, biased=True), kid(a, b, subsets=2, subset_size=50)]
    monkeypatch.setattr(kernel_distance, "BLOCK", 7)
    monkeypatch.setattr(features, "BLOCK", 11)
    blocked = [kid(a, b, subsets=None), cmmd(a, b), cmmd(a, b, biased=True), kid(a, b, subsets=2, subset_size=50)]
    for one, other in zip(whole, blocked, strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-10, abs=1e-11)
        if one.interval is not None:
            assert other.interval.low == pytest.approx(one.interval.low, rel=1e-8)


def test_no_matrix_of_all_pairs_is_held(monkeypatch):
    monkeypatch.setattr(kernel_distance, "BLOCK", 128)
    a, b = sample(2000, 4), sample(2100, 4, seed=1)
    tracemalloc.start()
    kid(a, b, subsets=None)
    cmmd(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 128 * 128 * 8 + 2_000_000 < 2000 * 2000 * 8 / 4


def test_interval_is_from_leaving_each_image_out():
    a, b = sample(9, 5), sample(6, 5, seed=1)

    def left_out(x, y):
        values = [discrepancy(np.delete(x, i, axis=0), y, cubic) for i in range(len(x))]
        return (len(x) - 1) / len(x) * np.square(values - np.mean(values)).sum()

    score = quietly(kid, a, b, subsets=None)
    error = np.sqrt(left_out(a, b) + left_out(b, a))
    assert score.params["standard_error"] == pytest.approx(error, rel=1e-9)
    assert score.interval.high - score.value == pytest.approx(1.959964 * error, rel=1e-6)
    assert score.value - score.interval.low == pytest.approx(1.959964 * error, rel=1e-6)
    assert quietly(kid, a[:2], b, subsets=None).interval is None


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_nominal_95_percent_intervals_hold_the_truth(shift):
    """Images are drawn from known populations, equal, close and far; the truth is the discrepancy of those."""
    rng = np.random.default_rng(17)
    population = np.maximum(sample(2000, 24, seed=2), 0)
    other = population * (1 + shift) + shift * rng.standard_normal(24)
    truths = [biased_polynomial(population, other), cmmd(population, other, biased=True).value]
    covered = np.zeros(2)
    for _ in range(200):
        a, b = population[rng.integers(0, 2000, 100)], other[rng.integers(0, 2000, 150)]
        for which, score in enumerate((kid(a, b, subsets=None), cmmd(a, b))):
            covered[which] += score.interval.low <= truths[which] <= score.interval.high
    assert (covered / 200 >= 0.91).all()
    assert shift < 0.5 or (covered / 200 <= 0.985).all()  # neither are they wide: between equal sets they are


def biased_polynomial(x, y):
    return polynomial(x, x).mean() + polynomial(y, y).mean() - 2 * polynomial(x, y).mean()


def test_unbiased_estimates_of_equal_distributions_average_zero_and_the_biased_one_does_not():
    found = [(cmmd(a, b).value, cmmd(a, b, biased=True).value) for a, b in pairs_of_equal_distributions()]
    unbiased, biased = np.array(found).T
    error = unbiased.std() / np.sqrt(len(unbiased))
    assert abs(unbiased.mean()) < 3 * error
    assert biased.mean() > 20 * error


def pairs_of_equal_distributions():
    return [(sample(100, seed=2 * i), sample(100, seed=2 * i + 1)) for i in range(100)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_invalid_rows_are_left_out_and_counted(bad):
    a, b = sample(120), sample(110, seed=1)
    spoiled = np.insert(a, [0, 60, 120], bad, axis=0)
    for function in (
        lambda x: kid(x, b, subsets=None),
        lambda x: kid(x, b, subsets=3, subset_size=50),
        lambda x: cmmd(x, b),
        lambda x: cmmd(x, b, biased=True),
    ):
        score = function(spoiled)
        assert score.value == pytest.approx(function(a).value, rel=1e-12, abs=1e-12)
        assert (score.params["n_a"], score.params["n_b"], score.params["n_invalid"]) == (120, 110, 3)


def test_a_row_of_zeros_counts_for_kid_and_has_no_direction_for_cmmd():
    a, b = sample(120), sample(110, seed=1)
    zeros = np.vstack([a, np.zeros(16)])
    assert cmmd(zeros, b).value == pytest.approx(cmmd(a, b).value, abs=1e-12)
    assert cmmd(zeros, b).params["n_invalid"] == 1
    assert kid(zeros, b, subsets=None).params["n_a"] == 121


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_any_dtype_is_computed_in_float64(dtype):
    a, b = sample(120).astype(dtype), sample(110, seed=1).astype(dtype)
    assert kid(a, b, subsets=None).value == kid(a.astype(float), b.astype(float), subsets=None).value
    assert cmmd(a, b).value == cmmd(a.astype(float), b.astype(float)).value


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images_leave_it_undefined(n):
    for first, second in ((sample(n), sample(200)), (sample(200), sample(n))):
        with pytest.warns(FewSamplesWarning, match=f"kid of {n} images of each set: below 100"):
            score = kid(first, second, subsets=None)
        assert np.isnan(score.value) and score.interval is None
        with pytest.warns(FewSamplesWarning, match=f"cmmd of {n} images"):
            assert np.isnan(cmmd(first, second).value)
        with pytest.warns(FewSamplesWarning):
            assert np.isnan(cmmd(first, second, biased=True).value) == (n == 0)


def test_wrong_arguments_are_refused():
    a, b = sample(200), sample(50)
    for wrong in ({}, {"subset_size": 51}, {"subset_size": 1}, {"subsets": 0, "subset_size": 20}):
        with pytest.raises(UsageError, match="from 200 and 50 valid images"):
            kid(a, b, **wrong)
    with pytest.raises(UsageError, match="of 16 and of 4 dimensions"):
        cmmd(a, sample(50, 4))
    with pytest.raises(UsageError, match=r"expected a \(N, D\) array"):
        kid(a[0], b)
