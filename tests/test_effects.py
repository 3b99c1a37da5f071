"""Effect sizes and their intervals, against their definitions written out, and how often they hold the truth."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semscale.errors import UsageError
from semscale.stats import (
    bootstrap_difference,
    hodges_lehmann,
    rank_biserial,
    rank_biserial_from_statistic,
    resampling,
    wilcoxon,
    win_rate,
)
from semscale.stats.effects import _walsh

coarse = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=25)  # ties and zeros abound
fine = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=25)


def walsh_averages(values):
    return np.sort([(x + y) / 2 for i, x in enumerate(values) for y in values[i:]])


def binomial_error(share, n):
    return 3 * np.sqrt(share * (1 - share) / n)


# rank-biserial


def test_published_statistics_give_the_known_effects():
    assert rank_biserial_from_statistic(110, 100) == pytest.approx(0.956, abs=5e-4)
    assert rank_biserial_from_statistic(95, 50) == pytest.approx(0.851, abs=5e-4)
    with pytest.raises(UsageError, match="smaller rank sum"):
        rank_biserial_from_statistic(4940, 100)


@given(coarse)
def test_rank_biserial_counts_what_its_definition_counts(values):
    found = rank_biserial(values)
    rest = [value for value in values if value]
    assert (found.n, found.n_zeros) == (len(rest), len(values) - len(rest))
    if not rest:
        assert np.isnan(found.value) and found.reason == "all differences are 0"
        return
    rank = [sum(abs(y) < abs(x) for y in rest) + (sum(abs(y) == abs(x) for y in rest) + 1) / 2 for x in rest]
    plus = sum(r for r, x in zip(rank, rest, strict=True) if x > 0)
    assert (found.r_plus, found.r_minus) == (plus, sum(rank) - plus)
    assert found.value == pytest.approx((2 * plus - sum(rank)) / sum(rank))


def test_a_statistic_and_its_data_have_effects_of_one_size():
    values = np.random.default_rng(1).standard_normal(40) - 0.4
    expected = rank_biserial_from_statistic(wilcoxon(values).statistic, 40)
    assert rank_biserial(values).value == pytest.approx(-expected)
    assert rank_biserial([1.0, 2.0]).value == 1 and rank_biserial([-1.0, -2.0]).value == -1


# Hodges-Lehmann


@settings(max_examples=30, deadline=None)
@given(st.one_of(coarse, fine))
def test_order_statistics_of_walsh_averages_are_those_of_all_of_them(values):
    expected, ordered = walsh_averages(values), np.sort(values)
    for k, average in enumerate(expected, start=1):
        assert _walsh(ordered, k) == pytest.approx(average, rel=0, abs=1e-15 * np.abs(ordered).max())
    assert hodges_lehmann(values).value == pytest.approx(np.median(expected), abs=1e-12)


@pytest.mark.parametrize("n", [6, 12, 50])
def test_the_interval_holds_what_the_exact_test_does_not_reject(n):
    values = np.random.default_rng(n).standard_normal(n)
    interval = hodges_lehmann(values).interval
    assert "exact" in interval.method
    for end, inwards in ((interval.low, 1e-9), (interval.high, -1e-9)):
        assert wilcoxon(values - end - inwards).p > 0.05
        assert wilcoxon(values - end + inwards).p <= 0.05


def test_a_large_interval_holds_what_the_approximate_test_does_not_reject():
    values = np.random.default_rng(2).standard_normal(300)
    interval = hodges_lehmann(values).interval
    assert "normal approximation" in interval.method
    for end, inwards in ((interval.low, 1e-9), (interval.high, -1e-9)):
        assert wilcoxon(values - end - inwards).p > 0.05
        assert wilcoxon(values - end + inwards).p <= 0.05


def test_known_order_statistics():
    """Lower ends at 95 % in published tables (Hollander and Wolfe, table A.4): 1 of n=6, 4 of 8, 9 of 10, 53 of 20."""
    for n, rank in ((6, 1), (8, 4), (10, 9), (20, 53), (50, 435)):
        assert (
            f"Walsh averages {rank} and {n * (n + 1) // 2 + 1 - rank} of"
            in hodges_lehmann(np.arange(n)).interval.method
        )


@pytest.mark.parametrize(("n", "reason"), [(0, "no differences"), (1, "there are 1"), (5, "there are 5")])
def test_too_few_differences_have_no_interval_and_say_so(n, reason):
    for found in (hodges_lehmann(np.arange(float(n))), bootstrap_difference(np.arange(float(n)))):
        assert found.interval is None and reason in found.reason and found.n == n
        assert np.isnan(found.value) == (n == 0)


def test_equal_differences_are_the_shift_and_cannot_be_resampled():
    found = hodges_lehmann(np.full(9, 0.1))
    assert (found.value, found.interval.low, found.interval.high) == (0.1, 0.1, 0.1)
    resampled = bootstrap_difference(np.full(9, 0.1))
    assert (resampled.value, resampled.interval, resampled.resamples) == (0.1, None, 0)
    assert "equal" in resampled.reason


# win rate


@given(coarse)
def test_ties_are_counted_apart(values):
    found = win_rate(values)
    assert (found.wins, found.losses, found.ties) == tuple(int((np.sign(values) == side).sum()) for side in (1, -1, 0))
    assert found.n == found.wins + found.losses
    if found.n:
        expected = stats.binomtest(found.wins, found.n).proportion_ci(method="wilson")
        assert found.value == found.wins / found.n
        assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    else:
        assert np.isnan(found.value) and found.interval is None and found.reason == "all pairs are ties"


def test_the_known_interval_of_94_wins():
    interval = win_rate(np.r_[np.ones(94), -np.ones(6)]).interval
    assert (interval.low, interval.high) == pytest.approx((0.875, 0.972), abs=5e-4)


# bootstrap


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).exponential(size=40)
    found = bootstrap_difference(values, seed=11)
    assert found == bootstrap_difference(values, seed=11)
    assert found.interval != bootstrap_difference(values, seed=12).interval
    assert found.value == values.mean() and found.seed == 11 and "9999 resamples" in found.interval.method


@pytest.mark.parametrize("n", [7, 40])
def test_the_percentiles_are_those_that_make_up_for_few_prompts(n):
    values = np.random.default_rng(n).exponential(size=n)
    found = bootstrap_difference(values).interval
    means = values[np.random.default_rng(99).integers(0, n, (50_000, n))].mean(axis=1)
    level = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.025, n - 1))
    error = binomial_error(level, 9_999)
    assert (means < found.low).mean() == pytest.approx(level, abs=error)
    assert (means > found.high).mean() == pytest.approx(level, abs=error)
    assert level + error < 0.025


@pytest.mark.parametrize("n", [12, 50])
def test_nominal_intervals_hold_the_truth_as_often_as_they_say(n):
    """Symmetric differences with heavy tails, in binomial error; the bootstrap may fall short by 2 points at n=12."""
    rng, times = np.random.default_rng(4), 250
    shift = bootstrap = 0
    for seed in range(times):
        values = rng.standard_t(5, n) + 1
        of_shift, of_mean = hodges_lehmann(values).interval, bootstrap_difference(values, seed=seed).interval
        shift += of_shift.low <= 1 <= of_shift.high
        bootstrap += of_mean.low <= 1 <= of_mean.high
    assert abs(shift / times - 0.95) <= binomial_error(0.95, times)
    assert 0.93 - binomial_error(0.93, times) <= bootstrap / times <= 0.95 + binomial_error(0.95, times)


def test_ties_only_make_the_shift_interval_cover_more():
    rng, times = np.random.default_rng(5), 300
    intervals = [hodges_lehmann(np.round(rng.standard_normal(20))).interval for _ in range(times)]
    assert np.mean([i.low <= 0 <= i.high for i in intervals]) >= 0.95 - binomial_error(0.95, times)


@pytest.mark.parametrize("effect", [hodges_lehmann, bootstrap_difference])
def test_memory_grows_with_the_number_of_pairs_not_its_square(effect, monkeypatch):
    monkeypatch.setattr(resampling, "DRAWS", 0)  # the fewest resamples, in blocks as ever
    values = np.random.default_rng(6).standard_normal(30_000)
    tracemalloc.start()
    effect(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20  # all Walsh averages would take 3.6 GB, all resamples 240 MB


@pytest.mark.parametrize("effect", [rank_biserial, hodges_lehmann, win_rate, bootstrap_difference])
def test_effects_refuse_what_is_no_difference(effect):
    with pytest.raises(UsageError, match="differences: 1 of 2 values are NaN"):
        effect([1.0, float("nan")])
    with pytest.raises(UsageError, match=r"need \(n,\) real numbers"):
        effect([[1.0], [2.0]])
