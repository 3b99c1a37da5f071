"""Majorities, raters against them, two methods compared, and what an uncorrected agreement leaves open."""

import math

import numpy as np
import pytest

from semscale.errors import UsageError
from semscale.stats.agreement import cohen_kappa
from semscale.stats.kappa_range import kappa_range
from semscale.stats.majorities import NOBODY, majority, mcnemar, share, vote_counts, with_majority, with_others

VOTES = np.array([[0, 0, 1, NOBODY, 0], [0, 1, 1, NOBODY, 1], [0, 1, 0, NOBODY, NOBODY]])


def test_a_tie_and_no_votes_are_no_majority():
    counts = vote_counts(VOTES, 2)
    assert counts.tolist() == [[3, 0], [1, 2], [1, 2], [0, 0], [1, 1]]
    assert majority(counts).tolist() == [0, 1, 1, NOBODY, NOBODY]
    assert majority(np.array([[2, 2, 1], [2, 1, 1]])).tolist() == [NOBODY, 0]


def test_individual_agreement_by_hand():
    plain, others = with_majority(VOTES, 2), with_others(VOTES, 2)
    assert [(each.hits, each.n) for each in plain] == [(2, 3), (3, 3), (2, 3)]
    # without the first: items 0 (0, 0), 1 (1, 1), 4 (1): 0 agrees, 1 and 4 differ; item 2 is (1, 0), a tie
    assert [(each.hits, each.n) for each in others] == [(1, 3), (1, 2), (1, 2)]


def test_a_vote_counts_towards_its_own_majority():
    """Three coin flippers agree with their own majority 3 in 4 times, and with the others' in half."""
    votes = np.random.default_rng(0).integers(0, 2, (3, 20_000))
    assert np.mean([each.value for each in with_majority(votes, 2)]) == pytest.approx(0.75, abs=0.01)
    assert np.mean([each.value for each in with_others(votes, 2)]) == pytest.approx(0.5, abs=0.01)


def test_shares_have_wilson_intervals():
    found = share(94, 100)
    assert (round(found.interval.low, 3), round(found.interval.high, 3)) == (0.875, 0.972)
    assert found.interval.method == "Wilson score interval over items"
    assert math.isnan(share(0, 0).value) and share(0, 0).interval is None


def test_mcnemar_is_a_fair_coin_over_what_tells_two_apart():
    first = np.array([True] * 9 + [False] * 1 + [True] * 5)
    second = np.array([False] * 9 + [True] * 1 + [True] * 5)
    found = mcnemar(first, second)
    assert (found.statistic, found.n) == (9, 10)
    assert found.p == pytest.approx(2 * 11 / 1024)
    assert mcnemar(second, first).p == found.p
    assert math.isnan(mcnemar(first, first).p) and "same items" in mcnemar(first, first).reason


def test_votes_out_of_range_are_refused():
    with pytest.raises(UsageError, match="a vote for category 2 of 2"):
        vote_counts(np.array([[2]]), 2)
    with pytest.raises(UsageError, match="need \\(raters, items\\)"):
        vote_counts(np.array([0, 1]), 2)


def test_what_the_published_94_percent_leaves_open():
    """94 of 100 agree, and the metric chose PixArt on 86 prompts or more.

    The most favourable case is a metric that chose it on 86, all six disagreements one way: 0.79. A metric that always
    says PixArt has 0.00 with the same 94 %. In between it may be a little worse than chance.
    """
    fewest, always, any_of_them = kappa_range(0.94, 0.86), kappa_range(0.94, 1.0), kappa_range(0.94, (0.86, 1.0))
    assert round(fewest.high, 2) == 0.79 and fewest.high_shares == pytest.approx((0.86, 0.80))
    assert (always.low, always.high) == pytest.approx((0, 0), abs=1e-12)
    assert any_of_them.high == fewest.high
    assert round(any_of_them.low, 2) == -0.03 and any_of_them.low_shares == pytest.approx((0.97, 0.97))


def test_its_ends_are_kappas_of_real_ratings():
    def ratings(both_a, metric_a, raters_a, both_b):
        pairs = [("A", "A")] * both_a + [("A", "B")] * metric_a + [("B", "A")] * raters_a + [("B", "B")] * both_b
        return zip(*pairs, strict=True)

    assert cohen_kappa(*ratings(80, 6, 0, 14)).value == pytest.approx(kappa_range(0.94, 0.86).high)
    assert cohen_kappa(*ratings(86, 0, 6, 8)).value == pytest.approx(kappa_range(0.94, 0.86).low)
    assert cohen_kappa(*ratings(94, 6, 0, 0)).value == pytest.approx(0)
    assert cohen_kappa(*ratings(94, 3, 3, 0)).value == pytest.approx(kappa_range(0.94, (0.86, 1.0)).low)


@pytest.mark.parametrize("agreement", [0.0, 0.3, 0.5, 0.81, 0.94])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.2, 0.4), (0.86, 1.0), (0.5, 0.5)])
def test_no_table_of_counts_lies_outside_the_range(agreement, bounds):
    n = 100
    agreeing = round(n * agreement)
    found = kappa_range(agreeing / n, bounds)
    kappas = []
    for of_first in range(round(n * bounds[0]), round(n * bounds[1]) + 1):
        for only_first in range(n - agreeing + 1):  # first says A, second B
            of_second = of_first - only_first + (n - agreeing - only_first)
            both_a, both_b = of_first - only_first, n - of_first - (n - agreeing - only_first)
            if both_a < 0 or both_b < 0:
                continue
            by_chance = (of_first * of_second + (n - of_first) * (n - of_second)) / n**2
            if by_chance < 1:
                kappas.append((agreeing / n - by_chance) / (1 - by_chance))
    assert found.low - 1e-9 <= min(kappas) and max(kappas) <= found.high + 1e-9
    assert min(kappas) - found.low < 0.02 and found.high - max(kappas) < 0.02  # and it is no wider than it must be


def test_ranges_of_full_agreement():
    assert (kappa_range(1.0, 0.5).low, kappa_range(1.0, 0.5).high) == (1, 1)
    assert math.isnan(kappa_range(1.0, 1.0).low)
    with pytest.raises(UsageError, match="give shares"):
        kappa_range(94, 86)
    with pytest.raises(UsageError, match="lower bound first"):
        kappa_range(0.9, (0.9, 0.8))
