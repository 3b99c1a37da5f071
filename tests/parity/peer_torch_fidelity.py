"""torch-fidelity, from features on: FID, KID, its Gaussian kernel, Inception Score, precision and recall."""

from __future__ import annotations

import numpy as np
import torch
from parity.cases import Pair, feature_sets, logits
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_rbf, kid_features_to_metric, mmd2
from torch_fidelity.metric_prc import prc_features_to_metric

QUIET = {"verbose": False}


def values() -> dict[str, float]:
    """All numbers by check."""
    found: dict[str, float] = {}
    for case, pair in feature_sets().items():
        found |= {f"{metric} | {case}": value for metric, value in of_sets(pair).items()}
    for case, rows in logits().items():
        score = isc_features_to_metric(torch.from_numpy(rows), splits=10, shuffle=True, rng_seed=2020)
        found[f"inception-score | {case}"] = score["inception_score_mean"]
        found[f"inception-score spread | {case}"] = score["inception_score_std"]
    return found


def of_sets(pair: Pair) -> dict[str, float]:
    """Numbers of two sets of features; torch-fidelity's first input is the generated one."""
    real, fake = torch.from_numpy(pair.real), torch.from_numpy(pair.fake)
    statistics = (fid_features_to_statistics(fake), fid_features_to_statistics(real))
    kid = kid_features_to_metric(real, fake, kid_subsets=20, kid_subset_size=50, **QUIET)
    neighbours = prc_features_to_metric(fake, real, **QUIET)
    return {
        "fid": fid_statistics_to_metric(*statistics, **QUIET)["frechet_inception_distance"],
        "kid": kid["kernel_inception_distance_mean"],
        "kid spread": kid["kernel_inception_distance_std"],
        "cmmd unbiased": 1000.0 * gaussian(pair, "unbiased"),
        "cmmd biased": 1000.0 * gaussian(pair, "biased"),
        "precision": neighbours["precision"],
        "recall": neighbours["recall"],
    }


def gaussian(pair: Pair, estimator: str) -> float:
    """MMD^2 of unit rows with sigma 10, of sets of equal size."""
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (pair.equal().real, pair.equal().fake))
    kernels = [kernel_rbf(a, b, kid_kernel_rbf_sigma=10.0) for a, b in ((x, x), (x, y), (y, y))]
    return mmd2(*kernels, mmd_est=estimator)
