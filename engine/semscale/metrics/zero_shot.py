"""Zero-shot classification: the class of an image is the one whose texts its embedding is nearest to.

A class has one text for each template, and one vector: the mean of the unit embeddings of its texts, scaled to norm 1
again. Radford et al. 2021, arXiv 2103.00020, section 3.1.4. Where cosines are equal to within rounding (TIE), the class
that comes first in the list of labels goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import check_dims, matrix
from semscale.metrics.means import spans
from semscale.metrics.shares import share_of
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Score

TEMPLATES = ("A photo of a {}.",)
TIE = 1e-12  # cosines in float64 differ by less from rounding alone, up to thousands of dimensions
TOP = 5

ZERO_SHOT = Description(
    name="zero-shot",
    what="how often an image is nearest to the texts of its own class: top-1, top-5, and which class it is taken for",
    formula="share of images whose class is among the k of largest cosine, k = 1 and 5; a class's vector is the "
    "renormalised mean over templates of the unit embeddings of its texts",
    range="0 to 1; by chance k / classes",
    better="higher",
    estimator="a share of images; interval: Wilson over images, as if independent; equal cosines go by the order of "
    "the labels; invalid images are left out and counted",
    smallest_n=2,
    of="images",
    source="Radford et al. 2021 (CLIP), arXiv 2103.00020",
    presets={"radford2021": "embeddings, not probabilities, are averaged over templates; the templates belong to it"},
)


@dataclass(frozen=True, slots=True, eq=False)
class ZeroShot:
    """What N images were taken for among C classes."""

    top1: Score
    top5: Score
    predicted: Array  # (N,) int64 classes; -1 where the image is invalid
    confusion: Array  # (C, C) int64 images: true class by row, predicted class by column
    per_class: Array  # (C,) top-1 accuracy of each class; NaN where it has no valid image


def prompts(labels: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Each label in each template, where that says {}: all texts of the first label, then those of the second ...

    Their embeddings, reshaped to (C, P, D), are what `class_vectors` takes. Raises UsageError when there is no label or
    template, for a label given twice, and for a template that does not say {} exactly once.
    """
    if not labels or not templates:
        raise UsageError(f"zero-shot: {len(labels)} labels and {len(templates)} templates; give at least one of each")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if list(labels).count(label) > 1)
        raise UsageError(f"zero-shot: the label {twice!r} is there twice; keep one")
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(f"zero-shot: the template {template!r} must say {{}} once, where the label goes")
    return [template.replace("{}", label) for label in labels for template in templates]


def class_vectors(texts: Array) -> Array:
    """(C, P, D) embeddings of the texts of C classes by P templates -> (C, D) float64 vectors of norm 1.

    Radford et al. 2021, arXiv 2103.00020. Raises UsageError for another shape and for a text, or a class whose texts
    cancel out, that has no direction.
    """
    texts = np.asarray(texts)
    if texts.ndim != 3 or not all(texts.shape):
        raise UsageError(f"zero-shot: text embeddings of shape {texts.shape}; need (classes, templates, D)")
    classes, templates, dim = texts.shape
    units, valid = unit_rows(texts.reshape(-1, dim))
    if not valid.all():
        at, template = divmod(int(np.flatnonzero(~valid)[0]), templates)
        raise UsageError(
            f"zero-shot: the text of class {at} by template {template} is zero or not finite; embed it again"
        )
    vectors, valid = unit_rows(units.reshape(classes, templates, dim).mean(axis=1))
    if not valid.all():
        raise UsageError(f"zero-shot: the texts of class {np.flatnonzero(~valid)[0]} cancel out; change the templates")
    return vectors


def zero_shot(images: Array, classes: Array, truth: Array) -> ZeroShot:
    """(N, D) image embeddings, (C, D) class vectors and (N,) true classes from 0 -> how well they agree.

    Scores 0 to 1, higher is better. Invalid images are left out and counted. Radford et al. 2021, arXiv 2103.00020.
    Raises UsageError when shapes or classes do not fit, or a class vector has no direction.
    """
    images, vectors = matrix(images), _vectors(classes)
    check_dims(images.shape[1], vectors.shape[1])
    truth = _truth(truth, len(images), len(vectors))
    predicted, rank = np.empty(len(images), np.int64), np.empty(len(images), np.int64)
    for at in spans(len(images)):
        predicted[at], rank[at] = _classified(images[at], vectors, truth[at])
    return _summary(predicted, rank, truth, len(vectors))


def _classified(images: Array, vectors: Array, truth: Array) -> tuple[Array, Array]:
    """(n, D), (C, D), (n,) -> (n,) predicted classes, and how many come before the true one; -1 where invalid."""
    units, valid = unit_rows(images)
    cosines = units @ vectors.T
    own = np.take_along_axis(cosines, truth[:, None], axis=1)
    earlier = np.arange(len(vectors)) < truth[:, None]
    before = (cosines > own + TIE) | (earlier & (cosines >= own - TIE))
    predicted = np.argmax(cosines >= cosines.max(axis=1, keepdims=True) - TIE, axis=1)
    return np.where(valid, predicted, -1), np.where(valid, before.sum(axis=1), -1)


def _summary(predicted: Array, rank: Array, truth: Array, n_classes: int) -> ZeroShot:
    valid = predicted >= 0
    pairs = truth[valid] * n_classes + predicted[valid]
    confusion = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    of_class = confusion.sum(axis=1)
    per_class = np.where(of_class > 0, np.diag(confusion) / np.maximum(of_class, 1), np.nan)
    params = {
        "preset": "radford2021",
        "ties": "the label that comes first",
        "n_classes": n_classes,
        "n_invalid": int((~valid).sum()),
    }
    top1 = share_of("zero-shot-top1", predicted[valid] == truth[valid], "images", {**params, "k": 1})
    top5 = share_of("zero-shot-top5", rank[valid] < TOP, "images", {**params, "k": TOP})
    warn_if_few(ZERO_SHOT, top1.n)
    return ZeroShot(top1, top5, predicted, confusion, per_class)


def _vectors(classes: Array) -> Array:
    vectors, valid = unit_rows(matrix(classes))
    if not len(vectors):
        raise UsageError("zero-shot: no classes; give at least one")
    if not valid.all():
        at = np.flatnonzero(~valid)[0]
        raise UsageError(f"zero-shot: the vector of class {at} is zero or not finite; embed its texts again")
    return vectors


def _truth(truth: Array, n_images: int, n_classes: int) -> Array:
    of = np.asarray(truth)
    if of.shape != (n_images,):
        raise UsageError(f"zero-shot: {n_images} images and {of.size} true classes; need one for each")
    if len(of) and (not np.issubdtype(of.dtype, np.integer) or of.min() < 0 or of.max() >= n_classes):
        raise UsageError(f"zero-shot: true classes are whole numbers from 0 to {n_classes - 1}, the row of the label")
    return of.astype(np.int64)
