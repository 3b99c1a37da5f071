"""How good an image looks, from its embedding alone: between two opposite prompts, or by a linear head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import matrix, slices
from semscale.metrics.means import joined, mean_of
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Score

SCALE = 100.0  # what CLIP multiplies cosines by before a softmax

ANTONYMS = {  # what is judged -> the positive and the negative prompt
    "quality": ("Good photo.", "Bad photo."),
    "brightness": ("Bright photo.", "Dark photo."),
    "noisiness": ("Clean photo.", "Noisy photo."),
    "colourfulness": ("Colorful photo.", "Dull photo."),
    "sharpness": ("Sharp photo.", "Blurry photo."),
    "contrast": ("High contrast photo.", "Low contrast photo."),
    "complexity": ("Complex photo.", "Simple photo."),
    "natural": ("Natural photo.", "Synthetic photo."),
    "happy": ("Happy photo.", "Sad photo."),
    "scary": ("Scary photo.", "Peaceful photo."),
    "new": ("New photo.", "Old photo."),
}

CLIP_IQA = Description(
    name="clip-iqa",
    what="which of two opposite prompts an image is nearer to, as a probability of the positive one",
    formula="mean of exp(s p) / (exp(s p) + exp(s q)), p, q the cosines with the positive and negative prompt, s = 100",
    range="0 to 1",
    better="higher",
    estimator="mean over images; interval by Student t over images, as if independent, too short where nearly all are "
    "at 0 or 1. The paper's encoder is a CLIP ResNet-50 without positional embedding on images of any size; another "
    "encoder gives another scale",
    smallest_n=2,
    of="images",
    source="Wang, Chan and Loy 2022, arXiv 2207.12396",
    presets={name: f"{positive!r} against {negative!r}" for name, (positive, negative) in ANTONYMS.items()},
)

AESTHETIC = Description(
    name="aesthetic",
    what="the rating that a linear head, trained on ratings of people, gives to an image",
    formula="mean of w . e + b over images, e the unit embedding, w and b the head's",
    range="that of the ratings, about 0 to 10 for the heads of LAION; not bounded",
    better="higher",
    estimator="mean over images; interval by Student t over images, as if independent",
    smallest_n=2,
    of="images",
    source="Schuhmann et al. 2022 (LAION-5B), arXiv 2210.08402, section 3; the heads are those of aesthetic-predictor",
    presets={"linear": "one linear layer over unit embeddings of the encoder that it was trained on"},
)


@dataclass(frozen=True, slots=True)
class LinearHead:
    """One linear layer over unit embeddings."""

    weight: Array  # (D,) float64
    bias: float
    name: str  # the file it came from
    sha256: str  # of that file; "" where there is none


def clip_iqa(images: Array, positive: Array, negative: Array, *, scale: float = SCALE) -> Score:
    """(N, D) image embeddings and the (D,) embeddings of two opposite prompts -> mean probability of the positive one.

    0 to 1, higher is better. Invalid images are left out and counted. Wang et al. 2022, arXiv 2207.12396. Raises
    UsageError when a prompt does not fit or has no direction, and for a `scale` that is not above 0.
    """
    values = clip_iqa_scores(images, positive, negative, scale=scale)
    preset = "clip-iqa" if scale == SCALE else f"scale {scale:g}"
    params = {"preset": preset, "scale": scale, "n_invalid": int(np.isnan(values).sum())}
    score = mean_of(CLIP_IQA, values, (0.0, 1.0), params)
    warn_if_few(CLIP_IQA, score.n)
    return score


def clip_iqa_scores(images: Array, positive: Array, negative: Array, *, scale: float = SCALE) -> Array:
    """The same for each image: (N,) probabilities, NaN where the image is invalid."""
    if not 0 < scale < np.inf:
        raise UsageError(f"CLIP-IQA: a scale of {scale}; give a number above 0")
    images = matrix(images)
    towards = _prompt(positive, images.shape[1], "positive") - _prompt(negative, images.shape[1], "negative")
    return scipy.special.expit(scale * _projected(images, towards))


def aesthetic(images: Array, head: LinearHead) -> Score:
    """(N, D) image embeddings and a head of D weights -> the mean rating; higher is better.

    Invalid images are left out and counted. Raises UsageError when the head is for embeddings of another width.
    """
    values = aesthetic_scores(images, head)
    params = {
        "preset": "linear",
        "head": head.name,
        "head_sha256": head.sha256,
        "n_invalid": int(np.isnan(values).sum()),
    }
    score = mean_of(AESTHETIC, values, (-np.inf, np.inf), params)
    warn_if_few(AESTHETIC, score.n)
    return score


def aesthetic_scores(images: Array, head: LinearHead) -> Array:
    """The same for each image: (N,) ratings, NaN where the image is invalid."""
    images = matrix(images)
    if head.weight.shape != (images.shape[1],):
        raise UsageError(
            f"aesthetic score: {head.name} is for embeddings of {head.weight.size} numbers, these have "
            f"{images.shape[1]}; use the encoder that the head was trained on"
        )
    return _projected(images, head.weight) + head.bias


def _projected(images: Array, weight: Array) -> Array:
    """(N, D), (D,) -> (N,) products of unit rows with the weight; NaN where a row is invalid."""

    def projected(rows: Array) -> Array:
        units, valid = unit_rows(rows)
        return np.where(valid, units @ weight, np.nan)

    return joined(projected(rows) for rows in slices(images))


def _prompt(embedding: Array, dim: int, name: str) -> Array:
    """(D,) or (1, D) -> (D,) of norm 1."""
    row = np.asarray(embedding)
    if row.shape not in ((dim,), (1, dim)):
        raise UsageError(f"CLIP-IQA: the {name} prompt has the shape {row.shape}; need one embedding, ({dim},)")
    units, valid = unit_rows(row.reshape(1, dim))
    if not valid[0]:
        raise UsageError(f"CLIP-IQA: the embedding of the {name} prompt is zero or not finite; embed the prompt again")
    return units[0]
