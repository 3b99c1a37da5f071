"""Tests of a difference, against scipy and against the published p-values of the consistency study."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semscale.errors import UsageError
from semscale.stats import (
    kolmogorov_smirnov,
    normality,
    paired_permutation,
    wilcoxon,
    wilcoxon_from_statistic,
)
from semscale.stats.ranks import rank_sum_chances

coarse = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=60)  # ties and zeros abound


def every_pattern(values, statistic):
    """The statistic under all 2**n sign patterns."""
    n = len(values)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return np.array([statistic(row) for row in signs * values])


# signed ranks


def test_published_statistics_give_the_published_p_values():
    large, small = wilcoxon_from_statistic(110, 100), wilcoxon_from_statistic(95, 50)
    assert large.p == large.p_normal == pytest.approx(1.0104e-16, rel=1e-4)
    assert large.p_exact == pytest.approx(1.96e-23, rel=2e-3)
    assert large.method.startswith("normal approximation without continuity correction")
    assert small.p == small.p_exact == pytest.approx(5.8022e-09, rel=1e-4)
    assert small.p_normal == pytest.approx(1.63e-07, rel=2e-3)
    assert small.method == "exact"


def test_either_rank_sum_gives_the_same_p():
    assert wilcoxon_from_statistic(95, 50).p_exact == wilcoxon_from_statistic(50 * 51 / 2 - 95, 50).p_exact
    assert wilcoxon_from_statistic(110, 100).p_normal == wilcoxon_from_statistic(5050 - 110, 100).p_normal


@pytest.mark.parametrize(("w", "n"), [(-1, 10), (56, 10), (0, 0), (float("nan"), 10), (3, 2.5)])
def test_impossible_rank_sums_are_refused(w, n):
    with pytest.raises(UsageError, match=f"n={n}"):
        wilcoxon_from_statistic(w, n)


def test_beyond_five_hundred_differences_only_the_approximation_is_given():
    assert np.isnan(wilcoxon_from_statistic(501 * 100, 501).p_exact)
    assert 0 < wilcoxon_from_statistic(500 * 100, 500).p_exact < 1


@pytest.mark.parametrize("n", [1, 2, 5, 14, 50, 51, 200])
def test_untied_differences_agree_with_scipy(n):
    values = np.random.default_rng(n).standard_normal(n) + 0.2
    found, oracle = wilcoxon(values), stats.wilcoxon(values)
    assert (found.statistic, found.p) == (oracle.statistic, pytest.approx(oracle.pvalue, rel=1e-10))
    assert found.method == ("exact" if n <= 50 else "normal approximation without continuity correction")
    assert (found.n, found.n_zeros, found.n_tied) == (n, 0, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-6, 6).map(float), min_size=14, max_size=80), st.sampled_from(["wilcox", "pratt"]))
def test_ties_and_zeros_agree_with_scipy(values, zero_method):
    values = np.array(values)
    found = wilcoxon(values, zero_method=zero_method)
    sizes = np.abs(values[values != 0])
    assert (found.n, found.n_zeros) == (len(sizes), len(values) - len(sizes))
    assert found.n_tied == sum((sizes == size).sum() > 1 for size in sizes)
    if found.n > 13:  # see test_among_many_zeros_few_differences_are_counted_exactly
        oracle = stats.wilcoxon(values, zero_method=zero_method)
        assert (found.statistic, found.p) == (oracle.statistic, pytest.approx(oracle.pvalue, rel=1e-9))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=9), st.sampled_from(["wilcox", "pratt"]))
def test_few_ties_and_zeros_are_counted_exactly(values, zero_method):
    values = np.array(values)
    found = wilcoxon(values, zero_method=zero_method)
    ranked = values if zero_method == "pratt" else values[values != 0]
    ranks = stats.rankdata(np.abs(ranked))
    if found.n == 0:
        assert np.isnan(found.p) and found.reason == "all differences are 0"
        return
    observed, sums = ranks[ranked > 0].sum(), every_pattern(ranked, lambda row: ranks[row > 0].sum())
    assert found.p == pytest.approx(min(1, 2 * min((sums <= observed).mean(), (sums >= observed).mean())))
    assert found.method.startswith("exact")


def test_few_ties_and_zeros_agree_with_scipy():
    values = np.array([0.0, 1, 1, -1, 2, 3, 0, 4, 4])
    for zero_method in ("wilcox", "pratt"):
        assert wilcoxon(values, zero_method=zero_method).p == stats.wilcoxon(values, zero_method=zero_method).pvalue


def test_among_many_zeros_few_differences_are_counted_exactly():
    values = np.array([0.0] * 15 + [1, 1, 2, 3, 4])
    found = wilcoxon(values)
    assert found.method == "exact; 2 tied, at mean ranks; 15 zeros dropped (Wilcoxon)"
    assert found.p == pytest.approx(2 / 2**5)
    assert stats.wilcoxon(values).pvalue < 0.05  # the approximation, with five differences


def test_zeros_dropped_before_or_after_ranking_differ():
    values = np.array([0.0, 0.0, 0.0, -1.0, 2.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0])
    wilcox, pratt = wilcoxon(values), wilcoxon(values, zero_method="pratt")
    assert wilcox.statistic == 1 + 5 and pratt.statistic == 4 + 8
    assert "dropped (Wilcoxon)" in wilcox.method and "ranked, then dropped (Pratt)" in pratt.method
    with pytest.raises(UsageError, match=r"'zsplit'.*choose from"):
        wilcoxon(values, zero_method="zsplit")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=9))
def test_chances_of_rank_sums_are_those_of_all_sign_patterns(doubled):
    ranks = np.array(doubled) / 2
    sums = every_pattern(ranks, lambda row: row[row > 0].sum() * 2)
    expected = np.bincount(sums.astype(int), minlength=sum(doubled) + 1) / 2 ** len(ranks)
    assert rank_sum_chances(ranks) == pytest.approx(expected, abs=1e-15)


# sign flips


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3).map(lambda value: value / 10), min_size=1, max_size=9))
def test_few_sign_flips_are_all_counted(values):
    found = paired_permutation(np.array(values), seed=5)
    means = every_pattern(np.array(values), np.mean)
    assert found.p == pytest.approx((np.abs(means) >= abs(np.mean(values)) - 1e-12).mean())
    assert "exact" in found.method and found.seed is None
    assert found.resamples == 2 ** np.count_nonzero(values)


def test_sign_flips_agree_with_scipy():
    values = np.random.default_rng(1).standard_normal(12) + 0.5
    oracle = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert paired_permutation(values).p == pytest.approx(oracle.pvalue)


def test_random_sign_flips_estimate_the_exact_p_and_are_repeatable():
    values = np.round(np.random.default_rng(2).standard_normal(17) + 0.45, 1) + 0.05
    exact = (np.abs(every_pattern(values, np.sum)) >= abs(values.sum()) - 1e-9).mean()
    found = paired_permutation(values, seed=3)
    assert abs(found.p - exact) < 4 * np.sqrt(exact * (1 - exact) / found.resamples)
    assert "Monte Carlo with 9999" in found.method and (found.resamples, found.seed) == (9999, 3)
    assert paired_permutation(values, seed=3) == found
    assert paired_permutation(values[::-1], seed=3).p == found.p == paired_permutation(-values, seed=3).p
    assert paired_permutation(values, seed=4).p != found.p


def test_a_random_p_is_never_zero():
    assert paired_permutation(np.full(40, 2.0)).p == 1 / 10_000
    assert paired_permutation(np.zeros(40)).p == 1.0


def test_p_values_are_uniform_without_a_difference():
    rng = np.random.default_rng(6)
    for test in (lambda values: paired_permutation(values, seed=int(rng.integers(2**31))), wilcoxon):
        p = np.array([test(rng.standard_t(3, 20)).p for _ in range(300)])
        assert stats.kstest(p, "uniform").pvalue > 0.001
        assert (p <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


# two samples


@pytest.mark.parametrize(("n", "d", "expected"), [(100, 48, 8.4484e-11), (50, 19, 0.0013148)])
def test_published_gaps_give_the_published_p_values(n, d, expected):
    found = kolmogorov_smirnov(np.arange(n), np.arange(n) + d - 0.5)
    assert found.statistic == pytest.approx(d / n)
    assert found.p == pytest.approx(expected, rel=1e-4)
    assert (found.method, found.n, found.n_b) == ("exact", n, n)


@settings(max_examples=60, deadline=None)
@given(coarse, coarse)
def test_two_samples_agree_with_scipy(a, b):
    found = kolmogorov_smirnov(np.array(a), np.array(b))
    assert found.n_tied == sum((a + b).count(value) > 1 for value in a + b)
    assert ("upper bound" in found.method) == (found.n_tied > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # see the next test
        oracle = stats.ks_2samp(a, b, method="exact")
    assert found.statistic == pytest.approx(oracle.statistic, rel=1e-15)
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-10, abs=0 if oracle.pvalue < 0.9 else 0.01)


def test_small_gaps_have_a_p_of_1_where_scipy_gives_up():
    """Every two samples of n have a gap of 1/n somewhere. For some n, scipy rounds this p past 1 and warns."""
    with pytest.warns(RuntimeWarning, match="unsuccessful"):
        stats.ks_2samp(np.arange(30), np.arange(30) + 0.5, method="exact")
    for n in range(1, 60):
        found = kolmogorov_smirnov(np.arange(n), np.arange(n) + 0.5)
        assert (found.statistic, found.method) == (1 / n, "exact") and 1 - 1e-12 < found.p <= 1
    assert kolmogorov_smirnov(np.arange(1e6), np.arange(1e6) + 5e5).p == 0  # below what a float can hold


def test_large_samples_are_compared_asymptotically_and_say_so():
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal(10_001), rng.standard_normal(4_000) + 0.05
    found = kolmogorov_smirnov(a, b)
    assert found.method == "asymptotic"
    assert found.p == stats.ks_2samp(a, b, method="asymp").pvalue


def test_where_the_exact_computation_fails_the_asymptotic_one_is_named(monkeypatch):
    whole = stats.ks_2samp

    def failing(a, b, *, method):
        if method == "exact":
            warnings.warn("Exact calculation unsuccessful", RuntimeWarning, stacklevel=2)
        return whole(a, b, method="asymp")

    monkeypatch.setattr(stats, "ks_2samp", failing)
    assert kolmogorov_smirnov([1.0, 2.0], [3.0]).method == "asymptotic"


# normality


@pytest.mark.parametrize("n", [3, 20, 5000])
def test_shapiro_agrees_with_scipy_and_ignores_location_and_scale(n):
    values = np.random.default_rng(n).standard_normal(n)
    found = normality(88.9 + 7.1 * values)
    assert found.name == "Shapiro-Wilk"
    assert found.p == pytest.approx(stats.shapiro(values).pvalue, rel=1e-6)


def test_normal_scores_far_from_0_are_not_rejected():
    """The published analysis tested against N(0, 1), for which any scores around 89 give D = 1 and p = 0."""
    scores = np.random.default_rng(8).normal(88.9, 7.1, 100)
    assert stats.kstest(scores, "norm").pvalue == 0
    assert normality(scores).p > 0.05
    assert normality(np.exp(scores / 5)).p < 1e-6


def test_more_values_than_shapiro_allows_are_tested_otherwise():
    rng = np.random.default_rng(9)
    found = normality(50 + 3 * rng.standard_normal(5001))
    assert "K2" in found.name and found.p > 0.01
    assert normality(rng.uniform(size=5001)).p < 1e-9
    rejected = [normality(rng.standard_normal(5001)).p <= 0.05 for _ in range(300)]
    assert abs(np.mean(rejected) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e99])
def test_scale_alone_never_changes_whether_values_are_normal(scale):
    values = np.random.default_rng(10).standard_normal(30)
    assert normality(values * scale).p == pytest.approx(normality(values).p, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "reason"), [([], "there are 0"), ([1.0, 2.0], "there are 2"), ([4.0] * 9, "all values are equal")]
)
def test_what_cannot_be_tested_for_normality_says_why(values, reason):
    found = normality(np.array(values))
    assert np.isnan(found.p) and reason in found.reason and found.method == "none"


# what is no sample


@pytest.mark.parametrize(
    "test", [wilcoxon, paired_permutation, normality, lambda values: kolmogorov_smirnov([1], values)]
)
def test_nan_and_infinities_are_refused_with_their_count(test):
    with pytest.raises(UsageError, match="1 of 3 values are NaN"):
        test([1.0, float("nan"), 2.0])
    with pytest.raises(UsageError, match=r"2 of 3 values are infinite .* at position 0"):
        test([float("inf"), 1.0, float("-inf")])


@pytest.mark.parametrize("seed", [-1, 1.5, None, "a"])
def test_a_seed_is_a_whole_number_from_0(seed):
    with pytest.raises(UsageError, match="seed"):
        paired_permutation([1.0, 2.0], seed=seed)
