import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics import features, means, retrieval
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.retrieval import image_to_text, text_to_image
from semscale.stats.proportions import wilson_interval

pytestmark = pytest.mark.filterwarnings("ignore::semscale.metrics.description.FewSamplesWarning")
AXES = np.eye(5)
KS = (1, 3, 50)  # the last is above the number of candidates


def usable(row):
    return np.isfinite(row).all() and (row != 0).any()


def brute(queries, candidates, pairs, ks):
    """The definition: each query's candidates sorted by cosine, what is not relevant first where they are equal."""
    queries, candidates = np.asarray(queries, np.float64), np.asarray(candidates, np.float64)
    valid = [c for c in range(len(candidates)) if usable(candidates[c])]
    rows = []
    for q, query in enumerate(queries):
        relevant = {c for a, c in pairs if a == q and c in valid}
        if not usable(query) or not relevant:
            continue
        cosine = {
            c: round(float(query @ candidates[c] / np.linalg.norm(query) / np.linalg.norm(candidates[c])), 10)
            for c in valid
        }
        order = sorted(valid, key=lambda c: (-cosine[c], c in relevant, c))
        ranks = [place for place, c in enumerate(order, start=1) if c in relevant]
        rows.append(
            {
                "first": ranks[0],
                "hit": [ranks[0] <= k for k in ks],
                "share": [sum(rank <= k for rank in ranks) / len(ranks) for k in ks],
                "precision": [sum(rank <= k for rank in ranks) / k for k in ks],
                "ap": math.fsum(j / rank for j, rank in enumerate(ranks, start=1)) / len(ranks),
            }
        )
    return rows


def same(found, rows, preset="hit"):
    assert found.median_rank.n == len(rows)
    assert [score.value for score in found.recall] == pytest.approx(np.mean([row[preset] for row in rows], axis=0))
    assert [score.value for score in found.precision] == pytest.approx(
        np.mean([row["precision"] for row in rows], axis=0)
    )
    assert found.mean_average_precision.value == pytest.approx(np.mean([row["ap"] for row in rows]))
    assert found.median_rank.value == np.median([row["first"] for row in rows])
    assert found.first_rank[found.first_rank > 0].tolist() == [row["first"] for row in rows]


def both(images, texts, belongs, preset="hit"):
    """Check both directions against the definition."""
    of = np.asarray(belongs)
    pairs = list(enumerate(of.tolist())) if of.ndim == 1 else [tuple(pair) for pair in of.tolist()]
    there = image_to_text(images, texts, of, tops=KS, preset=preset)
    back = text_to_image(images, texts, of, tops=KS, preset=preset)
    same(there, brute(images, texts, pairs, KS), preset)
    same(back, brute(texts, images, [(text, image) for image, text in pairs], KS), preset)
    return there, back


def case(n=30, m=9, d=6, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    texts, of = rng.standard_normal((m, d)).astype(np.float32), rng.integers(0, m, n)
    return (texts[of] + noise * rng.standard_normal((n, d))).astype(np.float32), texts, of


@pytest.mark.parametrize("preset", ["hit", "share"])
@pytest.mark.parametrize(("n", "m", "d"), [(30, 9, 6), (9, 30, 4), (1, 5, 3), (40, 1, 3), (80, 2, 8)])
def test_equals_the_definition_in_both_directions(n, m, d, preset):
    both(*case(n, m, d, seed=n), preset)


def test_directions_are_not_exchanged():
    """Three images of the first text, of which the last is nearer to the second text than that text's own image is."""
    images = np.array([[1, 0.1], [1, 0.2], [0.1, 1.0], [0.2, 1.0]])
    there, back = both(images, AXES[:2, :2], [0, 0, 0, 1])
    assert there.first_rank.tolist() == [1, 1, 2, 1] and back.first_rank.tolist() == [1, 2]
    assert (there.recall[0].value, back.recall[0].value) == (3 / 4, 1 / 2)
    assert (there.median_rank.value, back.median_rank.value) == (1.0, 1.5)
    assert back.mean_average_precision.value == pytest.approx(((1 + 1 + 3 / 4) / 3 + 1 / 2) / 2)
    assert there.mean_average_precision.value == pytest.approx((1 + 1 + 1 / 2 + 1) / 4)
    assert back.precision[1].value == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert there.recall[0].metric == "retrieval-image-to-text-recall@1"
    assert back.median_rank.metric == "retrieval-text-to-image-median-rank"
    assert not back.median_rank.higher_is_better and back.recall[0].higher_is_better


def test_hit_and_share_are_two_conventions():
    images = np.array([[1, 0.1], [1, 0.2], [0.1, 1.0], [0, 1.0]])
    back = text_to_image(images, AXES[:2, :2], np.array([0, 0, 0, 1]), tops=(1,), preset="share")
    assert back.recall[0].value == pytest.approx((1 / 3 + 1) / 2)
    assert back.recall[0].params["preset"] == "share"


def test_precision_divides_by_k_even_above_the_number_of_candidates():
    found = image_to_text(AXES, AXES, np.arange(5), tops=(1, 5, 50))
    assert [score.value for score in found.precision] == pytest.approx([1, 1 / 5, 1 / 50])
    assert [score.value for score in found.recall] == [1, 1, 1]
    assert found.recall[2].params["k"] == 50 and found.recall[2].params["n_candidates"] == 5


@given(st.integers(0, 2**32 - 1), st.sampled_from(["hit", "share"]))
@settings(max_examples=40, deadline=None)
def test_ties_and_duplicates_and_several_of_each(seed, preset):
    """Rows of a few small numbers: many are equal, some are zero, some are not finite; any pairs at all."""
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 9, 2)
    images, texts = (rng.integers(-1, 2, (size, 2)).astype(np.float32) for size in (n, m))
    images[rng.random(n) < 0.1] = np.nan
    pairs = np.stack([rng.integers(0, n, 12), rng.integers(0, m, 12)], axis=1)
    if len(brute(images, texts, pairs.tolist(), KS)):
        both(images, texts, pairs, preset)


def test_a_model_that_says_the_same_of_everything_finds_nothing():
    there = image_to_text(np.ones((20, 7)), np.ones((20, 7)), np.arange(20))
    assert [score.value for score in there.recall] == [0, 0, 0]
    assert there.median_rank.value == 20


@pytest.mark.parametrize("size", [3, 40])
def test_copies_of_a_text_tie_with_it_wherever_they_stand(size):
    """Rounding must not tell copies apart, whatever the shape of the product."""
    rng = np.random.default_rng(size)
    texts = np.repeat(rng.standard_normal((size, 37)), 2, axis=0)
    found = image_to_text(texts + 0.0, texts, np.arange(2 * size), tops=(1, 2))
    assert [score.value for score in found.recall] == [0, 1]


def test_invalid_rows_are_counted_and_not_averaged():
    images, texts = AXES[[0, 1, 2, 3]].copy(), AXES[:4].copy()
    images[0], texts[3] = np.nan, 0
    found = image_to_text(images, texts, np.arange(4), tops=(1,))
    assert (found.recall[0].value, found.recall[0].n) == (1.0, 2)
    params = found.recall[0].params
    assert (params["n_invalid"], params["n_invalid_candidates"], params["n_without_relevant"]) == (1, 1, 1)
    assert found.first_rank.tolist() == [0, 1, 1, 0]
    assert (params["n_queries"], params["n_candidates"]) == (2, 3)


def test_texts_without_images_distract_and_are_no_queries():
    texts = np.array([[1.0, 0.3], [1.0, 0.0], [0.0, 1.0]])
    there, back = both(np.array([[1.0, 0.0]]), texts, [0])
    assert there.median_rank.value == 2
    assert (back.median_rank.n, back.median_rank.params["n_without_relevant"]) == (1, 2)


def test_nothing_to_ask_is_nan():
    with pytest.warns(FewSamplesWarning, match="of 0 images with a text"):
        found = image_to_text(np.zeros((3, 5)), AXES, np.zeros(3, int))
    assert np.isnan([found.recall[0].value, found.mean_average_precision.value, found.median_rank.value]).all()
    assert found.recall[0].interval is None and found.first_rank.tolist() == [0, 0, 0]
    assert np.isnan(image_to_text(AXES, AXES, np.zeros((0, 2), int)).recall[0].value)


@pytest.mark.parametrize("few", [0, 1, 16])
def test_blocks_and_ways_of_counting_change_nothing(monkeypatch, few):
    images, texts, of = case(70, 11, noise=2.0)
    whole = [find(images, texts, of, tops=KS) for find in (image_to_text, text_to_image)]
    for module in (features, means):
        monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(retrieval, "FEW", few)
    for find, one in zip((image_to_text, text_to_image), whole, strict=True):
        part = find(images, texts, of, tops=KS)
        assert (part.first_rank == one.first_rank).all()
        assert part.mean_average_precision.value == one.mean_average_precision.value


def test_memory_does_not_grow_with_the_product_of_both():
    images, texts, of = case(6000, 5000, 4)  # 240 MB of cosines
    tracemalloc.start()
    try:
        text_to_image(images, texts, of)
        image_to_text(images, texts, of)
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types_are_read_as_they_are(dtype):
    images, texts, of = case()
    both(images.astype(dtype), texts.astype(dtype), of)


def test_intervals_take_images_of_one_text_as_one():
    images, texts, of = case(400, 20, noise=3.0)
    there, back = image_to_text(images, texts, of), text_to_image(images, texts, of)
    hits = round(there.recall[0].value * 400)
    alone = wilson_interval(hits, 400)
    clustered = there.recall[0].interval
    assert "clusters" in clustered.method and clustered.low < there.recall[0].value < clustered.high
    assert (clustered.low, clustered.high) != pytest.approx((alone.low, alone.high), abs=1e-3)
    hits = round(back.recall[0].value * 20)
    assert back.recall[0].interval.low == wilson_interval(hits, 20).low
    assert 0 <= back.mean_average_precision.interval.low <= back.mean_average_precision.value


def test_hits_that_all_agree_are_not_certain():
    found = image_to_text(np.repeat(AXES, 40, axis=0), AXES, np.repeat(np.arange(5), 40), tops=(1,))
    assert found.recall[0].value == 1.0
    assert found.recall[0].interval.low == wilson_interval(5, 5).low  # five texts, not 200 images


def test_a_pair_given_twice_counts_once():
    images, texts, of = case()
    pairs = np.stack([np.arange(30), of], axis=1)
    once, twice = (text_to_image(images, texts, each) for each in (pairs, np.concatenate([pairs, pairs])))
    assert once.mean_average_precision.value == twice.mean_average_precision.value


@pytest.mark.parametrize(
    ("belongs", "options", "said"),
    [
        ([0, 1], {}, "5 images"),
        ([0, 1, 2, 3, 5], {}, "texts 0 to 4"),
        ([-1, 0, 0, 0, 0], {}, "not there"),
        ([[5, 0]], {}, "images 0 to 4"),
        ([0.0] * 5, {}, "whole numbers"),
        (range(5), {"tops": (0,)}, "from 1"),
        (range(5), {"tops": ()}, "tops"),
        (range(5), {"tops": (1.5,)}, "tops"),
        (range(5), {"preset": "recall"}, "choose from hit, share"),
    ],
)
def test_what_does_not_fit_is_refused(belongs, options, said):
    for find in (image_to_text, text_to_image):
        with pytest.raises(UsageError, match=said):
            find(AXES, AXES, np.array(belongs), **options)


def test_sides_of_two_encoders_are_refused():
    with pytest.raises(UsageError, match="same encoder"):
        image_to_text(AXES, AXES[:, :4], np.arange(5))
