"""MiFID: the Fréchet distance, made worse where generated images repeat the reference images.

The distance of a generated image to the reference set is the smallest 1 - |cos| between their features. Its mean m over
generated images, where below a threshold, divides the Fréchet distance; a mean above it is no sign of copying, and the
Fréchet distance stays. The peers average over different sets, so the preset says which.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import Features, directed, open_pair
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Score

THRESHOLD = 0.1
EPSILON = 1e-14  # added to m, so that a set of exact copies has a finite MiFID
NOTHING = 1e-8  # a Fréchet distance of rounding alone: MiFID is zero then

Preset = Literal["bai2021", "torchmetrics"]
PRESETS = {
    "bai2021": "mean over generated images of the distance to the nearest reference image, as in the paper",
    "torchmetrics": "mean over reference images of the distance to the nearest generated one, as in torchmetrics",
}

MEMORISATION = Description(
    name="memorisation-distance",
    what="how far generated images are from the nearest reference image, by direction of their features",
    formula="mean over generated g of the minimum over reference r of 1 - |cos(g, r)|",
    range="0 (copies) to 1",
    better="higher",
    estimator="depends on the size of the reference set, being a minimum over it; no interval",
    smallest_n=100,
    of="images of each set",
    source="Bai et al. 2021, arXiv 2106.03062",
    presets=PRESETS,
)
MIFID = Description(
    name="mifid",
    what="distance between two sets of images as fid, made larger where generated images copy reference images",
    formula="FID / (m + 1e-14) with m the memorisation distance where that is below 0.1, else FID; 0 where FID is at "
    "most 1e-8",
    range="at least 0",
    better="lower",
    estimator="as fid, and jumps where m crosses the threshold",
    smallest_n=2049,
    of="images of each set",
    source="Bai et al. 2021, arXiv 2106.03062",
    presets=PRESETS,
)


def memorisation_distance(real: Array, fake: Array, *, preset: Preset = "bai2021") -> Score:
    """(N, D) features of reference and (M, D) of generated images -> mean distance to the nearest, 0 to 1.

    Smaller is nearer to copying. Not symmetric. Rows without a direction are left out and counted; NaN where a set is
    empty. Bai et al. 2021, arXiv 2106.03062. Raises UsageError when D differs or the preset is unknown.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown MiFID preset {preset!r}; choose from {', '.join(PRESETS)}")
    reference, generated = open_pair(real, fake, directed)
    ours, theirs = (generated, reference) if preset == "bai2021" else (reference, generated)
    warn_if_few(MEMORISATION, min(len(ours), len(theirs)))
    value = float(_distances(ours, theirs).mean()) if len(ours) and len(theirs) else float("nan")
    params = {
        "preset": preset,
        "n_real": len(reference),
        "n_fake": len(generated),
        "n_invalid": reference.n_invalid + generated.n_invalid,
        "dim": reference.dim,
    }
    return Score(MEMORISATION.name, value, len(ours), None, True, params)


def mifid(frechet: Score, memorisation: Score, *, threshold: float = THRESHOLD) -> Score:
    """The FID of two sets and their memorisation distance -> MiFID, lower is better; NaN where either is.

    FID itself where the memorisation distance is `threshold` or more. Bai et al. 2021. Raises UsageError when the two
    scores are not a Fréchet distance and a memorisation distance.
    """
    if memorisation.metric != MEMORISATION.name or frechet.params.get("ddof") != 1:  # KID and CMMD have no covariance
        raise UsageError(f"MiFID: got {frechet.metric} and {memorisation.metric}; give a Fréchet distance, then m")
    distance = memorisation.value
    penalty = distance + EPSILON if distance < threshold else 1.0
    value = frechet.value / penalty if not frechet.value <= NOTHING else 0.0
    warn_if_few(MIFID, frechet.n)
    params = {
        **frechet.params,
        "preset": memorisation.params["preset"],
        "frechet_metric": frechet.metric,
        "frechet": frechet.value,
        "memorisation_distance": distance,
        "threshold": threshold,
        "penalised": bool(distance < threshold),
    }
    value = float("nan") if np.isnan(distance) else value
    return dataclasses.replace(frechet, metric=MIFID.name, value=value, interval=None, params=params)


def _distances(ours: Features, theirs: Features) -> Array:
    """(N,) smallest 1 - |cos| of each row to the other set, in 0..1."""
    found = []
    for block in ours.blocks():
        units = unit_rows(block)[0]
        nearest = np.zeros(len(block))
        for other in theirs.blocks():
            np.maximum(nearest, np.abs(units @ unit_rows(other)[0].T).max(axis=1), out=nearest)
        found.append(1.0 - np.minimum(nearest, 1.0))
    return np.concatenate(found)
