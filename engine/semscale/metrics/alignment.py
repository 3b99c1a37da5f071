"""CLIP score: how well an image matches its text.

The cosine of the two embeddings, scaled and clamped as one of several published programs does it. Higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description
from semscale.metrics.means import paired_cosines
from semscale.model import Array


@dataclass(frozen=True, slots=True)
class Preset:
    """One convention of the CLIP score; named after the program whose numbers it matches."""

    name: str
    scale: float
    clamp: str  # "item": each score at zero; "mean": only a mean; "none"
    prefix: str  # put before every text, part of the metric
    source: str


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("torchmetrics", 100.0, "mean", "", "torchmetrics CLIPScore: 0..100, a mean below zero becomes zero"),
        Preset("hessel2021", 2.5, "item", "A photo depicts ", "Hessel et al. 2021, arXiv 2104.08718: 0..2.5"),
        Preset("raw", 1.0, "none", "", "the cosine itself: -1..1"),
    )
}

CLIP_SCORE = Description(
    name="clip-score",
    what="how well images match their texts",
    formula="scale * cos(image, text), clamped as the preset says; the mean over images",
    range="that of the preset",
    better="higher",
    estimator="a plain mean; interval: Student's t over groups, ddof 1; images without a text are left out and counted",
    smallest_n=1,
    of="images with a text",
    source="Hessel et al. 2021, arXiv 2104.08718",
    presets={preset.name: preset.source for preset in PRESETS.values()},
)


def preset(name: str) -> Preset:
    """Look up a convention. Raises UsageError naming the choices."""
    if name not in PRESETS:
        raise UsageError(f"unknown CLIP score preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def clip_scores(images: Array, texts: Array, convention: Preset) -> Array:
    """(n, D) image and (n, D) text embeddings, row by row -> (n,) scores; NaN where either row is invalid."""
    if np.shape(images) != np.shape(texts):
        raise UsageError(
            f"clip score: {np.shape(images)} image and {np.shape(texts)} text embeddings; need one text an image"
        )
    cosines = paired_cosines(images, texts, "clip score")
    return convention.scale * (np.maximum(cosines, 0.0) if convention.clamp == "item" else cosines)


def mean_score(total: Array | float, count: Array | float, convention: Preset) -> Array:
    """Mean of scores given as sum and count, clamped where the convention clamps means; NaN where count is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.asarray(total, np.float64) / np.asarray(count, np.float64)
    return np.maximum(mean, 0.0) if convention.clamp == "mean" else mean
