"""Every metric as a pure function of arrays: no device, no files, no printing; float64 inside."""

from semscale.metrics.alignment import clip_scores, preset
from semscale.metrics.consistency import scs
from semscale.metrics.description import Description, FewSamplesWarning
from semscale.metrics.directional import directional, image_similarity
from semscale.metrics.diversity import mean_distance, mode_count, vendi, vendi_kernel
from semscale.metrics.frechet import fid, fid_infinity, frechet
from semscale.metrics.inception_score import inception_score
from semscale.metrics.kernel_distance import cmmd, kid
from semscale.metrics.manifold import prdc
from semscale.metrics.memorisation import memorisation_distance, mifid
from semscale.metrics.moments import Moments, moments
from semscale.metrics.quality import aesthetic, clip_iqa
from semscale.metrics.references import ref_clip_score

__all__ = [
    "Description",
    "FewSamplesWarning",
    "Moments",
    "aesthetic",
    "clip_iqa",
    "clip_scores",
    "cmmd",
    "directional",
    "fid",
    "fid_infinity",
    "frechet",
    "image_similarity",
    "inception_score",
    "kid",
    "mean_distance",
    "memorisation_distance",
    "mifid",
    "mode_count",
    "moments",
    "prdc",
    "preset",
    "ref_clip_score",
    "scs",
    "vendi",
    "vendi_kernel",
]
