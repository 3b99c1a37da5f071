"""What a comparison says: who is ahead by which rule, and numbers as people read them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from semscale.report.format import plain, signed
from semscale.report.names import apart, named
from semscale.stats.comparison import compare
from semscale.study.comparison.matching import advice
from semscale.study.comparison.measured import Metric
from semscale.study.comparison.turning import turned
from semscale.study.comparison.words import a_is_ahead, facts, is_shown, p_words, sentence

NOISE = np.random.default_rng(0).random(12)


def metric(name="lpips", better="lower"):
    return Metric(name, name, "image", better, "", 0.0, math.inf)


def say(measured, found, p=None):
    return sentence(measured, ("a", "b"), found, found.wilcoxon.p if p is None else p, adjusted=False)


def fact(measured, found, name):
    (one,) = (each for each in facts(measured, found, found.wilcoxon.p, adjusted=False) if each.name == name)
    return one


@pytest.mark.parametrize(
    ("name", "better", "said"),
    [
        ("lpips", "lower", "a is better than b: -0."),
        ("clip-score", "higher", "b is better than a: +0."),
        ("n_clamped", "neither", "b is higher than a: +0."),
        ("scs@dino", "higher", "b is more consistent than a: +0."),
        ("mean_distance", "higher", "b is more varied than a: +0."),
    ],
)
def test_the_better_one_is_named_first_and_the_difference_is_its_own(name, better, said):
    found = compare(NOISE, NOISE + 0.5 + NOISE[::-1] / 10)
    assert say(metric(name, better), found).startswith(said)
    assert a_is_ahead(metric(name, better), found) == (better == "lower")


def test_a_win_is_a_prompt_on_which_the_first_is_better():
    found = compare(NOISE, np.r_[NOISE[:9] + 1, NOISE[9:] - 1])  # b is higher on 9 of 12
    higher, lower = (fact(metric(better=better), found, "win rate") for better in ("higher", "lower"))
    assert higher.value == "3 of 12: 25% [9%, 53%]"
    assert (lower.value, lower.short) == ("9 of 12: 75% [47%, 91%]", "lower wins")
    assert lower.how.startswith("higher on 3 prompts, lower on 9, equal on 0; Wilson")


def test_a_difference_is_shown_by_all_of_three():
    found = compare(NOISE + 0.5 + NOISE[::-1] / 10, NOISE)
    assert is_shown(found, found.wilcoxon.p) and not is_shown(found, 0.05) and not is_shown(found, math.nan)
    skewed = compare(np.r_[np.full(20, 0.1) + NOISE.mean() / 50, -30.0], np.zeros(21))
    assert skewed.wilcoxon.p < 0.05 and not is_shown(skewed, skewed.wilcoxon.p)  # mean and ranks disagree
    assert say(metric(), skewed).startswith("no difference shown between a and b: -1.3")


def test_the_same_difference_in_every_prompt_is_shown():
    found = compare(np.arange(11.0) + 3, np.arange(11.0))
    assert found.mean_difference.interval is None  # there is no spread to resample
    assert say(metric("scs", "higher"), found).startswith("a is more consistent than b: +3.00 [3.00, 3.00] scs")
    same = compare(np.arange(11.0), np.arange(11.0))
    assert say(metric(), same).startswith("no difference shown between a and b: +0.00")


def test_numbers_keep_three_digits_however_small():
    assert [signed(x) for x in (4.5, -0.0123, 1.93e-10)] == ["+4.50", "-0.0123", "+1.93e-10"]
    assert [plain(x) for x in (1234.5, 0.5, 0.0, math.nan)] == ["1234.50", "0.500", "0.00", "–"]
    assert [p_words(p) for p in (0.012, 1e-16, 0.0, math.nan)] == ["p = 0.012", "p = 1.0e-16", "p < 1e-300", "p –"]


def test_a_name_in_a_sentence_is_short_and_turns_nothing_round():
    assert named("a\u202eb\nc") == "a\ufffdb c"
    assert len(named("x" * 300)) == 60


def test_names_are_cut_where_they_stay_apart():
    steps = [f"sd steps={n} guidance=7.5 sampler=ddim" for n in (10, 20, 100)]
    assert apart(["a", "b"], 4) == ["a", "b"]
    assert apart(["base v1", "base v2"], 5) == ["ba…v1", "ba…v2"]
    assert len(set(apart(steps, 16))) == 3 and max(map(len, apart(steps, 16))) == 16
    assert apart([f"{'x' * 20}{n}{'y' * 20}" for n in "12"], 6) == ["…1yyy…", "…2yyy…"]
    assert apart(["x" * 9 + "1" + "y" * 9, "x" * 9 + "2" + "y" * 9, "y" * 19], 6)[0] != "xx…yyy"


def test_a_comparison_is_the_other_one_turned_round():
    a, b = NOISE, np.r_[NOISE[:9] + 1, NOISE[9:] - 1]
    there, back = turned(compare(a, b)), compare(b, a)
    assert there.rank_biserial == back.rank_biserial and there.permutation == back.permutation
    assert replace(there.win_rate, interval=None) == replace(back.win_rate, interval=None)
    assert there.win_rate.interval.low == pytest.approx(back.win_rate.interval.low)
    assert there.shift.value == pytest.approx(back.shift.value)
    assert there.shift.interval.low == pytest.approx(back.shift.interval.low)
    for name in ("a", "b"):
        assert getattr(there, name) == getattr(back, name)
    assert there.difference.q1 == pytest.approx(back.difference.q1) and there.difference.high == back.difference.high
    interval = compare(a, b).mean_difference.interval
    assert there.mean_difference.interval == replace(interval, low=-interval.high, high=-interval.low)


def test_the_floor_of_a_random_permutation_is_said_to_be_one():
    found = compare(np.arange(40.0) + 1, np.zeros(40))
    assert fact(metric(), found, "Paired permutation").value == "p ≤ 0.0001"
    assert fact(metric(), compare(NOISE + 1, NOISE * 0), "Paired permutation").value == "p = 0.00049"  # all patterns


def test_prompts_that_nearly_join_are_said():
    listed = ["A cat", "a  dog", "an-owl"]
    assert "3 of them differ in case, blanks or punctuation alone, as 'a cat' and 'A cat'" in advice(
        ["a cat", "a dog", "an owl"], listed
    )
    drawn, other = ([f"{what} ({style}.)" for what in ("cat", "dog", "owl")] for style in ("by Monet", "TOK's"))
    assert advice(drawn, other) == "; --prompt-map 'by Monet=>TOK'\"'\"'s' would join 3 of them"
    assert advice(["a cat"], ["two dogs"]) == ""
