"""Perceptual distances of pairs of images as scores: LPIPS, and the perceptual path length of a generator.

The distances themselves come from whoever runs the network; here they are numbers. Those that are not finite are left
out and counted.
"""

from __future__ import annotations

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.means import mean_of
from semscale.model import Array, Interval, Score
from semscale.stats.intervals import LEVEL, student_interval

NETS = {
    "alex": "AlexNet, version 0.1: the default of lpips, and of its nets the nearest to the judgements of people",
    "vgg": "VGG16, version 0.1: of torch-fidelity, and of path lengths since Karras et al. 2019",
    "squeeze": "SqueezeNet 1.1, version 0.1: the smallest",
}
EPSILON, LOWER, UPPER = 1e-4, 0.01, 0.99  # of Karras et al.
METHOD = "Student t of a trimmed mean over pairs (Tukey and McLaughlin 1963), as if independent"

LPIPS = Description(
    name="lpips",
    what="how different two images look, by the features of a network trained to tell objects apart",
    formula="mean over pairs of sum over layers of mean over positions of w . (u - v)^2, with u and v the layer's "
    "features of the two images, each divided by its length over channels, and w of that layer's head",
    range="at least 0",
    better="lower",
    estimator="mean over pairs; interval by Student t over pairs, as if independent",
    smallest_n=2,
    of="pairs of images",
    source="Zhang et al. 2018, arXiv 1801.03924",
    presets=NETS,
)
PPL = Description(
    name="ppl",
    what="perceptual path length: how much images change along a short step in the latent space of their generator",
    formula="mean of LPIPS(G(slerp(z1, z2, t)), G(slerp(z1, z2, t + eps))) / eps^2 without its extremes, eps = 1e-4, "
    "z1 and z2 normal, t uniform from 0 to 1",
    range="at least 0",
    better="lower",
    estimator="mean of what lies from the quantile of 1 % to that of 99 %, both rounded outwards, so for the mean of a "
    "trimmed distribution; interval by Student t of a trimmed mean. Images are compared before they are rounded: at "
    "this eps a rounding to 8 bits is most of the difference, and the number many times too large",
    smallest_n=1000,
    of="pairs of images",
    source="Karras et al. 2019, arXiv 1812.04948",
    presets={
        "karras2019": "full: t uniform, slerp in Z, eps 1e-4, 1 % left out at each end; 50,000 or 100,000 pairs",
        "karras2019-end": "the same with t = 0",
    },
)


def lpips(distances: Array, *, preset: str = "alex") -> Score:
    """(N,) LPIPS distances of pairs -> their mean, 0 or more, lower is more alike (Zhang et al. 2018).

    `preset` is the net that they are of. Raises UsageError for an unknown one, for distances that are not of one
    dimension, and for one below 0.
    """
    if preset not in NETS:
        raise UsageError(f"unknown LPIPS net {preset!r}; choose from {', '.join(NETS)}")
    values = _values(distances, LPIPS)
    params = {"preset": preset, "version": "0.1", "n_invalid": int(np.isnan(values).sum())}
    score = mean_of(LPIPS, values, (0.0, np.inf), params)
    warn_if_few(LPIPS, score.n)
    return score


def ppl(distances: Array, epsilon: float = EPSILON, *, lower: float = LOWER, upper: float = UPPER) -> Score:
    """(N,) distances of images a step of `epsilon` apart -> perceptual path length, 0 or more, lower is smoother.

    The mean of distances / epsilon^2 (Karras et al. 2019), without those beyond the quantiles `lower` and `upper`. As
    in the published program these are the nearest distances outside, which stay. Invalid distances are left out first,
    and counted. Raises UsageError for an epsilon that is not above 0, quantiles in another order than 0 <= lower <
    upper <= 1, and distances that are not of one dimension or below 0.
    """
    if not 0 < epsilon < np.inf:
        raise UsageError(f"path length: an epsilon of {epsilon}; give a small number above 0, such as 1e-4")
    if not 0 <= lower < upper <= 1:
        raise UsageError(f"path length: quantiles from {lower} to {upper}; need 0 <= lower < upper <= 1")
    values = _values(distances, PPL) / epsilon**2
    valid = values[~np.isnan(values)]
    low, high = _bounds(valid, lower, upper)
    kept = valid[(low <= valid) & (valid <= high)]
    params = {
        "epsilon": epsilon,
        "lower": lower,
        "upper": upper,
        "n_left_out": len(valid) - len(kept),
        "n_invalid": len(values) - len(valid),
    }
    warn_if_few(PPL, len(valid))
    value = float(kept.mean()) if len(kept) else float("nan")
    interval = _trimmed_interval(kept, np.clip(valid, low, high))
    return Score(PPL.name, value, len(kept), interval, False, params)


def _values(distances: Array, described: Description) -> Array:
    """(N,) float64, NaN where there is none."""
    values = np.asarray(distances, np.float64)
    if values.ndim != 1:
        raise UsageError(f"{described.name}: distances of the shape {values.shape}; give one number a pair, (N,)")
    if (values < 0).any():
        raise UsageError(f"{described.name}: a distance of {values[values < 0][0]:g}; there are none below 0")
    return np.where(np.isfinite(values), values, np.nan)


def _bounds(valid: Array, lower: float, upper: float) -> tuple[float, float]:
    if not len(valid):
        return 0.0, np.inf
    return float(np.quantile(valid, lower, method="lower")), float(np.quantile(valid, upper, method="higher"))


def _trimmed_interval(kept: Array, clipped: Array) -> Interval | None:
    """Interval of the mean of `kept`, from the spread of all values with the extremes drawn in; None for one value.

    The spread of what is left alone would be too narrow: which values are left is by chance too.
    """
    if len(kept) < 2:
        return None
    share = len(kept) / len(clipped)
    error = float(clipped.std(ddof=1)) / (share * np.sqrt(len(clipped)))
    low, high = student_interval(float(kept.mean()), error, len(kept), (0.0, np.inf))
    return Interval(float(low), float(high), LEVEL, METHOD)
