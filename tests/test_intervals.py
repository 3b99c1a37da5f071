import numpy as np
import pytest
from scipy import stats

from semscale.metrics.consistency import pairs
from semscale.metrics.vectors import unit_rows
from semscale.stats.intervals import (
    clustered_mean_interval,
    leave_one_out_error,
    mean_interval,
    student_interval,
    two_level_mean,
)

ANY = (-np.inf, np.inf)


def draw(groups, n, rng, *, spread=0.2, dim=16):
    """Groups of images around a direction each, some groups more scattered than others."""
    scatter = 0.6 * np.exp(spread * rng.standard_normal((groups, 1, 1)))
    vectors = rng.standard_normal((groups, 1, dim)) / 4 + scatter * rng.standard_normal((groups, n, dim)) / 4
    return pairs(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def test_two_levels_cover_the_truth_and_pairs_as_samples_do_not():
    truth = draw(20_000, 20, np.random.default_rng(1)).mean.mean()
    rng = np.random.default_rng(2)
    covered = naive = 0
    for _ in range(400):
        found = draw(12, 5, rng)
        interval = two_level_mean(found.mean, leave_one_out_error(found.rows), np.full(12, 5), (0.0, 100.0)).interval
        covered += interval.low <= truth <= interval.high
        half = 1.96 * found.rows.std() / np.sqrt(12 * 10)
        naive += abs(found.mean.mean() - truth) <= half
    assert 0.91 <= covered / 400 <= 0.985
    assert naive / 400 < 0.75


def test_resampling_images_with_self_pairs_would_be_biased_by_the_known_amount():
    rng = np.random.default_rng(3)
    units = unit_rows(rng.standard_normal((20, 16)) + 0.8)[0]
    gram = np.maximum(100 * units @ units.T, 0)
    score = pairs(units[None]).mean[0]
    resampled = []
    for _ in range(4000):
        chosen = rng.integers(0, 20, 20)
        resampled.append((gram[np.ix_(chosen, chosen)].sum() - np.trace(gram[np.ix_(chosen, chosen)])) / (20 * 19))
    assert np.mean(resampled) == pytest.approx(score + (100 - score) / 20, abs=0.15)


def test_two_level_mean_is_the_t_interval_over_groups():
    values, errors = np.array([80.0, 90.0, 85.0, 70.0]), np.array([1.0, 2.0, 1.0, 2.0])
    found = two_level_mean(values, errors, np.full(4, 10), (0.0, 100.0))
    expected = stats.t.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected[0], min(expected[1], 100.0)))
    assert found.se_images == pytest.approx(np.sqrt(10) / 4)


def test_one_group_falls_back_to_its_images_and_none_says_so():
    found = two_level_mean(np.array([80.0]), np.array([2.0]), np.array([5]), (0.0, 100.0))
    assert "only group" in found.interval.method
    assert found.interval.high == pytest.approx(80 + stats.t.ppf(0.975, 4) * 2)
    assert two_level_mean(np.array([80.0]), np.array([np.nan]), np.array([2]), (0.0, 100.0)).interval is None
    empty = two_level_mean(np.empty(0), np.empty(0), np.empty(0), (0.0, 100.0))
    assert empty.interval is None and np.isnan(empty.value)


def test_intervals_stay_inside_the_range_of_the_score():
    low, high = student_interval(np.array([99.0, 1.0]), np.array([5.0, 5.0]), np.array([4, 4]), (0.0, 100.0))
    assert low[1] == 0.0 and high[0] == 100.0
    assert low[0] < 99 < 100 and low[0] > 0


def test_clusters_of_equal_size_give_the_t_interval_over_cluster_means():
    means = np.array([20.0, 25.0, 22.0])
    found = clustered_mean_interval(means * 4, np.full(3, 4), ANY)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 2, means.mean(), means.std(ddof=1) / 3**0.5))
    assert clustered_mean_interval(means[:1], np.ones(1), ANY) is None


def test_clustering_widens_the_interval_of_alike_items():
    rng = np.random.default_rng(4)
    items = rng.standard_normal((10, 1)) + 0.1 * rng.standard_normal((10, 50))
    clustered = clustered_mean_interval(items.sum(axis=1), np.full(10, 50), ANY)
    naive = mean_interval(items.ravel(), ANY)
    assert clustered.high - clustered.low > 4 * (naive.high - naive.low)
    assert mean_interval(items[0, :1], ANY) is None


def test_an_interval_of_a_mean_below_its_bound_is_the_bound_and_not_upside_down():
    low, high = student_interval(np.array([-20.0, 50.0, 120.0]), 5.0, 10, (0.0, 100.0))
    assert (low <= high).all()
    assert (low[0], high[0], low[2], high[2]) == (0.0, 0.0, 100.0, 100.0)
    interval = mean_interval(np.array([-21.0, -20.0, -19.0]), (0.0, 100.0))
    assert (interval.low, interval.high) == (0.0, 0.0)
