"""SSIM and multi-scale SSIM: how alike two images are in brightness, contrast and structure, window by window.

Two choices move the number more than most edits do: what becomes of colour, and of the border where the window hangs
over the edge. Neither is in the formula, so both are in the preset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.pixel import check_pair, mean_of_pairs
from semscale.metrics.windows import RADIUS, SCALE_WEIGHTS, luma, multi_scale, similarity
from semscale.model import Array, Score

SIDE = 2 * RADIUS + 1  # of the window, pixels


@dataclass(frozen=True, slots=True)
class Convention:
    """What becomes of colour and border; named after the program whose numbers it matches, or after its colour."""

    name: str
    colour: Literal["rgb", "grey"]  # each channel, then their mean; or the luma of the image, rounded
    border: Literal["excluded", "reflected"]  # windows that lie inside the image; or every pixel, the image mirrored
    smallest_side: int  # pixels; below it there is no value
    source: str


SSIM_PRESETS = {
    one.name: one
    for one in (
        Convention(
            "scikit-image",
            "rgb",
            "excluded",
            SIDE,
            "each of R, G and B, then their mean; windows inside the image only: structural_similarity("
            "gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=-1)",
        ),
        Convention(
            "grey",
            "grey",
            "excluded",
            SIDE,
            "luma 0.298936 R + 0.587043 G + 0.114021 B, rounded; windows inside the image only: ssim_index of Wang et "
            "al. after rgb2gray in MATLAB",
        ),
        Convention(
            "torchmetrics",
            "rgb",
            "reflected",
            RADIUS + 1,
            "each of R, G and B, then their mean; the image mirrored at its edges and the border averaged too: "
            "structural_similarity_index_measure with the range of the pixels as data_range",
        ),
    )
}

MS_SSIM_PRESETS = {
    one.name: one
    for one in (
        Convention(
            "grey",
            "grey",
            "excluded",
            SIDE * 2 ** (len(SCALE_WEIGHTS) - 1),
            "luma 0.298936 R + 0.587043 G + 0.114021 B, rounded; windows inside the image only: msssim of Wang et al. "
            "after rgb2gray in MATLAB",
        ),
        Convention(
            "rgb",
            "rgb",
            "excluded",
            SIDE * 2 ** (len(SCALE_WEIGHTS) - 1),
            "each of R, G and B through all scales, then their mean; windows inside the image only: "
            "tf.image.ssim_multiscale, and pytorch-msssim where both sides are multiples of 16",
        ),
    )
}

SSIM = Description(
    name="ssim",
    what="how alike two images are in brightness, contrast and structure, window by window",
    formula="mean over pairs, channels and windows of (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + "
    "s_b^2 + C2)), m, s^2 and s_ab mean, variance and covariance under a Gaussian of 11 x 11 pixels and sigma 1.5; "
    "C1 = 2.55^2, C2 = 7.65^2",
    range="-1 to 1; 1 for identical images",
    better="higher",
    estimator="population variances (weights sum to 1); one value a pair, then their mean; no resizing; a pair with a "
    "side below 11 pixels (torchmetrics: 6) has no value and is counted; interval by Student t over pairs, as if "
    "independent",
    smallest_n=2,
    of="pairs of images",
    source="Wang, Bovik, Sheikh and Simoncelli 2004, doi 10.1109/TIP.2003.819861",
    presets={one.name: one.source for one in SSIM_PRESETS.values()},
)

MS_SSIM = Description(
    name="ms-ssim",
    what="how alike two images are in contrast and structure at five scales, and in brightness at the coarsest",
    formula="mean over pairs of cs_1^0.0448 cs_2^0.2856 cs_3^0.3001 cs_4^0.2363 ssim_5^0.1333, cs_j the mean of "
    "(2 s_ab + C2) / (s_a^2 + s_b^2 + C2) over the windows of scale j, each scale the last one averaged over 2 x 2 "
    "pixels; a mean below 0 counts as 0",
    range="0 to 1; 1 for identical images",
    better="higher",
    estimator="windows and constants of ssim; an odd last row or column is repeated before it is averaged; one value "
    "a pair, then their mean; a pair with a side below 176 pixels (11 at the coarsest scale) has no value and is "
    "counted; interval by Student t over pairs, as if independent",
    smallest_n=2,
    of="pairs of images",
    source="Wang, Simoncelli and Bovik 2003, doi 10.1109/ACSSC.2003.1292216; torchmetrics averages the border and the "
    "channels of each scale, and matches neither preset",
    presets={one.name: one.source for one in MS_SSIM_PRESETS.values()},
)


def ssim(a: Array, b: Array, *, preset: str = "scikit-image") -> float:
    """Two (H, W, 3) RGB or (H, W) grey uint8 images -> structural similarity, -1 to 1; higher is more alike.

    A grey image is one channel in every preset. NaN where a side is smaller than the preset can do. Wang et al. 2004,
    doi 10.1109/TIP.2003.819861. Raises UsageError for an unknown preset and for what are not two images of one shape.
    """
    convention = _convention(SSIM, SSIM_PRESETS, preset)
    check_pair(SSIM.name, a, b)
    if min(a.shape[:2]) < convention.smallest_side:
        return float("nan")
    return float(np.mean([similarity(*planes)[0] for planes in _planes(a, b, convention)]))


def ms_ssim(a: Array, b: Array, *, preset: str = "grey") -> float:
    """Two (H, W, 3) RGB or (H, W) grey uint8 images -> multi-scale structural similarity, 0 to 1; higher is more alike.

    A grey image is one channel in every preset. NaN where a side is below 176 pixels, too small for five scales. Wang
    et al. 2003, doi 10.1109/ACSSC.2003.1292216. Raises UsageError as `ssim` does.
    """
    convention = _convention(MS_SSIM, MS_SSIM_PRESETS, preset)
    check_pair(MS_SSIM.name, a, b)
    if min(a.shape[:2]) < convention.smallest_side:
        return float("nan")
    return float(np.mean([multi_scale(*planes) for planes in _planes(a, b, convention)]))


def ssim_score(values: Array, *, preset: str = "scikit-image") -> Score:
    """(N,) similarities of pairs by one preset, NaN where a pair has none -> their mean; the NaNs are counted.

    Raises UsageError for an unknown preset and when `values` is no list of numbers.
    """
    score = mean_of_pairs(SSIM, values, (-1.0, 1.0), _params(_convention(SSIM, SSIM_PRESETS, preset)))
    warn_if_few(SSIM, score.n)
    return score


def ms_ssim_score(values: Array, *, preset: str = "grey") -> Score:
    """(N,) multi-scale similarities of pairs by one preset, NaN where a pair has none -> their mean; NaNs are counted.

    Raises UsageError for an unknown preset and when `values` is no list of numbers.
    """
    score = mean_of_pairs(MS_SSIM, values, (0.0, 1.0), _params(_convention(MS_SSIM, MS_SSIM_PRESETS, preset)))
    warn_if_few(MS_SSIM, score.n)
    return score


def _convention(described: Description, presets: Mapping[str, Convention], name: str) -> Convention:
    if name not in presets:
        raise UsageError(f"unknown {described.name} preset {name!r}; choose from {', '.join(presets)}")
    return presets[name]


def _params(convention: Convention) -> dict[str, str]:
    return {"preset": convention.name, "colour": convention.colour, "border": convention.border}


def _planes(a: Array, b: Array, convention: Convention) -> Iterator[tuple[Array, Array]]:
    """The pairs of (H, W) uint8 planes that the convention compares, mirrored at the edges where it says so."""
    if convention.colour == "grey" and a.ndim == 3:
        a, b = luma(a), luma(b)
    for x, y in zip(*(np.moveaxis(np.atleast_3d(image), 2, 0) for image in (a, b)), strict=True):
        if convention.border == "reflected":
            x, y = (np.pad(plane, RADIUS, mode="reflect") for plane in (x, y))
        yield x, y
