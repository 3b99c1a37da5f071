"""Edits: does the image change in the direction in which the text does, and how much of the image stays.

An edit is the difference of two unit embeddings. Its rounding matters more than that of an embedding: of two images
that differ by 0.001, embeddings stored as float16 give a direction that is off by up to 0.05, stored as float32 by
less than 0.00001. Hence float16 is refused where directions are compared.
"""

from __future__ import annotations

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.means import joined, mean_of, paired, paired_cosines, spans
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Score

TAU = 1e-4  # an edit shorter than this has no direction: float32 storage alone turns it by up to 0.001

DIRECTIONAL = Description(
    name="clip-directional",
    what="whether an image was edited in the direction in which its text was",
    formula="mean of cos(e(I1) - e(I0), e(T1) - e(T0)) over edits, e(.) unit embeddings of source (0) and target (1)",
    range="-1 to 1",
    better="higher",
    estimator=f"mean over edits; one of which a side is shorter than {TAU:g} is undefined and counted, not zero; "
    "interval by Student t over edits, as if independent; needs embeddings stored as float32",
    smallest_n=2,
    of="edits",
    source="Gal et al. 2021 (StyleGAN-NADA), arXiv 2108.00946; as a score in the evaluation guide of diffusers",
    presets={"gal2021": "unit embeddings, the plain mean of cosines: the number of the guide of diffusers"},
)

IMAGE_SIMILARITY = Description(
    name="image-similarity",
    what="how much of the source image an edited image keeps",
    formula="mean of 100 cos(e(I0), e(I1)) over pairs",
    range="-100 to 100",
    better="higher",
    estimator="mean over pairs, nothing clamped; interval by Student t over pairs, as if independent",
    smallest_n=2,
    of="pairs of images",
    source="the cosine of image embeddings, as in Radford et al. 2021 (CLIP), arXiv 2103.00020",
    presets={"unclamped": "100 cos; torchmetrics gives the same between images unless the mean is negative"},
)


def directional(i0: Array, i1: Array, t0: Array, t1: Array, *, tau: float = TAU) -> Score:
    """(N, D) embeddings of source and edited images and of source and target texts -> mean cosine of the two edits.

    -1 to 1, higher is better. Edits of which a side is shorter than `tau` are undefined: left out and counted, as are
    rows that are invalid; NaN when none is left. Gal et al. 2021, arXiv 2108.00946. Raises UsageError for float16, for
    shapes that differ and for `tau` below 0.
    """
    cosines, valid = _compared(i0, i1, t0, t1, tau)
    score = mean_of(
        DIRECTIONAL,
        cosines,
        (-1.0, 1.0),
        {
            "preset": "gal2021",
            "tau": tau,
            "n_invalid": int((~valid).sum()),
            "n_undefined": int((valid & np.isnan(cosines)).sum()),
        },
    )
    warn_if_few(DIRECTIONAL, score.n)
    return score


def directional_cosines(i0: Array, i1: Array, t0: Array, t1: Array, *, tau: float = TAU) -> Array:
    """The same for each edit: (N,) cosines, NaN where an edit is undefined or a row invalid."""
    return _compared(i0, i1, t0, t1, tau)[0]


def _compared(i0: Array, i1: Array, t0: Array, t1: Array, tau: float) -> tuple[Array, Array]:
    """(N,) cosines of the edits, NaN where there is none, and (N,) whether all four rows are valid."""
    if not tau >= 0:
        raise UsageError(f"directional similarity: tau of {tau}; the shortest edit that counts cannot be negative")
    four = paired([i0, i1, t0, t1], "directional similarity")
    for name, array in zip(("i0", "i1", "t0", "t1"), four, strict=True):
        if array.dtype == np.float16:
            raise UsageError(
                f"directional similarity: {name} is float16, whose rounding can outweigh a small edit (by 0.05 in the "
                "cosine of an edit of 0.001); store float32 embeddings"
            )
    parts = [_cosines([one[at] for one in four], tau) for at in spans(len(four[0]))]
    valid = np.concatenate([np.zeros(0, bool), *(valid for _, valid in parts)])
    return joined(cosines for cosines, _ in parts), valid


def _cosines(four: list[Array], tau: float) -> tuple[Array, Array]:
    (i0, v0), (i1, v1), (t0, v2), (t1, v3) = (unit_rows(rows) for rows in four)
    image, text = i1 - i0, t1 - t0
    lengths = np.linalg.norm(image, axis=1), np.linalg.norm(text, axis=1)
    valid = v0 & v1 & v2 & v3
    shorter = np.minimum(*lengths)
    defined = valid & (shorter >= tau) & (shorter > 0)
    product = lengths[0] * lengths[1]
    cosines = np.einsum("nd,nd->n", image, text) / np.where(defined, product, 1.0)
    return np.where(defined, np.clip(cosines, -1.0, 1.0), np.nan), valid


def image_similarity(i0: Array, i1: Array) -> Score:
    """(N, D) embeddings of source and of edited images -> mean of 100 cos, -100 to 100, nothing clamped.

    Higher means that more of the source is kept: 100 for an edit that changed nothing, so read it beside `directional`.
    Invalid rows are left out and counted. Raises UsageError when the shapes differ.
    """
    values = image_similarities(i0, i1)
    params = {"preset": "unclamped", "scale": 100.0, "n_invalid": int(np.isnan(values).sum())}
    score = mean_of(IMAGE_SIMILARITY, values, (-100.0, 100.0), params)
    warn_if_few(IMAGE_SIMILARITY, score.n)
    return score


def image_similarities(i0: Array, i1: Array) -> Array:
    """The same for each pair: (N,) of 100 cos, NaN where a row is invalid."""
    return 100.0 * paired_cosines(i0, i1, "image similarity")
