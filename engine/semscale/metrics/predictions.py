"""Scores of predictions that were made elsewhere: accuracy of labels, mean IoU of label masks, BLEU of texts."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semscale.errors import MissingDependencyError, UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.means import mean_of
from semscale.metrics.shares import share_of
from semscale.model import Array, Score

LABELS = 65_536  # a mask's labels are below: what a PNG of 16 bits can hold

ACCURACY = Description(
    name="accuracy",
    what="how often a predicted label is the true one",
    formula="share of items with prediction = truth",
    range="0 to 1",
    better="higher",
    estimator="a share of items; interval: Wilson over items, as if independent; items without a prediction or a truth "
    "are left out and counted",
    smallest_n=2,
    of="items",
    source="a plain share; Wilson 1927, doi 10.1080/01621459.1927.10502953, for its interval",
)

MEAN_IOU_PRESETS = {
    "pooled": "intersections and unions are summed over all images, then the mean of their ratio over the classes that "
    "occur: mean_iou of evaluate, and the usual one",
    "per-image": "the mean over the classes that occur in an image, then over images: small objects count more",
}
MEAN_IOU = Description(
    name="mean-iou",
    what="how well predicted label masks cover the true ones: the mean intersection over union of the classes",
    formula="mean over classes c of |predicted c and true c| / |predicted c or true c|, in pixels",
    range="0 to 1",
    better="higher",
    estimator="classes absent from both masks are left out; pixels whose truth is the ignored label do not count, and "
    "that label is no class. Interval: none when pooled, else Student t over images, as if independent",
    smallest_n=2,
    of="images",
    source="Everingham et al. 2010 (PASCAL VOC), doi 10.1007/s11263-009-0275-4",
    presets=MEAN_IOU_PRESETS,
)

BLEU = Description(
    name="bleu",
    what="how many word sequences predicted texts share with the true ones",
    formula="100 BP exp(mean over n = 1..4 of ln p_n), p_n the clipped share of n-grams found in a truth, BP = "
    "min(1, exp(1 - r / c)), c and r the lengths of the predictions and of the truths nearest to them",
    range="0 to 100",
    better="higher",
    estimator="over the corpus, not a mean over texts; no interval. Texts without a truth, or with no prediction at "
    "all, are left out and counted; an empty prediction counts",
    smallest_n=2,
    of="texts",
    source="Papineni et al. 2002, doi 10.3115/1073083.1073135; Post 2018, doi 10.18653/v1/W18-6319",
    presets={"sacrebleu": "corpus BLEU of sacrebleu with its defaults; its signature, in params, says which"},
)


@dataclass(frozen=True, slots=True, eq=False)
class MeanIou:
    """How well label masks agree, and by class over all images."""

    score: Score
    labels: Array  # (C,) int64: the classes that occur, rising
    iou: Array  # (C,) of each, pooled over images whatever the preset


def accuracy(predicted: Sequence[Any] | Array, true: Sequence[Any] | Array) -> Score:
    """(N,) predicted and (N,) true labels, equal where they compare equal -> the share that is right, 0 to 1.

    An item with None or NaN on either side is left out and counted. `params["n_unseen"]` counts predictions that are
    no item's truth, which many are where the two were written differently. Raises UsageError when lengths differ.
    """
    if len(predicted) != len(true):
        raise UsageError(f"accuracy: {len(predicted)} predictions and {len(true)} truths; need one for each")
    pairs = [(a, b) for a, b in zip(_items(predicted), _items(true), strict=True) if not (_absent(a) or _absent(b))]
    known = {b for _, b in pairs}
    params = {
        "preset": "exact match",
        "n_classes": len(known),
        "n_unseen": sum(a not in known for a, _ in pairs),
        "n_missing": len(predicted) - len(pairs),
    }
    score = share_of(ACCURACY.name, np.array([a == b for a, b in pairs], bool), "items", params)
    warn_if_few(ACCURACY, score.n)
    return score


def mean_iou(
    masks: Iterable[tuple[Array, Array]], *, ignore_index: int | None = None, preset: str = "pooled"
) -> MeanIou:
    """Predicted and true label masks, both (H, W) whole numbers, one image after the other -> their mean IoU, 0 to 1.

    Labels are 0 to 65535. Where the truth is `ignore_index`, pixels do not count, and it is no class; a pixel predicted
    as it elsewhere is wrong. Images without a pixel that counts are left out and counted. Holds one image at a time.
    Raises UsageError when two masks differ in shape, a label does not fit, or for an unknown preset.
    """
    if preset not in MEAN_IOU_PRESETS:
        raise UsageError(f"unknown mean IoU preset {preset!r}; choose from {', '.join(MEAN_IOU_PRESETS)}")
    tally = _Tally(ignore_index)
    for at, (predicted, true) in enumerate(masks):
        tally.add(_mask(predicted, at, "predicted"), _mask(true, at, "true"))
    labels = np.flatnonzero(tally.either)
    params = {
        "preset": preset,
        "ignore_index": ignore_index,
        "n_classes": len(labels),
        "n_pixels": tally.n_pixels,
        "n_ignored_pixels": tally.n_ignored,
        "n_empty": int(np.isnan(tally.per_image).sum()),
    }
    score = mean_of(MEAN_IOU, np.array(tally.per_image), (0.0, 1.0), params)
    if preset == "pooled":
        score = dataclasses.replace(score, value=_mean(tally.both, tally.either), interval=None)
    warn_if_few(MEAN_IOU, score.n)
    return MeanIou(score, labels, tally.both[labels] / tally.either[labels])


def bleu(predicted: Sequence[str | None], truths: Sequence[Sequence[str | None]]) -> Score:
    """N predicted texts and one or more lists of N true ones -> corpus BLEU as sacrebleu computes it, 0 to 100.

    A text has as many truths as lists hold one for it: None and "" are none. Those without any, or whose prediction is
    None, are left out and counted. Post 2018, doi 10.18653/v1/W18-6319. Raises UsageError when there is no list or
    lengths differ, and MissingDependencyError without sacrebleu.
    """
    if not truths:
        raise UsageError("BLEU: no truths; give at least one list of them")
    for column in truths:
        if len(column) != len(predicted):
            raise UsageError(f"BLEU: {len(predicted)} predictions and {len(column)} truths; need one for each")
    references = [tuple(text or None for text in texts) for texts in zip(*truths, strict=True)]
    kept = [(text, texts) for text, texts in zip(predicted, references, strict=True) if text is not None and any(texts)]
    score = _corpus_bleu(kept, len(predicted) - len(kept))
    warn_if_few(BLEU, score.n)
    return score


def _corpus_bleu(kept: list[tuple[str, tuple[str | None, ...]]], n_missing: int) -> Score:
    try:
        sacrebleu = importlib.import_module("sacrebleu")
    except ModuleNotFoundError as error:
        if error.name != "sacrebleu":
            raise  # it is there and broken: not for us to explain away
        raise MissingDependencyError("BLEU", "sacrebleu", "tasks") from error
    params: dict[str, Any] = {"preset": "sacrebleu", "n_missing": n_missing}
    if not kept:
        return Score(BLEU.name, float("nan"), 0, None, True, params)
    computed = sacrebleu.metrics.BLEU(force=True)  # else it would log what it thinks of tokenised text
    found = computed.corpus_score([text for text, _ in kept], list(zip(*(texts for _, texts in kept), strict=True)))
    params |= {
        "signature": str(computed.get_signature()),
        "brevity_penalty": float(found.bp),
        "precisions": [float(share) for share in found.precisions],
        "length": int(found.sys_len),
        "length_true": int(found.ref_len),
    }
    return Score(BLEU.name, float(found.score), len(kept), None, True, params)


class _Tally:
    """Pixels in both masks and in either, by class, summed over images; and the mean IoU of each image."""

    def __init__(self, ignore_index: int | None) -> None:
        self._ignored = ignore_index
        self.both, self.either = np.zeros(LABELS, np.int64), np.zeros(LABELS, np.int64)
        self.per_image: list[float] = []  # NaN where no pixel counts
        self.n_pixels = self.n_ignored = 0

    def add(self, predicted: Array, true: Array) -> None:
        """Count one image, both masks (H, W)."""
        if predicted.shape != true.shape:
            at = len(self.per_image)
            raise UsageError(f"mean IoU: masks {at} are {predicted.shape} and {true.shape}; need one shape")
        counts = np.ones(true.shape, bool) if self._ignored is None else true != self._ignored
        both, either = self._areas(predicted[counts], true[counts])
        self.both += both
        self.either += either
        self.per_image.append(_mean(both, either))
        self.n_pixels += int(np.count_nonzero(counts))
        self.n_ignored += int(np.count_nonzero(~counts))

    def _areas(self, predicted: Array, true: Array) -> tuple[Array, Array]:
        """(p,) labels of the pixels that count -> (LABELS,) pixels in both, and (LABELS,) pixels in either."""
        both = np.bincount(true[predicted == true], minlength=LABELS)
        either = np.bincount(predicted, minlength=LABELS) + np.bincount(true, minlength=LABELS) - both
        if self._ignored is not None and 0 <= self._ignored < LABELS:
            either[self._ignored] = 0
        return both, either


def _mean(intersection: Array, union: Array) -> float:
    occurs = union > 0
    return float((intersection[occurs] / union[occurs]).mean()) if occurs.any() else float("nan")


def _mask(mask: Array, at: int, which: str) -> Array:
    labels = np.asarray(mask)
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(f"mean IoU: {which} mask {at} is {labels.dtype} {labels.shape}; need (H, W) whole numbers")
    if labels.size and (labels.min() < 0 or labels.max() >= LABELS):
        raise UsageError(f"mean IoU: {which} mask {at} has labels outside 0 to {LABELS - 1}; number the classes from 0")
    return labels


def _items(labels: Sequence[Any] | Array) -> list[Any]:
    return labels.tolist() if isinstance(labels, np.ndarray) else list(labels)


def _absent(label: Any) -> bool:
    return label is None or label != label
