"""Every metric as a pure function of arrays: no device, no files, no printing; float64 inside."""

from semscale.metrics.alignment import clip_scores, preset
from semscale.metrics.consistency import consistency, scs
from semscale.metrics.description import Description, FewSamplesWarning
from semscale.metrics.directional import directional, image_similarity
from semscale.metrics.diversity import mean_distance, mode_count, vendi, vendi_kernel
from semscale.metrics.frechet import fid, fid_infinity, frechet
from semscale.metrics.inception_score import inception_score
from semscale.metrics.kernel_distance import cmmd, kid
from semscale.metrics.manifold import prdc
from semscale.metrics.memorisation import memorisation_distance, mifid
from semscale.metrics.moments import Moments, moments
from semscale.metrics.path_length import Paths, path_length
from semscale.metrics.perceptual import lpips, ppl
from semscale.metrics.pixel import mse, psnr
from semscale.metrics.predictions import accuracy, bleu, mean_iou
from semscale.metrics.quality import aesthetic, clip_iqa
from semscale.metrics.ranking import ranked, win_share
from semscale.metrics.references import ref_clip_score
from semscale.metrics.retrieval import image_to_text, text_to_image
from semscale.metrics.structural import ms_ssim, ssim
from semscale.metrics.zero_shot import class_vectors, prompts, zero_shot

__all__ = [
    "Description",
    "FewSamplesWarning",
    "Moments",
    "Paths",
    "accuracy",
    "aesthetic",
    "bleu",
    "class_vectors",
    "clip_iqa",
    "clip_scores",
    "cmmd",
    "consistency",
    "directional",
    "fid",
    "fid_infinity",
    "frechet",
    "image_similarity",
    "image_to_text",
    "inception_score",
    "kid",
    "lpips",
    "mean_distance",
    "mean_iou",
    "memorisation_distance",
    "mifid",
    "mode_count",
    "moments",
    "ms_ssim",
    "mse",
    "path_length",
    "ppl",
    "prdc",
    "preset",
    "prompts",
    "psnr",
    "ranked",
    "ref_clip_score",
    "scs",
    "ssim",
    "text_to_image",
    "vendi",
    "vendi_kernel",
    "win_share",
    "zero_shot",
]
