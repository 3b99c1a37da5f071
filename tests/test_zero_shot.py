import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics import features, means
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.zero_shot import ZERO_SHOT, class_vectors, prompts, zero_shot
from semscale.stats.proportions import wilson_interval

AXES = np.eye(6)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def brute(images, classes, truth):
    """Classes of each image by falling cosine, then by label; image by image."""
    orders = []
    for image in unit(np.asarray(images, np.float64)):
        cosines = [round(float(image @ label), 10) for label in unit(np.asarray(classes, np.float64))]
        orders.append(sorted(range(len(classes)), key=lambda c: (-cosines[c], c)))
    ranks = np.array([order.index(true) for order, true in zip(orders, truth, strict=True)])
    confusion = np.zeros((len(classes), len(classes)), int)
    for order, true in zip(orders, truth, strict=True):
        confusion[true, order[0]] += 1
    return (ranks < 1).mean(), (ranks < 5).mean(), confusion


def case(n=60, c=8, d=12, seed=0):
    rng = np.random.default_rng(seed)
    classes = rng.standard_normal((c, d))
    truth = rng.integers(0, c, n)
    return (classes[truth] + 1.5 * rng.standard_normal((n, d))).astype(np.float32), unit(classes), truth


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_equals_the_definition(dtype):
    images, classes, truth = case()
    found = zero_shot(images.astype(dtype), classes, truth)
    top1, top5, confusion = brute(images.astype(dtype), classes, truth)
    assert (found.top1.value, found.top5.value) == pytest.approx((top1, top5), abs=1e-12)
    assert (found.confusion == confusion).all()
    assert 0.3 < top1 < top5 < 1  # or the case would say nothing
    assert found.top1.interval.low == wilson_interval(round(top1 * 60), 60).low
    assert "images" in found.top1.interval.method
    assert found.top1.n == found.confusion.sum() == 60


def test_confusion_is_by_true_row_and_predicted_column():
    found = zero_shot(AXES[[0, 0, 1, 2]], AXES[:3], np.array([0, 1, 1, 1]))
    assert found.confusion.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert found.per_class == pytest.approx([1.0, 1 / 3, np.nan], nan_ok=True)
    assert found.predicted.tolist() == [0, 0, 1, 2]
    assert (found.top1.metric, found.top1.value) == ("zero-shot-top1", 0.5)
    assert (found.top5.metric, found.top5.value) == ("zero-shot-top5", 1.0)  # of three classes, all are among five


def test_top5_stops_after_the_fifth():
    image = np.array([[6.0, 5, 4, 3, 2, 1]])
    hits = [zero_shot(np.repeat(image, 2, axis=0), AXES, np.full(2, true)).top5.value for true in range(6)]
    assert hits == [1, 1, 1, 1, 1, 0]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_equal_classes_go_by_the_order_of_labels(seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(-1, 2, (7, 3)).astype(np.float64)  # many are equal
    classes[~classes.any(axis=1)] = 1.0
    images, truth = rng.standard_normal((9, 3)), rng.integers(0, 7, 9)
    found = zero_shot(images, classes, truth)
    top1, top5, confusion = brute(images, classes, truth)
    assert (found.top1.value, found.top5.value) == pytest.approx((top1, top5), abs=1e-12)
    assert (found.confusion == confusion).all()


def test_an_encoder_that_says_the_same_of_all_predicts_the_first_label():
    found = zero_shot(np.ones((7, 6)), np.ones((7, 6)), np.arange(7))
    assert found.top1.value == pytest.approx(1 / 7)
    assert found.top5.value == pytest.approx(5 / 7)


def test_invalid_images_are_counted_and_not_averaged():
    images = AXES[[0, 1, 2, 0]].copy()
    images[1], images[2, 0] = 0, np.nan
    found = zero_shot(images, AXES, np.array([0, 1, 2, 1]))
    assert (found.top1.value, found.top1.n, found.top1.params["n_invalid"]) == (0.5, 2, 2)
    assert found.predicted.tolist() == [0, -1, -1, 0]
    assert found.confusion.sum() == 2


def test_nothing_valid_is_nan():
    with pytest.warns(FewSamplesWarning, match="zero-shot of 0 images"):
        found = zero_shot(np.zeros((3, 6)), AXES, np.zeros(3, int))
    assert np.isnan(found.top1.value) and found.top1.interval is None and np.isnan(found.per_class).all()


def test_blocks_change_nothing(monkeypatch):
    images, classes, truth = case(n=50)
    whole = zero_shot(images, classes, truth)
    monkeypatch.setattr(means, "BLOCK", 7)
    monkeypatch.setattr(features, "BLOCK", 7)
    parts = zero_shot(images, classes, truth)
    assert (parts.predicted == whole.predicted).all() and parts.top5.value == whole.top5.value


def test_relabelling_the_classes_permutes_the_confusion():
    images, classes, truth = case()
    order = np.random.default_rng(1).permutation(len(classes))
    found, back = zero_shot(images, classes, truth), zero_shot(images, classes[order], np.argsort(order)[truth])
    assert (back.confusion == found.confusion[np.ix_(order, order)]).all()
    assert back.top1.value == found.top1.value


def test_class_vectors_are_renormalised_means_of_unit_embeddings():
    texts = np.random.default_rng(0).standard_normal((4, 3, 5)) * np.array([1.0, 10.0, 0.1])[:, None]
    expected = unit(unit(texts).mean(axis=1))
    assert class_vectors(texts) == pytest.approx(expected, abs=1e-15)
    assert class_vectors(texts) != pytest.approx(unit(texts.mean(axis=1)), abs=1e-3)  # lengths must not weigh
    assert class_vectors(texts[:, :1]) == pytest.approx(unit(texts[:, 0]), abs=1e-15)


def test_prompts_come_label_by_label_as_class_vectors_take_them():
    assert prompts(["cat", "{x}"], ["a {}.", "{}"]) == ["a cat.", "cat", "a {x}.", "{x}"]
    assert prompts(["cat"]) == ["A photo of a cat."]


@pytest.mark.parametrize(
    ("labels", "templates", "said"),
    [
        ([], ["{}"], "0 labels"),
        (["a"], [], "0 templates"),
        (["a", "a"], ["{}"], "'a' is there twice"),
        (["a"], ["photo"], "'photo' must say"),
        (["a"], ["{} {}"], "once"),
    ],
)
def test_wrong_labels_and_templates_are_refused(labels, templates, said):
    with pytest.raises(UsageError, match=said):
        prompts(labels, templates)


def test_texts_without_direction_are_named():
    texts = np.random.default_rng(0).standard_normal((3, 2, 4))
    texts[2, 1] = np.nan
    with pytest.raises(UsageError, match="class 2 by template 1"):
        class_vectors(texts)
    with pytest.raises(UsageError, match="class 0 cancel out"):
        class_vectors(np.array([[[1.0, 0], [-1.0, 0]]]))
    with pytest.raises(UsageError, match="shape"):
        class_vectors(texts[0])


@pytest.mark.parametrize(
    ("classes", "truth", "said"),
    [
        (AXES[:5, :5], [0, 1], "dimensions"),
        (AXES, [0], "2 images and 1 true"),
        (AXES, [0, 6], "0 to 5"),
        (AXES, [-1, 0], "0 to 5"),
        (AXES, [0.0, 1.0], "whole numbers"),
        (np.zeros((2, 6)), [0, 1], "class 0"),
        (AXES[:0], [0, 0], "no classes"),
    ],
)
def test_what_does_not_fit_is_refused(classes, truth, said):
    with pytest.raises(UsageError, match=said):
        zero_shot(AXES[:2], classes, np.array(truth))


def test_description_names_itself():
    assert ZERO_SHOT.name == "zero-shot" and "radford2021" in ZERO_SHOT.presets
