"""Kappa and alpha: published examples, their definitions by brute force, degenerate cases, coverage of intervals."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semscale.errors import UsageError
from semscale.stats.agreement import alpha_of_counts, cohen_kappa, fleiss_kappa, krippendorff_alpha

NONE = None
KRIPPENDORFF_2011 = [  # section C: four observers, twelve units, missing data
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]
FLEISS = np.array(  # the worked example of fourteen raters, ten subjects and five categories
    [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
)


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_alpha_of_the_published_reliability_data(level, published):
    found = krippendorff_alpha(KRIPPENDORFF_2011, level)
    assert round(found.value, 3) == published
    assert (found.n, found.n_ratings) == (11, 40)  # the last unit has one rating: it pairs with nothing
    assert found.interval.low < found.value < found.interval.high <= 1


def test_fleiss_kappa_of_the_published_example():
    found = fleiss_kappa(FLEISS)
    assert round(found.value, 3) == 0.210
    assert round(1 - found.disagreement, 3) == 0.378
    assert round(1 - found.by_chance, 3) == 0.213


def test_cohens_kappa_of_a_worked_example():
    """Fifty grants read by two: both yes 20, both no 15, 5 and 10 apart: observed 0.7, by chance 0.5."""
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = cohen_kappa(a, b)
    assert found.value == pytest.approx(0.4)
    assert (found.disagreement, found.by_chance) == (pytest.approx(0.3), pytest.approx(0.5))


def test_cohens_kappa_equals_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    for k in (2, 3, 5):
        a = rng.integers(0, k, 60)
        b = np.where(rng.random(60) < 0.6, a, rng.integers(0, k, 60))
        assert cohen_kappa(a.tolist(), b.tolist()).value == pytest.approx(metrics.cohen_kappa_score(a, b))


def pairs_of(counts):
    """Every ordered pair of ratings of an item with its weight, one by one."""
    for row in counts:
        given = [category for category, n in enumerate(row) for _ in range(n)]
        if len(given) > 1:
            yield from ((a, b, 1 / (len(given) - 1)) for a, b in itertools.permutations(given, 2))


@settings(max_examples=40, deadline=None)
@given(arrays(np.int64, (7, 3), elements=st.integers(0, 3)))
def test_alpha_is_what_its_definition_counts_pair_by_pair(counts):
    found = alpha_of_counts(counts)
    listed = list(pairs_of(counts))
    ratings = [category for row in counts if row.sum() > 1 for category, n in enumerate(row) for _ in range(n)]
    if len(set(ratings)) < 2:
        assert math.isnan(found.value) and found.reason
        return
    observed = sum(weight for a, b, weight in listed if a != b) / len(ratings)
    every = list(itertools.permutations(ratings, 2))
    by_chance = sum(a != b for a, b in every) / len(every)
    assert found.value == pytest.approx(1 - observed / by_chance)


def test_fleiss_kappa_is_alpha_but_for_drawing_without_replacement():
    rng = np.random.default_rng(1)
    ones = rng.integers(0, 6, 40)
    counts = np.column_stack([ones, 5 - ones])
    kappa, alpha = fleiss_kappa(counts), alpha_of_counts(counts)
    assert 1 - alpha.value == pytest.approx((1 - kappa.value) * (200 - 1) / 200)


def test_order_of_raters_items_and_names_does_not_matter():
    rng = np.random.default_rng(2)
    ratings = rng.integers(0, 2, (4, 30))
    same = krippendorff_alpha([["AB"[x] for x in row] for row in ratings[::-1, rng.permutation(30)]])
    found = krippendorff_alpha(ratings)
    assert same.value == pytest.approx(found.value)
    assert same.interval.low == pytest.approx(found.interval.low)


def test_an_interval_is_the_jackknife_by_leaving_each_item_out():
    rng = np.random.default_rng(3)
    a = rng.integers(0, 2, 25)
    b = np.where(rng.random(25) < 0.8, a, 1 - a)
    found = cohen_kappa(a.tolist(), b.tolist())
    left_out = [cohen_kappa(np.delete(a, i).tolist(), np.delete(b, i).tolist()).value for i in range(25)]
    error = np.sqrt(24 / 25 * np.square(left_out - np.mean(left_out)).sum())
    reach = 2.0638986 * error / (1 - found.value**2)  # Student's t with 24 degrees of freedom
    assert found.interval.low == pytest.approx(np.tanh(np.arctanh(found.value) - reach), abs=1e-6)
    assert found.interval.high == pytest.approx(np.tanh(np.arctanh(found.value) + reach), abs=1e-6)


@pytest.mark.parametrize(("right", "share"), [(0.8, 0.5), (0.9, 0.8)])
def test_intervals_cover_the_truth(right, share):
    """Three raters who are right with one chance each; alpha of infinitely many items is known."""
    rng = np.random.default_rng(4)
    of_a = share * right + (1 - share) * (1 - right)
    truth = 1 - 2 * right * (1 - right) / (2 * of_a * (1 - of_a))
    held = 0
    for _ in range(400):
        is_a = rng.random(60) < share
        votes = np.where(rng.random((3, 60)) < right, is_a, ~is_a).sum(axis=0)
        interval = alpha_of_counts(np.column_stack([votes, 3 - votes])).interval
        held += interval.low <= truth <= interval.high
    assert 0.92 <= held / 400 <= 0.98


DEGENERATE = {
    "one category, two raters": (lambda: cohen_kappa(["A"] * 8, ["A"] * 8), "one category"),
    "no items": (lambda: cohen_kappa([], []), "no items"),
    "one rater": (lambda: fleiss_kappa(np.array([[1, 0], [0, 1]])), "two ratings"),
    "one category, many raters": (lambda: fleiss_kappa(np.array([[3, 0], [3, 0]])), "one category"),
    "nothing rated twice": (lambda: krippendorff_alpha([["A", NONE], [NONE, "B"]]), "no item has two"),
    "no raters": (lambda: krippendorff_alpha([]), "no item has two"),
    "all the same": (lambda: krippendorff_alpha([["A"] * 4] * 3), "one category"),
}


@pytest.mark.parametrize(("make", "reason"), DEGENERATE.values(), ids=DEGENERATE)
def test_what_is_undefined_is_nan_with_a_reason(make, reason):
    found = make()
    assert math.isnan(found.value) and found.interval is None and reason in found.reason


def test_a_rater_who_always_gives_one_answer_has_kappa_0():
    found = cohen_kappa(["A"] * 100, ["A"] * 94 + ["B"] * 6)
    assert found.value == 0 and found.interval is None and "no spread" in found.reason


@pytest.mark.parametrize(
    ("a", "b", "value", "reason"),
    [
        ("ABABABAB", "ABABABAB", 1, "no spread"),
        ("ABAB", "ABBB", 0.5, "needs 6 items"),
        ("AAAAAAAB", "AAAAAAAB", 1, "single item"),
    ],
)
def test_without_an_interval_there_is_a_reason(a, b, value, reason):
    found = cohen_kappa(a, b)
    assert found.value == pytest.approx(value)
    assert found.interval is None and reason in found.reason


def test_total_disagreement_is_minus_one():
    assert cohen_kappa("ABABABAB", "BABABABA").value == -1


REFUSED = {
    "lengths": (lambda: cohen_kappa("AB", "A"), "a has 2 ratings and b has 1"),
    "missing": (lambda: cohen_kappa(["A", None], ["A", float("nan")]), "2 ratings are missing"),
    "unequal": (lambda: fleiss_kappa(np.array([[2, 0], [1, 2]])), "from 2 to 3 ratings.*krippendorff_alpha"),
    "negative": (lambda: fleiss_kappa(np.array([[2, -1]])), "whole numbers from 0"),
    "shares": (lambda: fleiss_kappa(np.array([[0.5, 0.5]])), "whole numbers from 0"),
    "many": (lambda: cohen_kappa(range(21), range(21)), "21 distinct ratings"),
    "level": (lambda: krippendorff_alpha([[1]], "rank"), "unknown level 'rank'"),
    "words": (lambda: krippendorff_alpha([["a", 1]], "ordinal"), "'ordinal' needs finite numbers, not 'a'"),
    "below 0": (lambda: krippendorff_alpha([[1, -2]], "ratio"), "'ratio' needs numbers from 0, not -2"),
    "ragged": (lambda: krippendorff_alpha([[1, 2], [1]]), "different numbers of items"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_ratings_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
