"""The metrics of case `metrics` once more, in plain NumPy and in ways of their own: what every output must agree with.

The root of the product of covariances is taken through the symmetric root of one of them, distances and kernels are
those of slices of rows with all others in float64, the Vendi score is of singular values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from semscale.model import Array
from semscale_bench.metric_data import Data

SLICE = 1024  # rows at a time
Values = Mapping[str, float]  # by the names of the metrics

PRDC = (5, np.less)  # k, and whether the surface belongs to a ball: the prdc package's
PRC = (3, np.less_equal)  # torch-fidelity's


def expected(job: str, data: Data) -> Values:
    """What the outputs of a job must be."""
    few, sizes = data.sizes.few, data.sizes
    match job:
        case "fid solve":
            return {"fid": frechet(*(gaussian(one[: 2 * sizes.dim]) for one in (data.real, data.fake)))}
        case "fid":
            return {"fid": frechet(gaussian(data.real), gaussian(data.fake))}
        case "kid full":
            return {"kid": kid(data.real[:few], data.fake[:few])}
        case "kid subsets":
            return {"kid": kid_of_subsets(data.real, data.fake, sizes.subsets, sizes.subset_size)}
        case "prdc" | "prc":
            return neighbourhoods(data.real[:few], data.fake[:few], *(PRDC if job == "prdc" else PRC))
        case _:
            return {"vendi": vendi(data.group)}


def gaussian(rows: Array) -> tuple[Array, Array]:
    """(N, D) -> (D,) mean, (D, D) unbiased covariance."""
    mean = sum((part.sum(axis=0) for part in _slices(rows)), np.zeros(rows.shape[1])) / len(rows)
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for part in _slices(rows):
        scatter += (part - mean).T @ (part - mean)
    return mean, scatter / (len(rows) - 1)


def frechet(a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    """Fréchet distance of two Gaussians, each (mean, covariance)."""
    values, vectors = np.linalg.eigh(a[1])
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ b[1] @ root)
    apart = a[0] - b[0]
    spread = np.trace(a[1]) + np.trace(b[1]) - 2 * np.sqrt(np.maximum(shared, 0.0)).sum()
    return float(apart @ apart + spread)


def kid(a: Array, b: Array) -> float:
    """(N, D), (M, D) -> unbiased MMD^2 with the kernel (x.y / D + 1)^3."""
    (x, n), (y, m) = ((rows.astype(np.float64), len(rows)) for rows in (a, b))
    own = [_kernel_sum(z, z) - _kernel_of(np.einsum("nd,nd->n", z, z), z.shape[1]).sum() for z in (x, y)]
    return float(own[0] / (n * (n - 1)) + own[1] / (m * (m - 1)) - 2 * _kernel_sum(x, y) / (n * m))


def kid_of_subsets(a: Array, b: Array, subsets: int, size: int) -> float:
    """Mean KID of subsets as torch-fidelity draws them."""
    rng = np.random.RandomState(2020)
    return float(np.mean([kid(*(rows[rng.choice(len(rows), size, replace=False)] for rows in (a, b)))
                          for _ in range(subsets)]))  # fmt: skip


def neighbourhoods(real: Array, fake: Array, k: int, holds: np.ufunc) -> Values:
    """(N, D), (M, D) -> precision, recall, density, coverage of balls that reach to the k-th other row."""
    x, y = real.astype(np.float64), fake.astype(np.float64)
    real_radii, fake_radii = (_nearest(z, k) for z in (x, y))
    precise, pairs, recalled, covered = np.zeros(len(y), bool), 0, [], []
    for at in range(0, len(x), SLICE):
        apart = _squares(x[at : at + SLICE], y)
        inside = holds(apart, real_radii[at : at + SLICE, None])
        precise |= inside.any(axis=0)
        pairs += int(inside.sum())
        covered.append(inside.any(axis=1))
        recalled.append(holds(apart, fake_radii).any(axis=1))
    recall, coverage = (float(np.concatenate(each).mean()) for each in (recalled, covered))
    return {"precision": float(precise.mean()), "recall": recall, "density": pairs / (k * len(y)), "coverage": coverage}


def vendi(rows: Array) -> float:
    """(N, D) -> exp of the entropy of the eigenvalues of the cosines over N."""
    units = rows.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    shares = np.square(np.linalg.svd(units, compute_uv=False)) / len(rows)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _slices(rows: Array) -> Iterator[Array]:
    return (rows[at : at + SLICE].astype(np.float64) for at in range(0, len(rows), SLICE))


def _kernel_of(products: Array, dim: int) -> Array:
    return (products / dim + 1.0) ** 3


def _kernel_sum(x: Array, y: Array) -> float:
    return sum(float(_kernel_of(part @ y.T, x.shape[1]).sum()) for part in _slices(x))


def _squares(some: Array, rows: Array) -> Array:
    return np.square(some).sum(axis=1)[:, None] + np.square(rows).sum(axis=1) - 2.0 * (some @ rows.T)


def _nearest(rows: Array, k: int) -> Array:
    """(N,) squared distance of each row to its k-th nearest other."""
    radii = []
    for at in range(0, len(rows), SLICE):
        apart = _squares(rows[at : at + SLICE], rows)
        own = np.arange(len(apart))
        apart[own, at + own] = np.inf
        radii.append(np.partition(apart, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)
