"""The Inception Score: images that a classifier is sure about, one by one, and of many classes together.

    exp(mean of KL(p(y | x) || p(y)))

with p(y) the mean of p(y | x) over the images of a split. The name belongs to the Inception network's logits, without
bias; of another classifier it is another number, and `name` must say so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import Features, open_features
from semscale.model import Array, Score


@dataclass(frozen=True, slots=True)
class Preset:
    """One convention of the Inception Score; named after the program whose numbers it matches."""

    name: str
    shuffled: bool  # before splitting, by numpy's RandomState
    ddof: int  # of the spread over splits
    ragged: bool  # all splits but the last of equal size, rounded up: there may be fewer than asked for
    source: str


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("torch-fidelity", True, 0, False, "torch-fidelity: shuffled by RandomState(2020), ddof 0"),
        Preset(
            "torchmetrics", True, 1, True, "torchmetrics: torch.chunk's splits, ddof 1; its own shuffle has no seed"
        ),
        Preset("salimans2016", False, 0, False, "the code of the paper: in the order given, ddof 0"),
    )
}

INCEPTION_SCORE = Description(
    name="inception-score",
    what="how sure a classifier is of each image, and how many classes the images spread over",
    formula="exp(mean over images of KL(p(y | x) || mean of p(y | x))) in each split, then the mean over splits",
    range="1 to the number of classes",
    better="higher",
    estimator="biased downwards where a split has few images; the spread is the standard deviation over splits, with "
    "the ddof of the preset, and not how sure the score is. No interval",
    smallest_n=10_000,  # as many images in each of ten splits as there are classes
    of="images",
    source="Salimans et al. 2016, arXiv 1606.03498",
    presets={preset.name: preset.source for preset in PRESETS.values()},
)
CLASSIFIER_SCORE = replace(
    INCEPTION_SCORE,
    name="classifier-score",
    what="the formula of the Inception Score with another classifier: another number, which must not be called IS",
    formula="as inception-score, of that classifier's logits, its bias included",
)


def inception_score(
    logits: Array,
    splits: int = 10,
    *,
    preset: str = "torch-fidelity",
    seed: int = 2020,
    name: str = INCEPTION_SCORE.name,
) -> Score:
    """(N, K) logits of K classes -> Inception Score, 1 to K, higher is better (Salimans et al. 2016).

    `seed` shuffles, where the preset does. Warns where a split has fewer images than there are classes, all of which it
    then cannot show. Rows with a NaN or an infinity are left out and counted. Raises UsageError for an unknown preset,
    and when a split would be empty.
    """
    convention, images = _convention(preset), open_features(logits)
    n = len(images)
    if not 1 <= splits <= n:
        raise UsageError(f"{name}: {splits} splits of {n} valid images; choose from 1 to as many as there are images")
    warn_if_few(replace(INCEPTION_SCORE, name=name, smallest_n=splits * images.dim), n)
    order = np.random.RandomState(seed).permutation(n) if convention.shuffled else np.arange(n)
    edges = _edges(n, splits, convention)
    scores = np.array([_score(images.take(np.sort(order[low:high]))) for low, high in pairwise(edges)])
    params = {
        "preset": preset,
        "splits": len(scores),
        "spread": float(scores.std(ddof=convention.ddof)) if len(scores) > convention.ddof else float("nan"),
        "ddof": convention.ddof,
        "seed": seed if convention.shuffled else None,
        "n_classes": images.dim,
        "n_invalid": images.n_invalid,
    }
    return Score(name, float(scores.mean()), n, None, True, params)


def _convention(name: str) -> Preset:
    if name not in PRESETS:
        raise UsageError(f"unknown Inception Score preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def _edges(n: int, splits: int, convention: Preset) -> list[int]:
    """Where each split begins, and where the last one ends."""
    if convention.ragged:
        return [*range(0, n, -(-n // splits)), n]
    return [i * n // splits for i in range(splits + 1)]


def _score(images: Features) -> float:
    """Score of one split: exp(entropy of the mean - mean entropy), block by block."""
    total, negentropy = np.zeros(images.dim), 0.0
    for block in images.blocks():
        logs = scipy.special.log_softmax(block, axis=1)
        probabilities = np.exp(logs)
        total += probabilities.sum(axis=0)
        negentropy += float((probabilities * logs).sum())
    divergence = negentropy / len(images) + scipy.special.entr(total / len(images)).sum()
    return float(np.exp(max(divergence, 0.0)))  # rounding may leave it below zero
