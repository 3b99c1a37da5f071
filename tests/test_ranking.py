import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.ranking import ranked, win_share
from semscale.stats.proportions import wilson_interval


def test_candidates_are_ordered_with_chances_and_margin():
    found = ranked(np.array([0.20, 0.22, np.nan, 0.19]))
    assert found.order.tolist() == [1, 0, 3]
    weights = np.exp([20.0, 22.0, 19.0])
    assert found.chances == pytest.approx(
        [*(weights / weights.sum())[:2], np.nan, weights[2] / weights.sum()], nan_ok=True
    )
    assert found.margin == pytest.approx(0.02)


def test_two_candidates_are_preferred_by_the_logistic_of_their_difference():
    assert ranked(np.array([0.31, 0.30])).chances[0] == pytest.approx(1 / (1 + np.exp(-1.0)), abs=1e-12)


def test_equal_candidates_go_by_position_with_equal_chances():
    found = ranked(np.array([0.1, 0.3, 0.3]))
    assert found.order.tolist() == [1, 2, 0] and found.margin == 0.0
    assert found.chances[1] == found.chances[2]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_candidates_have_no_margin(n):
    found = ranked(np.full(n + 1, np.nan)) if n == 2 else ranked(np.full(n, 0.5))
    assert np.isnan(found.margin)
    assert found.order.tolist() == ([0] if n == 1 else [])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_win_share_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    n = 40
    scores = rng.integers(0, 6, n) / 10
    scores[rng.random(n) < 0.15] = np.nan
    groups, models = rng.integers(0, 9, n), rng.choice(["a", "b", "c"], n)
    models[0] = "a"
    wins = []
    for group in range(9):
        own = [s for s, g, m in zip(scores, groups, models, strict=True) if g == group and m == "a" and s == s]
        other = [s for s, g, m in zip(scores, groups, models, strict=True) if g == group and m != "a" and s == s]
        if own and other:
            wins.append(max(own) > max(other))
    if len(wins) < 2:
        return
    found = win_share(scores, groups, models, "a")
    assert found.value == pytest.approx(np.mean(wins))
    assert found.n == len(wins)
    assert found.interval.high == wilson_interval(sum(wins), len(wins)).high
    assert found.params["n_invalid"] == np.isnan(scores).sum()


def test_ties_are_no_win_for_either_and_chance_counts_candidates():
    scores = np.array([0.5, 0.5, 0.4, 0.3, 0.1])
    groups, models = np.array([0, 0, 1, 1, 1]), np.array(["a", "b", "a", "b", "b"])
    a, b = (win_share(scores, groups, models, name) for name in "ab")
    assert (a.value, b.value) == (0.5, 0.0)
    assert a.params["n_ties"] == b.params["n_ties"] == 1
    assert a.params["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert a.params["chance"] + b.params["chance"] == pytest.approx(1.0)


def test_groups_without_a_rival_are_left_out_and_counted():
    models = np.array(["a", "b", "a", "b"])
    with pytest.warns(FewSamplesWarning, match="ranking of 1 groups"):
        found = win_share(np.array([0.5, 0.1, 0.9, 0.9]), np.array(["p", "p", "q", "r"]), models, "a")
    assert (found.value, found.n, found.params["n_groups_left_out"]) == (1.0, 1, 2)


@pytest.mark.parametrize(
    ("scores", "groups", "model", "said"),
    [
        ([0.1, 0.2], [0], "a", "2 scores, 1 groups"),
        ([0.1, np.inf], [0, 0], "a", "infinite"),
        ([0.1, 0.2], [0, 0], "c", "choose from a, b"),
        ([[0.1, 0.2]], [0, 0], "a", "real numbers"),
    ],
)
def test_what_does_not_fit_is_refused(scores, groups, model, said):
    with pytest.raises(UsageError, match=said):
        win_share(np.array(scores), np.array(groups), np.array(["a", "b"]), model)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_must_be_above_zero(scale):
    with pytest.raises(UsageError, match="scale"):
        ranked(np.array([0.1, 0.2]), scale=scale)
