"""Two models compared from two aligned arrays, end to end."""

import dataclasses
import json
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from semscale.errors import UsageError
from semscale.stats import compare, summarise

pairs = st.lists(st.tuples(st.integers(-8, 8), st.integers(-8, 8)), max_size=30)  # ties and zeros abound


def columns(rows):
    """[(x, y), ...] -> two arrays."""
    return np.array(rows, dtype=np.float64).reshape(-1, 2).T


def paired(lost, n, gap):
    """Two models over n prompts: a - b has the sizes 1..n, negative at the ranks `lost`, and D is `gap` / n.

    The values of b are equally far apart. The farther, the fewer of them a difference passes, so that D falls with
    the distance from near 1 to near 0 and takes every value in between.
    """
    differences = np.arange(1.0, n + 1)
    differences[np.array(lost) - 1] *= -1
    differences = np.random.default_rng(0).permutation(differences)
    for distance in np.arange(0.05, 4, 0.01):
        b = distance * np.arange(n) + 0.001 * np.sqrt(np.arange(n))  # no value of a equals one of b
        if round(stats.ks_2samp(b + differences, b).statistic * n) == gap:
            return b + differences, b
    raise AssertionError(f"no distance gives D={gap}/{n}")


@pytest.mark.parametrize(
    ("lost", "n", "gap", "w", "p_wilcoxon", "p_ks", "effect", "exact"),
    [
        ([*range(1, 14), 19], 100, 48, 110, 1.0104e-16, 8.4484e-11, 0.956, False),
        ([*range(1, 13), 17], 50, 19, 95, 5.8022e-09, 0.0013148, 0.851, True),
    ],
)
def test_published_statistics_give_the_published_p_values(lost, n, gap, w, p_wilcoxon, p_ks, effect, exact):
    found = compare(*paired(lost, n, gap))
    assert (found.n, found.wilcoxon.statistic, found.kolmogorov_smirnov.statistic) == (n, w, pytest.approx(gap / n))
    assert found.wilcoxon.p == pytest.approx(p_wilcoxon, rel=1e-4)
    assert found.kolmogorov_smirnov.p == pytest.approx(p_ks, rel=1e-4)
    assert found.wilcoxon.method == ("exact" if exact else "normal approximation without continuity correction")
    assert found.kolmogorov_smirnov.method == "exact"
    assert found.rank_biserial.value == pytest.approx(effect, abs=5e-4)
    assert (found.win_rate.wins, found.win_rate.losses) == (n - len(lost), len(lost))
    assert found.permutation.p == 1 / 10_000


def test_every_part_is_that_of_the_pairs_with_both_values():
    rng = np.random.default_rng(1)
    a, b = rng.normal(90, 5, 40), rng.normal(88, 5, 40)
    with_gaps = np.array([np.nan, 1.0, np.nan])
    found = compare(np.r_[a, with_gaps], np.r_[b, 2.0, np.nan, np.nan], seed=4)
    assert (found.n, found.n_missing, found.direction, found.seed) == (40, 3, "a - b", 4)
    assert dataclasses.replace(found, n_missing=0) == compare(a, b, seed=4)
    assert found.wilcoxon.p == pytest.approx(stats.wilcoxon(a, b).pvalue, rel=1e-12)
    assert found.kolmogorov_smirnov.p == pytest.approx(stats.ks_2samp(a, b).pvalue, rel=1e-12)
    assert found.normality_a.p == pytest.approx(stats.shapiro(a).pvalue)
    assert found.normality_difference.p == pytest.approx(stats.shapiro(a - b).pvalue)
    assert found.difference.mean == found.mean_difference.value == pytest.approx((a - b).mean())
    assert found.a.sd == pytest.approx(a.std(ddof=1)) and found.a.ddof == 1


def test_lengths_that_differ_are_refused_with_both():
    with pytest.raises(UsageError, match="a has 3 values and b has 2"):
        compare([1.0, 2.0, 3.0], [1.0, 2.0])


def test_infinities_are_refused_by_name_and_place():
    with pytest.raises(UsageError, match=r"^b: 1 of 2 values are infinite .* position 1; .* give NaN"):
        compare([1.0, 2.0], [1.0, float("inf")])
    with pytest.raises(UsageError, match=r"a: values of <U1"):
        compare(["x"], [1.0])


@pytest.mark.parametrize(
    "a",
    [
        [],
        [1.0],
        [1.0, 2.0],
        [0.0] * 30,
        [3.0] * 30,
        [0.1] * 7,
        [float("nan")] * 4,
        [0.0] * 29 + [1.0],
        [1e99, -1e99] * 9,
        [5e-324, 0.0, 1e-320] * 5,
    ],
)
def test_no_number_is_missing_without_a_reason(a):
    found = compare(a, np.zeros(len(a)))
    parts = [(field.name, getattr(found, field.name)) for field in dataclasses.fields(found)]
    for name, part in parts:
        if not dataclasses.is_dataclass(part):
            continue
        values = dataclasses.asdict(part)
        missing = [key for key, value in values.items() if isinstance(value, float) and np.isnan(value)]
        missing += ["interval"] if "interval" in values and values["interval"] is None else []
        assert bool(missing) == bool(part.reason), (name, missing, part.reason)
    json.dumps(dataclasses.asdict(found))


def test_all_of_it_fits_json():
    found = compare(np.arange(9, dtype=np.float32), np.arange(9)[::-1], seed=np.int64(3))
    again = json.loads(json.dumps(dataclasses.asdict(found)))
    assert again["wilcoxon"]["n_zeros"] == 1 and again["shift"]["interval"]["level"] == 0.95 and again["seed"] == 3


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_turning_the_two_round_turns_every_sign(rows):
    a, b = columns(rows)
    there, back = compare(a, b), compare(b, a)
    for test in ("wilcoxon", "permutation", "kolmogorov_smirnov"):
        assert getattr(there, test).p == pytest.approx(getattr(back, test).p, nan_ok=True)
    assert there.rank_biserial.value == pytest.approx(-back.rank_biserial.value, nan_ok=True)
    assert there.win_rate.value == pytest.approx(1 - back.win_rate.value, nan_ok=True)
    assert (there.win_rate.wins, there.win_rate.ties) == (back.win_rate.losses, back.win_rate.ties)
    for effect in ("shift", "mean_difference"):
        mirror(getattr(there, effect), getattr(back, effect), signed=(a - b).sum() != 0)


def mirror(there, back, *, signed):
    """Two effects are each other's negatives; the resampled means of differences that sum to 0 have no side to turn."""
    assert there.value == pytest.approx(-back.value, abs=1e-12, nan_ok=True)
    assert (there.interval is None) == (back.interval is None) and there.reason == back.reason
    if there.interval is not None and signed:
        assert (there.interval.low, there.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))


@settings(max_examples=40, deadline=None)
@given(pairs, st.randoms(use_true_random=False))
@example([(0, 0), (0, 0), (0, 0), (0, 1), (0, 2), (0, -6), (-1, 8), (0, -1), (0, -5)], random.Random(0))  # sum 0
def test_the_order_of_the_pairs_is_nothing(rows, chance):
    shuffled = chance.sample(rows, len(rows))
    assert_alike(compare(*columns(rows)), compare(*columns(shuffled)))


@settings(max_examples=40, deadline=None)
@given(pairs, st.integers(-50, 50))
def test_a_constant_added_to_both_changes_no_difference(rows, constant):
    a, b = columns(rows)
    there, moved = compare(a, b), compare(a + constant, b + constant)
    same = ("difference", "wilcoxon", "permutation", "kolmogorov_smirnov", "shift", "win_rate", "mean_difference")
    for name in same:
        assert_alike(getattr(there, name), getattr(moved, name))
    assert moved.a.mean == pytest.approx(there.a.mean + constant, nan_ok=True)
    assert moved.b.sd == pytest.approx(there.b.sd, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(pairs, st.integers(-50, 50))
def test_a_constant_added_to_one_moves_every_estimate_by_it(rows, constant):
    a, b = columns(rows)
    there, moved = compare(a, b), compare(a + constant, b)
    assert moved.shift.value == pytest.approx(there.shift.value + constant, nan_ok=True)
    assert moved.mean_difference.value == pytest.approx(there.mean_difference.value + constant, nan_ok=True)
    assert moved.difference.sd == pytest.approx(there.difference.sd, nan_ok=True)
    if there.shift.interval is not None:
        assert moved.shift.interval.low == pytest.approx(there.shift.interval.low + constant)


def assert_alike(there, moved):
    """Two dataclasses are equal but for rounding."""
    there, moved = (json.loads(json.dumps(dataclasses.asdict(part))) for part in (there, moved))
    flat = [dict(leaves(part)) for part in (there, moved)]
    assert flat[0].keys() == flat[1].keys()
    for key, value in flat[0].items():
        approx = pytest.approx(value, abs=1e-9, nan_ok=True) if isinstance(value, float) else value
        assert flat[1][key] == approx, key


def leaves(part, path=""):
    if isinstance(part, dict):
        for key, value in part.items():
            yield from leaves(value, f"{path}.{key}")
    else:
        yield path, part


def test_a_summary_says_what_it_divides_by_and_where_it_interpolates():
    found = summarise([4.0, 1.0, 3.0, 2.0])
    assert (found.n, found.mean, found.median, found.low, found.high) == (4, 2.5, 2.5, 1.0, 4.0)
    assert (found.q1, found.q3) == (1.75, 3.25)
    assert found.ddof == 1 and found.sd == pytest.approx(np.sqrt(5 / 3))


def test_the_summary_of_equal_values_has_no_rounding():
    found = summarise([0.1] * 3)
    assert (found.mean, found.sd, found.q1) == (0.1, 0.0, 0.1)
    assert summarise([1e-200, 3e-200]).sd == pytest.approx(np.sqrt(2) * 1e-200)
