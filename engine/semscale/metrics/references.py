"""RefCLIPScore: how well a text matches its image and what others have said of the same image.

The harmonic mean of the CLIP score w max(cos(image, text), 0) with w = 2.5, and of the largest cosine of the text with
a reference text, which w does not scale. The paper clamps that at zero too, the published program does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import check_dims, matrix
from semscale.metrics.means import cosines_of, joined, mean_of, paired, paired_cosines, spans
from semscale.model import Array, Score


@dataclass(frozen=True, slots=True)
class Convention:
    """One way of computing RefCLIPScore."""

    name: str
    scale: float  # w, of the image side alone
    clamp_references: bool  # the reference side at zero, as the image side always is
    prefix: str  # put before every text, references too; part of the metric
    source: str


PRESETS = {
    one.name: one
    for one in (
        Convention(
            "hessel2021", 2.5, True, "A photo depicts ", "the formula of the paper: both sides at zero or above"
        ),
        Convention(
            "hessel2021-program",
            2.5,
            False,
            "A photo depicts ",
            "the published program: a reference side below zero stays, where a harmonic mean means nothing",
        ),
    )
}
DEFAULT = PRESETS["hessel2021"]

REF_CLIP_SCORE = Description(
    name="ref-clip-score",
    what="how well a text matches its image and the reference texts of that image",
    formula="mean of 2 a b / (a + b), a = 2.5 max(cos(image, text), 0), b = max over refs of max(cos(text, ref), 0)",
    range="0 to 1.43 (2 * 2.5 / 3.5)",
    better="higher",
    estimator="mean over images; where both sides are zero it is undefined and counted; interval by Student t over "
    "images, as if independent",
    smallest_n=2,
    of="images",
    source="Hessel et al. 2021, arXiv 2104.08718",
    presets={one.name: one.source for one in PRESETS.values()},
)


def ref_clip_score(
    images: Array,
    texts: Array,
    references: Array,
    *,
    owners: Array | None = None,
    convention: Convention = DEFAULT,
) -> Score:
    """(N, D) image and text embeddings and (R, D) of reference texts -> mean RefCLIPScore, higher is better.

    `owners` (R,) gives the row of `texts` that each reference belongs to; without it there is one for each text, in
    order. Rows that are invalid or have no valid reference are left out and counted, and so is 0/0. Hessel et al. 2021,
    arXiv 2104.08718. Raises UsageError when shapes or owners do not fit.
    """
    image, reference = _sides(images, texts, references, owners)
    values = _harmonic(image, reference, convention)
    invalid = np.isnan(image) | np.isnan(reference)
    params = {
        "preset": convention.name,
        "scale": convention.scale,
        "clamp": "both sides" if convention.clamp_references else "image side",
        "prefix": convention.prefix,
        "n_references": len(references),
        "n_invalid": int(invalid.sum()),
        "n_undefined": int((np.isnan(values) & ~invalid).sum()),
        "n_clamped": int((~invalid & (image < 0)).sum()),
        "n_negative_references": int((~invalid & (reference < 0)).sum()),
    }
    score = mean_of(REF_CLIP_SCORE, values, bounds(convention), params)
    warn_if_few(REF_CLIP_SCORE, score.n)
    return score


def ref_clip_scores(
    images: Array,
    texts: Array,
    references: Array,
    *,
    owners: Array | None = None,
    convention: Convention = DEFAULT,
) -> Array:
    """The same for each image: (N,) scores, NaN where a row is invalid or the score undefined."""
    return _harmonic(*_sides(images, texts, references, owners), convention)


def _sides(images: Array, texts: Array, references: Array, owners: Array | None) -> tuple[Array, Array]:
    """(N,) cosines of image and text, and (N,) the largest cosine of text and reference; NaN where there is none."""
    images, texts = paired([images, texts], "RefCLIPScore, images and texts")
    references = matrix(references)
    check_dims(texts.shape[1], references.shape[1])
    of = _owners(owners, len(texts), len(references))
    cosines = joined(cosines_of(texts[of[at]], references[at]) for at in spans(len(references)))
    best = np.full(len(texts), np.nan)
    np.fmax.at(best, of, cosines)
    return paired_cosines(images, texts, "RefCLIPScore, images and texts"), best


def _owners(owners: Array | None, n_texts: int, n_references: int) -> Array:
    of = np.arange(n_texts) if owners is None else np.asarray(owners)
    if of.shape != (n_references,):
        raise UsageError(f"RefCLIPScore: {n_references} references and owners for {of.size}; need one owner for each")
    if len(of) and (not np.issubdtype(of.dtype, np.integer) or of.min() < 0 or of.max() >= n_texts):
        raise UsageError(f"RefCLIPScore: owners are whole numbers from 0 to {n_texts - 1}, the row of the text")
    return of.astype(np.int64)


def _harmonic(image: Array, reference: Array, convention: Convention) -> Array:
    a = convention.scale * np.maximum(image, 0.0)
    b = np.maximum(reference, 0.0) if convention.clamp_references else reference
    total = a + b
    return np.where(total != 0, 2.0 * a * b / np.where(total != 0, total, 1.0), np.nan)


def bounds(convention: Convention) -> tuple[float, float]:
    """The range of the score."""
    if not convention.clamp_references:  # a sum near zero has no bound, to either side
        return -np.inf, np.inf
    return 0.0, 2.0 * convention.scale / (convention.scale + 1.0)
