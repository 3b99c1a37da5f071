"""The arithmetic of SSIM: one plane of pixels against another, under a Gaussian window of 11 x 11."""

from __future__ import annotations

import numpy as np
import scipy

from semscale.metrics.pixel import PEAK, row_blocks
from semscale.model import Array

RADIUS = 5  # of the window, pixels
SIGMA = 1.5  # of its weights, pixels
C1 = (0.01 * PEAK) ** 2  # what keeps the quotients of dark and of flat windows defined
C2 = (0.03 * PEAK) ** 2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest
LUMA = np.array([298_936, 587_043, 114_021], np.int32)  # millionths of R, G and B


def _window() -> Array:
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    return weights / weights.sum()


WINDOW = _window()


def luma(image: Array) -> Array:
    """(H, W, 3) uint8 RGB -> (H, W) uint8 luma, halves rounded up, in whole numbers and so the same everywhere."""
    grey = np.empty(image.shape[:2], np.uint8)
    for rows in row_blocks(*grey.shape):
        grey[rows] = (image[rows] @ LUMA + 500_000) // 1_000_000
    return grey


def multi_scale(x: Array, y: Array) -> float:
    """Two (H, W) planes -> the weighted product of what their scales give."""
    product = 1.0
    for weight in SCALE_WEIGHTS[:-1]:
        _, contrast = similarity(x, y)
        product *= max(contrast, 0.0) ** weight
        x, y = _halved(x), _halved(y)
    return product * max(similarity(x, y)[0], 0.0) ** SCALE_WEIGHTS[-1]


def _halved(plane: Array) -> Array:
    """(H, W) -> (ceil H / 2, ceil W / 2) float64 means of 2 x 2 pixels; an odd last row or column is repeated."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    upper = np.add(even[::2, ::2], even[::2, 1::2], dtype=np.float64)
    lower = np.add(even[1::2, ::2], even[1::2, 1::2], dtype=np.float64)
    return (upper + lower) / 4


def similarity(x: Array, y: Array) -> Array:
    """Two (H, W) planes of at least 11 x 11 -> (2,): the means over windows of SSIM and of its contrast-structure part.

    Block by block, so that memory does not grow with the image; each window is computed as if there were one block.
    """
    height, width = x.shape[0] - 2 * RADIUS, x.shape[1] - 2 * RADIUS
    total = np.zeros(2)
    for windows in row_blocks(height, width):
        rows = slice(windows.start, windows.stop + 2 * RADIUS)
        total += _sums(x[rows].astype(np.float64), y[rows].astype(np.float64))
    return total / (height * width)


def _sums(x: Array, y: Array) -> tuple[float, float]:
    """Two blocks of float64 pixels -> the sums over their windows of SSIM and of its contrast-structure part."""
    mean_x, mean_y, power, product = _windowed(np.stack([x, y, x * x + y * y, x * y]))
    means, mean_power = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    contrast = (2 * (product - means) + C2) / (power - mean_power + C2)  # the variances are only needed added up
    luminance = (2 * means + C1) / (mean_power + C1)
    return float((luminance * contrast).sum()), float(contrast.sum())


def _windowed(planes: Array) -> Array:
    """(n, h, w) -> (n, h - 10, w - 10) means under the window, where it lies inside."""
    inside = slice(RADIUS, -RADIUS)
    down = scipy.ndimage.correlate1d(planes, WINDOW, axis=1, mode="nearest")[:, inside]
    return scipy.ndimage.correlate1d(down, WINDOW, axis=2, mode="nearest")[..., inside]
