"""torchmetrics, from features on: FID, MiFID, KID, Inception Score, CLIPScore, CLIP-IQA; of images: SSIM and PSNR."""

from __future__ import annotations

import types
import warnings

import numpy as np
import torch
from parity.cases import Pair, embedding_pairs, feature_sets, grey, logits, pictures
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.functional.multimodal.clip_iqa import _clip_iqa_compute
from torchmetrics.functional.multimodal.clip_score import clip_score
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance


class Features(torch.nn.Identity):
    """Features as they are, where the Inception network would be."""

    def __init__(self, dim: int):
        super().__init__()
        self.num_features = dim


def values() -> dict[str, float]:
    """All numbers by check."""
    found: dict[str, float] = {}
    for case, pair in feature_sets().items():
        found |= {f"{metric} | {case}": value for metric, value in of_sets(pair).items()}
    for case, rows in logits().items():
        mean, spread = inception_score(torch.from_numpy(rows))
        found |= {f"inception-score | {case}": mean, f"inception-score spread | {case}": spread}
    for case, pair in embedding_pairs().items():
        found |= {f"{metric} | {case}": value for metric, value in of_embeddings(pair).items()}
    for case, pair in pictures().items():
        found |= {f"{metric} | {case}": value for metric, value in of_pictures(pair).items()}
    real, fake = (np.stack([getattr(pair, side) for pair in pictures().values()]) for side in ("real", "fake"))
    batch = (torch.from_numpy(images.astype(np.float64)) for images in (fake, real))
    found["psnr of a batch | all pictures"] = peak_signal_noise_ratio(*batch, data_range=255.0).item()
    return found


def of_sets(pair: Pair) -> dict[str, float]:
    """Numbers of two sets of features."""
    equal = pair.equal()
    return {
        "fid": distance(FrechetInceptionDistance, pair),
        "mifid": distance(MemorizationInformedFrechetInceptionDistance, pair),
        "kid full": poly_mmd(torch.from_numpy(equal.real), torch.from_numpy(equal.fake)).item(),
    }


def distance(metric: type, pair: Pair) -> float:
    """A metric that is updated with either set."""
    found = metric(feature=Features(pair.real.shape[1]))
    found.update(torch.from_numpy(pair.real), real=True)
    found.update(torch.from_numpy(pair.fake), real=False)
    return found.compute().item()


def inception_score(rows: torch.Tensor) -> tuple[float, float]:
    """Mean and spread over ten splits, of rows that its own shuffle brings into the order of RandomState(2020).

    It shuffles by torch's generator and semscale by NumPy's: only so do both split the same images.
    """
    order = torch.from_numpy(np.random.RandomState(2020).permutation(len(rows)))
    torch.manual_seed(0)
    places = torch.randperm(len(rows))
    laid_out = torch.empty_like(rows)
    laid_out[places] = rows[order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features in memory
        metric = InceptionScore(feature=torch.nn.Identity(), splits=10)
    metric.update(laid_out)
    torch.manual_seed(0)
    mean, spread = metric.compute()
    return mean.item(), spread.item()


class Towers:
    """A CLIP model and processor in one, whose images and texts are numbers of rows of given embeddings."""

    config = types.SimpleNamespace()

    def __init__(self, pair: Pair):
        self.images, self.texts = torch.from_numpy(pair.real), torch.from_numpy(pair.fake)

    def __call__(self, images=None, text=None, **_settings):
        if images is not None:
            return {"pixel_values": torch.stack(images)}
        ids = torch.tensor([[int(one)] for one in text])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def to(self, _device):
        return self

    def get_image_features(self, pixels):
        return self.images[pixels[:, 0, 0, 0].long()]

    def get_text_features(self, ids, _mask):
        return self.texts[ids[:, 0]]


def of_embeddings(pair: Pair) -> dict[str, float]:
    """CLIPScore of images with texts and of images with images, and CLIP-IQA with the first two texts as prompts."""
    towers, n = Towers(pair), len(pair.real)
    images = [torch.full((3, 1, 1), i) for i in range(n)]
    texts = [str(i) for i in range(n)]
    units, anchors = (torch.nn.functional.normalize(rows) for rows in (towers.images, towers.texts[:2]))
    return {
        "clip-score": clip_score(images, texts, lambda: (towers, towers)).item(),
        "clip-score by its documented formula": clip_score(images, texts, lambda: (towers, towers)).item(),
        "image-similarity": clip_score(images[1:], images[:-1], lambda: (towers, towers)).item(),
        "clip-iqa": _clip_iqa_compute(units, anchors, ["quality"]).mean().item(),
    }


def of_pictures(pair: Pair) -> dict[str, float]:
    """SSIM of channels and of grey levels, multi-scale SSIM of grey levels, PSNR; float64, 0 to 255."""
    real, fake = (torch.from_numpy(one.transpose(2, 0, 1)[None].astype(np.float64)) for one in (pair.real, pair.fake))
    real_grey, fake_grey = (torch.from_numpy(grey(one))[None, None] for one in (pair.real, pair.fake))
    return {
        "psnr": peak_signal_noise_ratio(fake, real, data_range=255.0).item(),
        "ssim grey": structural_similarity_index_measure(fake_grey, real_grey, data_range=255.0).item(),
        "ssim channels": structural_similarity_index_measure(fake, real, data_range=255.0).item(),
        "ms-ssim grey": multiscale_structural_similarity_index_measure(fake_grey, real_grey, data_range=255.0).item(),
    }
