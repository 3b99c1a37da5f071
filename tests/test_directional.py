import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics import means
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.directional import (
    DIRECTIONAL,
    IMAGE_SIMILARITY,
    TAU,
    directional,
    directional_cosines,
    image_similarities,
    image_similarity,
)

GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "metrics" / "golden.json"


def four(n=8, d=6, *, seed=0):
    r = np.random.RandomState(seed)
    rows = [r.randn(n, d) for _ in range(4)]
    return [one / np.linalg.norm(one, axis=1, keepdims=True) for one in rows]


def edited(lengths, d=32):
    """Unit rows in float64 whose image edits are of given lengths, along the second axis; text edits of length 1."""
    n = len(lengths)
    i0, t0, t1 = np.zeros((n, d)), np.zeros((n, d)), np.zeros((n, d))
    i0[:, 0] = 1
    angle = 2 * np.arcsin(np.asarray(lengths) / 2)
    i1 = np.zeros((n, d))
    i1[:, 0], i1[:, 1] = np.cos(angle), np.sin(angle)
    t0[:, 2] = 1
    t1[:, 1], t1[:, 2] = np.sqrt(3) / 2, 0.5
    return i0, i1, t0, t1


def test_golden_number():
    if not GOLDEN.exists():
        pytest.skip("the golden numbers are not beside this checkout")
    golden = json.loads(GOLDEN.read_text())["directional_mean"]
    assert directional(*four(64, 512, seed=1)).value == pytest.approx(golden[0], abs=1e-12)


def test_equals_the_definition_row_by_row():
    i0, i1, t0, t1 = four()
    expected = []
    for a, b, c, d in zip(i0, i1, t0, t1, strict=True):
        image, text = b - a, d - c
        expected.append(math.fsum(image * text) / math.sqrt(math.fsum(image * image) * math.fsum(text * text)))
    np.testing.assert_allclose(directional_cosines(i0, i1, t0, t1), expected, atol=1e-13)
    assert directional(i0, i1, t0, t1).value == pytest.approx(np.mean(expected), abs=1e-13)


def test_the_direction_of_an_edit_counts():
    i0, i1, t0, t1 = four()
    forth = directional(i0, i1, t0, t1).value
    assert directional(i1, i0, t0, t1).value == pytest.approx(-forth, abs=1e-13)
    assert directional(i1, i0, t1, t0).value == pytest.approx(forth, abs=1e-13)
    assert abs(directional(i0, t0, i1, t1).value - forth) > 0.01  # no image is to be taken for a text
    assert directional(i0, i1, i0, i1).value == pytest.approx(1.0)


def test_lengths_of_embeddings_do_not_matter():
    i0, i1, t0, t1 = four()
    scale = np.arange(1, 9)[:, None]
    expected = directional(i0, i1, t0, t1).value
    assert directional(i0 * scale, i1 * 7, t0 / scale, t1 * 1e5).value == pytest.approx(expected, abs=1e-12)


@given(st.permutations(range(8)), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_the_order_of_edits_does_not_matter(order, seed):
    rows = four(seed=seed)
    assert directional(*(one[order] for one in rows)).value == pytest.approx(directional(*rows).value, abs=1e-12)


def test_edits_of_no_length_are_undefined_and_counted_and_never_zero():
    i0, i1, t0, t1 = four(d=9)
    expected = directional_cosines(i0, i1, t0, t1)[3:].mean()
    i1[0] = i0[0] * 2  # the same direction
    t1[1] = t0[1]
    i1[2], t1[2] = i0[2], t0[2]
    score = directional(i0, i1, t0, t1)
    assert score.value == pytest.approx(expected, abs=1e-12)
    assert (score.n, score.params["n_undefined"], score.params["n_invalid"]) == (5, 3, 0)
    assert np.isnan(directional_cosines(i0, i1, t0, t1)).tolist() == [True] * 3 + [False] * 5


def test_tau_says_which_edits_are_too_short():
    rows = edited([0.5 * TAU, 2 * TAU, 0.01, 0.5])
    assert directional(*rows).params["n_undefined"] == 1
    assert directional(*rows, tau=0.005).params["n_undefined"] == 2
    assert directional(*rows, tau=0).params["n_undefined"] == 0
    with pytest.warns(FewSamplesWarning, match="clip-directional of 0"):
        assert np.isnan(directional(*rows, tau=3).value)
    with pytest.raises(UsageError, match="tau of -1"):
        directional(*rows, tau=-1)


def test_even_at_a_tau_of_zero_no_edit_is_undefined():
    i0, i1, t0, t1 = four(4)
    i1[0] = i0[0]
    assert directional(i0, i1, t0, t1, tau=0).params["n_undefined"] == 1


def test_short_edits_keep_their_direction_in_float32():
    """Why float16 is refused: the same edits stored in it are off by more than a hundred times as much."""
    r = np.random.RandomState(0)
    i0, _, t0, t1 = four(200, 512)
    i1 = i0 + 0.001 * four(200, 512, seed=3)[0] * (1 + r.rand(200, 1))
    exact = directional_cosines(i0, i1, t0, t1)
    stored = directional_cosines(i0.astype(np.float32), i1.astype(np.float32), t0, t1)
    halved = directional_cosines(
        i0.astype(np.float16).astype(np.float32), i1.astype(np.float16).astype(np.float32), t0, t1
    )
    assert np.abs(stored - exact).max() < 2e-5
    assert np.abs(halved - exact).max() > 2e-3


@pytest.mark.parametrize("place", range(4))
def test_float16_is_refused_by_name(place):
    rows = four()
    rows[place] = rows[place].astype(np.float16)
    for function in (directional, directional_cosines):
        with pytest.raises(UsageError, match=rf"{('i0', 'i1', 't0', 't1')[place]} is float16.*store float32"):
            function(*rows)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_invalid_rows_are_left_out_and_counted_apart(place, bad):
    rows = four()
    expected = directional_cosines(*rows)[1:].mean()
    rows[place][0] = bad
    score = directional(*rows)
    assert score.value == pytest.approx(expected, abs=1e-12)
    assert (score.n, score.params["n_invalid"], score.params["n_undefined"]) == (7, 1, 0)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    rows = four(40)
    rows[1][11] = rows[0][11]
    whole = directional(*rows), image_similarity(*rows[:2])
    monkeypatch.setattr(means, "BLOCK", 7)
    assert (directional(*rows), image_similarity(*rows[:2])) == whole


def test_one_edit_and_none():
    with pytest.warns(FewSamplesWarning, match="clip-directional of 1 edits: below 2"):
        score = directional(*four(1))
    assert (score.n, score.interval) == (1, None)
    assert directional_cosines(*four(0)).shape == (0,)


def test_shapes_that_do_not_fit_are_refused():
    i0, i1, t0, t1 = four()
    with pytest.raises(UsageError, match="8 rows beside 7"):
        directional(i0, i1[:7], t0, t1)
    with pytest.raises(UsageError, match="6 and of 5 dimensions"):
        directional(i0, i1, t0[:, :5], t1)


def test_the_interval_is_that_of_a_mean():
    rows = four(25)
    cosines = directional_cosines(*rows)
    interval = directional(*rows).interval
    reach = 2.0638985616 * cosines.std(ddof=1) / 5  # t, 24 degrees of freedom, 97.5 %
    assert interval.low == pytest.approx(cosines.mean() - reach, abs=1e-9)
    assert interval.high == pytest.approx(cosines.mean() + reach, abs=1e-9)


def test_image_similarity_is_a_hundred_cosines_and_keeps_its_sign():
    i0 = np.array([[1.0, 0], [1, 0], [2, 2], [0, 0]])
    i1 = np.array([[-3.0, 0], [1, 1], [5, 5], [1, 0]])
    np.testing.assert_allclose(image_similarities(i0, i1), [-100, 100 / math.sqrt(2), 100, np.nan], atol=1e-9)
    score = image_similarity(i0, i1)
    assert score.value == pytest.approx(100 / math.sqrt(2) / 3)
    assert (score.n, score.params["n_invalid"], score.params["preset"]) == (3, 1, "unclamped")
    assert image_similarity(i0.astype(np.float16), i1).value == pytest.approx(score.value)  # no small edit is taken


def test_scores_say_what_they_are():
    rows = four()
    assert directional(*rows).metric == DIRECTIONAL.name == "clip-directional"
    assert image_similarity(*rows[:2]).metric == IMAGE_SIMILARITY.name == "image-similarity"
    assert directional(*rows).params["tau"] == TAU
    assert directional(*rows).params["preset"] in DIRECTIONAL.presets
