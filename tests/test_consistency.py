import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics import consistency
from semscale.metrics.consistency import Between, all_acute, corrected, pairs, scs
from semscale.metrics.vectors import unit_rows
from semscale.stats.intervals import leave_one_out_error

MODULE = sys.modules["semscale.metrics.consistency"]  # the package has a function of that name
GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "metrics" / "golden.json"


def double_loop(vectors):
    """The published definition, written out in float64."""
    rows = np.asarray(vectors, np.float64)
    total, count = 0.0, 0
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            cosine = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            cosine /= np.sqrt(sum(a * a for a in rows[i])) * np.sqrt(sum(b * b for b in rows[j]))
            total, count = total + max(100 * cosine, 0.0), count + 1
    return total / count


def sample(n, d=16, shift=0.5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32) + np.float32(shift)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.5, 3.0])
@pytest.mark.parametrize("n", [2, 3, 7, 20])
def test_equals_the_double_loop(n, shift):
    vectors = sample(n, shift=shift, seed=n)
    assert scs(vectors) == pytest.approx(double_loop(vectors), abs=1e-9)


def test_a_negative_pair_counts_as_zero_and_not_as_itself():
    vectors = np.array([[1, 0], [-1, 0], [1, 0]])
    assert scs(vectors) == pytest.approx(100 / 3)
    assert pairs(unit_rows(vectors)[0][None]).n_clamped[0] == 2


@pytest.mark.parametrize(("shift", "field"), [(0.5, "scs_pos"), (0.05, "scs_mixed")])
def test_golden_numbers_of_the_published_code(shift, field):
    if not GOLDEN.exists():
        pytest.skip("the golden numbers are not beside this checkout")
    golden = json.loads(GOLDEN.read_text())[field]
    vectors = np.random.RandomState(0).randn(20, 512) + shift
    assert scs(vectors) == pytest.approx(golden["f64_clamped"], abs=1e-9)
    assert scs(vectors) == pytest.approx(golden["orig"], abs=1e-5)
    assert pairs(unit_rows(vectors)[0][None]).n_clamped[0] == golden["n_clamped"]


def test_known_closed_cases():
    assert scs(np.ones((5, 3))) == 100.0
    assert scs(np.eye(4)) == 0.0
    assert np.isnan(scs(np.ones((1, 3))))
    assert np.isnan(scs(np.empty((0, 3))))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_invalid_rows_are_left_out(bad):
    vectors = sample(6)
    spoiled = np.insert(vectors, 3, bad, axis=0)
    assert scs(spoiled) == pytest.approx(scs(vectors), abs=1e-12)
    assert unit_rows(spoiled)[1].tolist() == [True, True, True, False, True, True, True]


@given(st.floats(1e-300, 1e300), st.integers(0, 10))
@settings(max_examples=50, deadline=None)
def test_the_length_of_a_vector_does_not_matter(scale, seed):
    vectors = sample(5, seed=seed).astype(np.float64)
    rescaled = vectors * np.array([scale, 1, 1, 2, 1])[:, None]
    assert scs(rescaled) == pytest.approx(scs(vectors), abs=1e-9)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    units = unit_rows(sample(50, shift=0.05))[0][None]
    whole = pairs(units)
    monkeypatch.setattr(MODULE, "BLOCK", 7)
    blocked = pairs(units)
    for field in ("mean", "rows", "minimum", "maximum"):
        np.testing.assert_allclose(getattr(blocked, field), getattr(whole, field), atol=1e-11)
    assert blocked.n_clamped == whole.n_clamped > 0


def test_a_large_group_is_held_in_blocks_whose_size_does_not_grow_with_it(monkeypatch):
    monkeypatch.setattr(MODULE, "BLOCK", 64)
    units = unit_rows(sample(4000, d=4))[0][None]
    tracemalloc.start()
    pairs(units)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < 64 * 4000 * 8


def test_groups_together_give_what_each_gives_alone():
    units = np.stack([unit_rows(sample(9, shift=s, seed=i))[0] for i, s in enumerate((0.0, 0.1, 1.0))])
    together = pairs(units)
    for g in range(3):
        alone = pairs(units[g : g + 1])
        np.testing.assert_allclose(together.rows[g], alone.rows[0], atol=1e-11)
        assert together.mean[g] == pytest.approx(alone.mean[0], abs=1e-11)
        assert together.n_clamped[g] == alone.n_clamped[0]


def test_smallest_and_largest_pair_ignore_the_diagonal_and_the_clamp():
    found = pairs(unit_rows(np.array([[1.0, 0], [-1, 0.1], [0, 1]]))[0][None])
    cosines = [-1 / np.sqrt(1.01), 0.0, 0.1 / np.sqrt(1.01)]
    assert found.minimum[0] == pytest.approx(100 * min(cosines))
    assert found.maximum[0] == pytest.approx(100 * max(cosines))


@pytest.mark.parametrize("shift", [0.0, 0.02, 1.0, 2.0])
def test_large_groups_take_the_closed_form_only_where_it_is_exact(monkeypatch, shift):
    units = unit_rows(sample(40, shift=shift))[0][None]
    exact = pairs(units)
    monkeypatch.setattr(MODULE, "MANY", 10)
    large = pairs(units)
    np.testing.assert_allclose(large.rows, exact.rows, atol=1e-9)
    assert large.mean == pytest.approx(exact.mean, abs=1e-9)
    assert large.n_clamped == exact.n_clamped
    assert np.isnan(large.minimum[0]) == all_acute(units) == (shift >= 2.0)


def test_jackknife_equals_leaving_each_image_out():
    vectors = sample(8, shift=0.05)
    left_out = np.array([scs(np.delete(vectors, i, axis=0)) for i in range(8)])
    expected = np.sqrt(7 / 8 * np.square(left_out - left_out.mean()).sum())
    rows = pairs(unit_rows(vectors)[0][None]).rows[0]
    assert leave_one_out_error(rows) == pytest.approx(expected, abs=1e-10)
    assert np.isnan(leave_one_out_error(rows[:2]))


def test_between_groups_is_the_mean_over_pairs_of_different_groups():
    groups = [unit_rows(sample(n, seed=n))[0] for n in (3, 5, 4)]
    cross = [100 * (a @ b.T).mean() for i, a in enumerate(groups) for b in groups[i + 1 :]]
    between = Between(16)
    between.add(np.stack([g.mean(axis=0) for g in groups[:2]]))
    between.add(groups[2].mean(axis=0)[None])
    assert between.value == pytest.approx(np.mean(cross), abs=1e-10)
    assert np.isnan(Between(16).value)


def test_corrected_puts_unrelated_at_zero_and_identical_at_hundred():
    assert corrected(60.0, 60.0) == 0.0
    assert corrected(100.0, 60.0) == 100.0
    assert corrected(80.0, 60.0) == pytest.approx(50.0)
    assert np.isnan(corrected(100.0, 100.0))


@pytest.mark.parametrize("wrong", [np.ones(4), np.ones((2, 2, 2)), np.ones((2, 2), complex), np.array([["a"]])])
def test_what_is_no_matrix_of_numbers_is_refused(wrong):
    with pytest.raises(UsageError, match=r"expected a \(N, D\) array"):
        scs(wrong)


def test_the_mean_over_groups_is_that_of_each_group_alone():
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((23, 6)) + 1
    rows[4] = 0  # no direction
    groups = ["a"] * 9 + ["b"] * 7 + ["alone"] + ["c"] * 6
    order = rng.permutation(23)
    found = consistency(rows[order], [groups[i] for i in order])
    each = [scs(rows[[i for i, group in enumerate(groups) if group == name]]) for name in "abc"]
    assert found.value == pytest.approx(np.mean(each), rel=1e-12)
    assert (found.n, found.params["n_excluded"], found.params["n_invalid"], found.params["n_images"]) == (3, 1, 1, 21)
    reach = 4.302652729911275 * np.std(each, ddof=1) / np.sqrt(3)  # Student's t with 2 degrees of freedom
    assert found.interval.high == pytest.approx(min(found.value + reach, 100), rel=1e-9)
    with pytest.raises(UsageError, match="23 embeddings and 2 groups"):
        consistency(rows, ["a", "b"])
