"""Every metric by name."""

from __future__ import annotations

import difflib

from semscale.errors import UsageError
from semscale.metrics.alignment import CLIP_SCORE
from semscale.metrics.consistency import SCS
from semscale.metrics.description import Description
from semscale.metrics.directional import DIRECTIONAL, IMAGE_SIMILARITY
from semscale.metrics.diversity import MEAN_DISTANCE, MODE_COUNT, VENDI
from semscale.metrics.frechet import FD_DINOV2, FID, FID_CLIP, FID_INFINITY
from semscale.metrics.inception_score import CLASSIFIER_SCORE, INCEPTION_SCORE
from semscale.metrics.kernel_distance import CMMD, KID
from semscale.metrics.manifold import COVERAGE, DENSITY, PRECISION, RECALL
from semscale.metrics.memorisation import MEMORISATION, MIFID
from semscale.metrics.perceptual import LPIPS, PPL
from semscale.metrics.pixel import MSE, PSNR
from semscale.metrics.predictions import ACCURACY, BLEU, MEAN_IOU
from semscale.metrics.quality import AESTHETIC, CLIP_IQA
from semscale.metrics.ranking import RANKING
from semscale.metrics.references import REF_CLIP_SCORE
from semscale.metrics.retrieval import IMAGE_TO_TEXT, TEXT_TO_IMAGE
from semscale.metrics.structural import MS_SSIM, SSIM
from semscale.metrics.zero_shot import ZERO_SHOT

METRICS = {
    described.name: described
    for described in (
        SCS,
        CLIP_SCORE,
        REF_CLIP_SCORE,
        DIRECTIONAL,
        IMAGE_SIMILARITY,
        CLIP_IQA,
        AESTHETIC,
        VENDI,
        MODE_COUNT,
        MEAN_DISTANCE,
        FID,
        FID_CLIP,
        FD_DINOV2,
        FID_INFINITY,
        KID,
        CMMD,
        PRECISION,
        RECALL,
        DENSITY,
        COVERAGE,
        MEMORISATION,
        MIFID,
        INCEPTION_SCORE,
        CLASSIFIER_SCORE,
        MSE,
        PSNR,
        SSIM,
        MS_SSIM,
        LPIPS,
        PPL,
        ZERO_SHOT,
        IMAGE_TO_TEXT,
        TEXT_TO_IMAGE,
        RANKING,
        ACCURACY,
        MEAN_IOU,
        BLEU,
    )
}


def metric(name: str) -> Description:
    """Look up a metric. Raises UsageError that suggests the name that was meant."""
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown metric {name!r}; {meant}choose from {', '.join(METRICS)}")
    return METRICS[name]
