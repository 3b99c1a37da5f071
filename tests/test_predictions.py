import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import MissingDependencyError, UsageError
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.predictions import accuracy, bleu, mean_iou
from semscale.stats.intervals import mean_interval
from semscale.stats.proportions import wilson_interval

IGNORED = 255


def published():
    """The three images of the documentation of evaluate's mean_iou, predicted and true."""
    predicted = [[[1, 2], [3, 4], [5, 255]], [[2, 7], [9, 2], [3, 6]], [[2, 2, 3], [8, 2, 4], [3, 255, 2]]]
    true = [[[0, 3], [5, 4], [6, 255]], [[1, 7], [9, 2], [3, 6]], [[1, 2, 2], [8, 2, 1], [3, 255, 1]]]
    return [(np.array(one), np.array(other)) for one, other in zip(predicted, true, strict=True)]


def brute(masks, ignored):
    """Pixel by pixel -> pooled IoU of each class, and the mean IoU of each image."""
    pooled, per_image = {}, []
    for predicted, true in masks:
        own = {}
        for a, b in zip(np.ravel(predicted).tolist(), np.ravel(true).tolist(), strict=True):
            for label in {a, b} - {ignored} if b != ignored else ():
                for counts in (own, pooled):
                    both, either = counts.get(label, (0, 0))
                    counts[label] = both + (a == b), either + 1
        if own:
            per_image.append(np.mean([both / either for both, either in own.values()]))
    return {label: both / either for label, (both, either) in sorted(pooled.items())}, per_image


def test_accuracy_is_the_share_of_equal_labels():
    found = accuracy(["cat", "dog", "cat", "cat"], ["cat", "cat", "dog", "cat"])
    assert (found.metric, found.value, found.n) == ("accuracy", 0.5, 4)
    assert found.interval.low == wilson_interval(2, 4).low and "items" in found.interval.method
    assert accuracy(np.array([1, 2, 3]), np.array([1, 2, 4])).value == pytest.approx(2 / 3)


def test_missing_labels_are_counted_and_not_averaged():
    found = accuracy(["a", None, "b", "b"], ["a", "a", None, "a"])
    assert (found.value, found.n, found.params["n_missing"]) == (0.5, 2, 2)
    assert accuracy(np.array([1.0, np.nan, 2.0]), np.array([1.0, 1.0, 2.0])).params["n_missing"] == 1


def test_labels_written_differently_are_told():
    found = accuracy(["1.0", "2.0", "3"], ["1", "2", "3"])
    assert found.value == pytest.approx(1 / 3)
    assert found.params["n_unseen"] == 2


def test_accuracy_of_nothing_is_nan_and_lengths_must_fit():
    with pytest.warns(FewSamplesWarning, match="accuracy of 0 items"):
        found = accuracy([None], ["a"])
    assert np.isnan(found.value) and found.interval is None
    with pytest.raises(UsageError, match="2 predictions and 1 truths"):
        accuracy([1, 2], [1])


def test_mean_iou_is_that_of_evaluate():
    """Numbers of evaluate's documentation: num_labels=10, ignore_index=255."""
    found = mean_iou(published(), ignore_index=IGNORED)
    assert found.score.value == pytest.approx(0.4775, abs=1e-15)
    assert found.labels.tolist() == list(range(10))
    assert found.iou == pytest.approx([0, 0, 0.375, 0.4, 0.5, 0, 0.5, 1, 1, 1])
    assert (found.score.metric, found.score.n, found.score.interval) == ("mean-iou", 3, None)
    assert (found.score.params["n_pixels"], found.score.params["n_ignored_pixels"]) == (19, 2)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0, 3]))
@settings(max_examples=30, deadline=None)
def test_mean_iou_equals_the_definition_in_both_presets(seed, ignored):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, (4, 2))
    masks = [tuple(rng.integers(0, 5, (2, *size)).astype(np.uint8)) for size in sizes]
    pooled, per_image = brute(masks, ignored)
    if len(per_image) < 2:
        return
    found, each = (mean_iou(masks, ignore_index=ignored, preset=preset) for preset in ("pooled", "per-image"))
    assert dict(zip(found.labels.tolist(), found.iou, strict=True)) == pytest.approx(pooled)
    assert found.score.value == pytest.approx(np.mean(list(pooled.values())))
    assert each.score.value == pytest.approx(np.mean(per_image))
    assert each.score.interval.low == pytest.approx(mean_interval(np.array(per_image), (0, 1)).low)
    assert found.score.params["n_empty"] == each.score.params["n_empty"] == len(masks) - len(per_image)


def test_pooled_and_per_image_differ_and_truth_decides_what_is_ignored():
    small, large = np.zeros((1, 1), int), np.zeros((3, 3), int)
    masks = [(small + 1, small), (large, large)]
    assert mean_iou(masks).score.value == pytest.approx((9 / 10 + 0) / 2)
    assert mean_iou(masks, preset="per-image").score.value == pytest.approx((0 + 1) / 2)
    one, other = np.array([[0, IGNORED]]), np.array([[0, 0]])
    forth, back = (mean_iou([pair, pair], ignore_index=IGNORED) for pair in ((one, other), (other, one)))
    assert (forth.score.value, back.score.value) == (0.5, 1.0)
    assert forth.labels.tolist() == [0]  # predicting the ignored label is wrong, and it is no class


def test_masks_are_read_one_after_the_other():
    alive = []

    def masks():
        for _ in range(3):
            alive.append(len(alive))
            yield np.eye(2, dtype=bool), np.eye(2, dtype=np.uint16)

    found = mean_iou(masks())
    assert found.score.value == 1.0 and found.labels.tolist() == [0, 1] and len(alive) == 3


def test_images_without_a_counted_pixel_are_counted():
    ignored, whole = np.full((2, 2), 9), np.zeros((2, 2), int)
    found = mean_iou([(whole, ignored), (whole, whole), (whole, whole)], ignore_index=9, preset="per-image")
    assert (found.score.value, found.score.n, found.score.params["n_empty"]) == (1.0, 2, 1)
    with pytest.warns(FewSamplesWarning, match="mean-iou of 0 images"):
        nothing = mean_iou([])
    assert np.isnan(nothing.score.value) and len(nothing.labels) == 0


@pytest.mark.parametrize(
    ("predicted", "true", "said"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"masks 1 are \(2, 3\) and \(3, 2\)"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "predicted mask 1 is float64"),
        (np.zeros((2, 2), int), np.zeros((2, 2, 3), int), "true mask 1"),
        (np.zeros((1, 1), int), np.full((1, 1), 65_536), "true mask 1 has labels outside"),
        (np.full((1, 1), -1), np.zeros((1, 1), int), "predicted mask 1 has labels outside"),
    ],
)
def test_masks_that_do_not_fit_are_named(predicted, true, said):
    with pytest.raises(UsageError, match=said):
        mean_iou([(np.zeros((1, 1), int), np.zeros((1, 1), int)), (predicted, true)])


def test_an_unknown_preset_names_the_choices():
    with pytest.raises(UsageError, match="choose from pooled, per-image"):
        mean_iou([], preset="macro")


def test_bleu_without_sacrebleu_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(MissingDependencyError, match=r"BLEU needs sacrebleu.*semscale\[tasks\]"):
        bleu(["a"], [["a"]])


def test_a_broken_sacrebleu_is_not_explained_away(monkeypatch, tmp_path):
    (tmp_path / "sacrebleu.py").write_text("import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sacrebleu", raising=False)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        bleu(["a"], [["a"]])


def test_bleu_refuses_what_does_not_fit():
    with pytest.raises(UsageError, match="no truths"):
        bleu(["a"], [])
    with pytest.raises(UsageError, match="2 predictions and 1 truths"):
        bleu(["a", "b"], [["a", "b"], ["a"]])


def test_bleu_is_that_of_sacrebleu():
    """Numbers of its documentation."""
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    truths = [
        ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
        ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
    ]
    predicted = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    found = bleu(predicted, truths)
    assert found.value == pytest.approx(48.53, abs=0.005)
    assert found.params["signature"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert (found.metric, found.n, found.params["n_missing"]) == ("bleu", 3, 0)
    assert bleu(truths[0], [predicted]).value != pytest.approx(found.value, abs=1)


def test_bleu_worked_out_by_hand():
    """5 of 6 words, 3 of 5 pairs, 2 of 4 triples and 1 of 3 quadruples; 6 words for 8."""
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    found = bleu(["the cat sat on the mat", "", "left out", None], [["the cat sat on a mat", "a dog", "", "x"]])
    assert found.value == pytest.approx(100 * np.exp(1 - 8 / 6) * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert (found.n, found.params["n_missing"]) == (2, 2)


def test_an_empty_truth_is_none_beside_another():
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    predicted, true = ["a b c d e", "f g h i"], ["a b c d e", "f g h j"]
    alone, beside = bleu(predicted, [true]), bleu(predicted, [true, ["", None]])
    assert beside.value == alone.value and beside.params["signature"] == alone.params["signature"]


def test_bleu_of_nothing_is_nan():
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    with pytest.warns(FewSamplesWarning, match="bleu of 0 texts"):
        assert np.isnan(bleu([None], [["a"]]).value)
