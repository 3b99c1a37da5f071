"""The Fréchet distance between the features of two sets of images: FID and its kin, which differ by the encoder.

    |mu_a - mu_b|^2 + Tr(S_a) + Tr(S_b) - 2 Tr((S_a S_b)^(1/2))

With F_a and F_b any matrices of which F^T F is the covariance, the last trace is the sum of the singular values of
F_a F_b^T, so no root of a matrix is taken, which for S_a S_b is slow and may come out complex. Where a set has N < D
rows, F is those rows less their mean and the singular values are found as such, a problem of N x N: roots of rounded
eigenvalues would add about 1e-8 for each of the directions without spread, of which there are many. Otherwise F is a
Cholesky factor, and they are roots of eigenvalues of a symmetric matrix, which takes a third of the time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import Features, check_dims, open_features
from semscale.metrics.moments import Moments, moments, moments_of_blocks
from semscale.model import Array, Score

POINTS = 15  # of the sweep over N, as in the paper
START = 5000  # the smallest N of the sweep, as in the paper; a tenth of the set where that is less

FID = Description(
    name="fid",
    what="distance between two sets of images as Gaussians in the features of the FID Inception network",
    formula="|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)), of the 2048 pool3 features",
    range="at least 0; 0 where mean and covariance are the same",
    better="lower",
    estimator="covariances divided by n - 1. Biased upwards, the more the smaller the sets: compare at equal n, or "
    "use fid-infinity. No interval: resampling images is biased too",
    smallest_n=2049,  # a covariance of 2048 dimensions has full rank
    of="images of each set",
    source="Heusel et al. 2017, arXiv 1706.08500",
    presets={
        "torch-fidelity": "model fid-inception: TensorFlow 1's bilinear resize; torch-fidelity and the paper",
        "clean-fid": "model fid-inception-clean: Pillow's bicubic resize on floats; clean-fid",
        "pytorch-fid": "model fid-inception-pytorch: torch's bilinear resize; pytorch-fid",
        "torchmetrics": "model fid-inception-torchmetrics: torch's antialiased bilinear resize; torchmetrics from 1.8",
    },
)
FID_CLIP = replace(
    FID,
    name="fid-clip",
    what="distance between two sets of images as Gaussians in the features of a CLIP image tower",
    formula="as fid, of image embeddings as semscale stores them, scaled to length 1",
    smallest_n=513,
    source="Kynkäänniemi et al. 2023, arXiv 2203.06026",
    presets={"unit": "embeddings of length 1; published numbers are of embeddings before that, and on another scale"},
)
FD_DINOV2 = replace(
    FID,
    name="fd-dinov2",
    what="distance between two sets of images as Gaussians in the features of DINOv2",
    formula="as fid, of the class token; of ViT-L/14 in the paper",
    smallest_n=1025,
    source="Stein et al. 2023, arXiv 2306.04675",
    presets={},
)
FID_INFINITY = replace(
    FID,
    name="fid-infinity",
    what="the Fréchet distance that endlessly many generated images would have, without the bias of few",
    formula=f"intercept of the least squares line through FID_N against 1/N, over {POINTS} values of N",
    range="may be slightly negative",
    estimator="the generated set is drawn without replacement at each N, afresh, from a stated seed; the reference set "
    "stays whole, so the bias of its size stays. No interval: the points share images",
    of="images in the smallest draw",
    source="Chong and Forsyth 2020, arXiv 1911.07023",
    presets={},
)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Fréchet distance of two Gaussians, at least 0; NaN where a set has n < 2.

    To about 1e-11 of their traces where both have spread in the same directions, 1e-8 where each has spread in some in
    which the other has none, 1e-6 where the variances of a set span more than twelve orders of magnitude. Raises
    UsageError when D differs.
    """
    check_dims(a.dim, b.dim)
    if min(a.n, b.n) < 2:
        return float("nan")
    apart = a.mean - b.mean
    spread = np.trace(a.scatter) / (a.n - 1) + np.trace(b.scatter) / (b.n - 1) - 2 * _trace_of_root(a, b)
    return float(apart @ apart + max(spread, 0.0))  # rounding may leave a trace below zero


def frechet(a: Array | Moments, b: Array | Moments, *, name: str = FID.name) -> Score:
    """(N, D), (M, D) features, or their Moments -> their Fréchet distance, lower is closer. Symmetric.

    `name` says whose features they are: `fid` is of the FID Inception network alone. Biased upwards at small n; warns
    where a set has no more images than features have dimensions, NaN below two. Heusel et al. 2017.
    """
    first, second = _as_moments(a), _as_moments(b)
    value = frechet_distance(first, second)
    n = min(first.n, second.n)
    warn_if_few(replace(FID, name=name, smallest_n=first.dim + 1), n)
    params = {
        "n_a": first.n,
        "n_b": second.n,
        "n_invalid": first.n_invalid + second.n_invalid,
        "dim": first.dim,
        "ddof": 1,
    }
    return Score(name, value, n, None, False, params)


def fid(a: Array | Moments, b: Array | Moments) -> Score:
    """(N, 2048), (M, 2048) features of the FID Inception network, or their Moments -> FID; see `frechet`."""
    return frechet(a, b)


def fid_infinity(
    reference: Array | Moments,
    generated: Array,
    *,
    points: int = POINTS,
    start: int | None = None,
    seed: int = 0,
    name: str = FID_INFINITY.name,
) -> Score:
    """(N, D) features, or their Moments, and (M, D) features -> the Fréchet distance extrapolated to M without end.

    Not symmetric: only the second set is swept, over `points` sizes evenly spaced from `start` (default: 5000, or a
    tenth of M) to M. `params["sweep"]` holds the (N, FID_N) under the line, `params["slope"]` its slope in 1/N. NaN
    below two reference images. Raises UsageError when there are no two sizes to draw. Chong and Forsyth 2020.
    """
    whole, images = _as_moments(reference), open_features(generated)
    sizes = _sizes(len(images), points, start)
    rng = np.random.default_rng(seed)
    sweep = [(int(n), frechet_distance(whole, _drawn(images, int(n), rng))) for n in sizes]
    slope, intercept = _line([(1 / n, value) for n, value in sweep])
    warn_if_few(replace(FID_INFINITY, name=name, smallest_n=whole.dim + 1), int(min(sizes[0], whole.n)))
    params = {
        "sweep": sweep,
        "slope": slope,
        "seed": seed,
        "n_reference": whole.n,
        "n_generated": len(images),
        "n_invalid": whole.n_invalid + images.n_invalid,
        "dim": whole.dim,
        "ddof": 1,
    }
    return Score(name, intercept, len(images), None, False, params)


def _trace_of_root(a: Moments, b: Moments) -> float:
    """Tr((S_a S_b)^(1/2))."""
    product = a.root() @ b.root().T
    if a.rows is not None or b.rows is not None:
        return float(np.linalg.svd(product, compute_uv=False).sum())
    wide = product if product.shape[0] <= product.shape[1] else product.T
    return float(np.sqrt(np.maximum(scipy.linalg.eigvalsh(wide @ wide.T), 0.0)).sum())


def _as_moments(features: Array | Moments) -> Moments:
    return features if isinstance(features, Moments) else moments(features)


def _sizes(n: int, points: int, start: int | None) -> Array:
    """How many images to draw, point by point."""
    first = min(START, max(n // 10, 2)) if start is None else start
    if points < 2 or not 2 <= first < n:
        raise UsageError(f"fid-infinity: {points} sizes from {first} to {n} images; it takes two that differ")
    return np.linspace(first, n, points).astype(np.int64)


def _drawn(images: Features, n: int, rng: np.random.Generator) -> Moments:
    chosen = np.sort(rng.choice(len(images), n, replace=False))
    return moments_of_blocks(images.take(chosen).blocks(), images.dim)


def _line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least squares line through (x, y) -> slope, value at x = 0."""
    x, y = np.array(points).T
    slope = (x - x.mean()) @ (y - y.mean()) / np.square(x - x.mean()).sum()
    return float(slope), float(y.mean() - slope * x.mean())
