"""How far two images are apart, pixel by pixel: mean squared error and PSNR; and what every metric of pairs of images
does first and last.

One value for each pair, then their mean: errors pooled over pairs would let one bad pair hide all the good ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.means import mean_of
from semscale.model import Array, Score

PEAK = 255.0  # the largest difference of two pixels
BLOCK = 1 << 18  # values held as float64 at a time: what a core's cache holds
MIN_ROWS = 32  # of a block, however wide the image, so that overlapping ones do not mostly repeat each other

MSE = Description(
    name="mse",
    what="how far two images are apart, pixel by pixel",
    formula="mean over pairs of the mean of (a - b)^2 over pixels and channels, levels 0 to 255",
    range="0 to 65025",
    better="lower",
    estimator="one value a pair, then their mean, so small images count as much as large ones; interval by Student t "
    "over pairs, as if independent",
    smallest_n=2,
    of="pairs of images",
    source="the definition; the same as mean_squared_error of scikit-image",
    presets={"per-image": "R, G and B (or grey) as decoded, levels 0 to 255: mean_squared_error of scikit-image"},
)

PSNR = Description(
    name="psnr",
    what="how far two images are apart, pixel by pixel, in decibels of the largest possible difference",
    formula="mean over pairs of 10 log10(255^2 / mse(a, b)), in dB",
    range="at least 0 dB; infinite for identical images",
    better="higher",
    estimator="one value a pair, then their mean, not that of the pooled error; pairs of identical images, which are "
    "infinite, are left out of the mean and counted (n_identical), NaN when all are; interval by Student t over pairs, "
    "as if independent",
    smallest_n=2,
    of="pairs of images that differ",
    source="the definition; the same as peak_signal_noise_ratio of scikit-image",
    presets={
        "per-image": "R, G and B (or grey) as decoded, a range of 255: peak_signal_noise_ratio(data_range=255) of "
        "scikit-image for each pair. torchmetrics pools the error over all pairs first, which gives a lower number",
    },
)


def mse(a: Array, b: Array) -> float:
    """Two (H, W, 3) RGB or (H, W) grey uint8 images -> mean squared error in levels squared, 0 to 65025, exact.

    Lower is nearer. Raises UsageError when they are not two such images of one shape.
    """
    check_pair("mse", a, b)
    total = 0.0
    for rows in row_blocks(len(a), a[0].size):
        # Sums of squares of integers are whole and below 2^53, so nothing is rounded before the division.
        difference = np.subtract(a[rows], b[rows], dtype=np.float64).ravel()
        total += float(difference @ difference)
    return total / a.size


def psnr(a: Array, b: Array) -> float:
    """Two (H, W, 3) RGB or (H, W) grey uint8 images -> peak signal-to-noise ratio in dB; infinite for identical ones.

    Higher is nearer. Raises UsageError when they are not two such images of one shape.
    """
    error = mse(a, b)
    return float(10 * np.log10(PEAK**2 / error)) if error > 0 else float("inf")


def mse_score(values: Array) -> Score:
    """(N,) errors of pairs, NaN where a pair has none -> their mean; the NaNs are counted.

    Raises UsageError when `values` is no list of numbers.
    """
    score = mean_of_pairs(MSE, values, (0.0, PEAK**2), {"preset": "per-image"})
    warn_if_few(MSE, score.n)
    return score


def psnr_score(values: Array) -> Score:
    """(N,) ratios of pairs in dB, NaN where a pair has none -> the mean of the finite ones.

    Infinite ones, of identical images, are left out and counted, as are the NaNs; NaN when nothing is left. Raises
    UsageError when `values` is no list of numbers.
    """
    values = _numbers(PSNR, values)
    identical = np.isposinf(values)
    params = {"preset": "per-image", "n_identical": int(identical.sum())}
    score = mean_of_pairs(PSNR, values[~identical], (0.0, np.inf), params)
    warn_if_few(PSNR, score.n)
    return score


def mean_of_pairs(
    described: Description, values: Array, bounds: tuple[float, float], params: Mapping[str, Any]
) -> Score:
    """(N,) values of pairs, NaN where a pair has none -> their mean as a Score; the NaNs are counted.

    Raises UsageError when `values` is no list of numbers.
    """
    values = _numbers(described, values)
    return mean_of(described, values, bounds, {**params, "n_invalid": int(np.isnan(values).sum())})


def _numbers(described: Description, values: Array) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise UsageError(f"{described.name}: values of the shape {numbers.shape}; give one number for each pair")
    return numbers


def check_pair(metric: str, a: Array, b: Array) -> None:
    """Raise UsageError, naming the metric, unless a and b are uint8 images of one shape, (H, W, 3) or (H, W)."""
    for image in (a, b):
        colours = image.shape[2:] in ((), (3,))
        if image.ndim not in (2, 3) or not colours or image.dtype != np.uint8 or image.size == 0:
            raise UsageError(
                f"{metric}: an array of {image.dtype} {image.shape}; need pixels as uint8, (H, W, 3) RGB or (H, W) grey"
            )
    if a.shape != b.shape:
        raise UsageError(
            f"{metric}: images of the shapes {a.shape} and {b.shape}; pixels are compared one to one, so bring both to "
            "one size and one number of channels first"
        )


def row_blocks(rows: int, row_size: int) -> Iterator[slice]:
    """Cut `rows` rows of `row_size` values into consecutive blocks that fit a cache."""
    step = max(MIN_ROWS, BLOCK // row_size)
    for at in range(0, rows, step):
        yield slice(at, min(at + step, rows))
