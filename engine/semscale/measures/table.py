"""Every metric that a run computes, by name: how, under which presets and encoders, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from semscale.measures import of_candidates, of_captions, of_groups, of_images, of_pairs, of_sets, of_stores, of_tasks
from semscale.measures.measure import Measure, Need
from semscale.metrics.alignment import CLIP_SCORE
from semscale.metrics.consistency import SCS
from semscale.metrics.directional import DIRECTIONAL, IMAGE_SIMILARITY
from semscale.metrics.diversity import MEAN_DISTANCE, MODE_COUNT, VENDI
from semscale.metrics.frechet import FD_DINOV2, FID, FID_CLIP, FID_INFINITY
from semscale.metrics.inception_score import CLASSIFIER_SCORE, INCEPTION_SCORE
from semscale.metrics.kernel_distance import CMMD, KID
from semscale.metrics.manifold import COVERAGE, DENSITY, PRECISION, RECALL
from semscale.metrics.memorisation import MEMORISATION, MIFID
from semscale.metrics.perceptual import LPIPS
from semscale.metrics.pixel import MSE, PSNR
from semscale.metrics.quality import AESTHETIC, CLIP_IQA
from semscale.metrics.ranking import RANKING
from semscale.metrics.references import REF_CLIP_SCORE
from semscale.metrics.retrieval import IMAGE_TO_TEXT, TEXT_TO_IMAGE
from semscale.metrics.structural import MS_SSIM, SSIM
from semscale.metrics.zero_shot import ZERO_SHOT

INCEPTION = "fid-inception"
DINOV2 = "facebook/dinov2-large"  # ViT-L/14, the paper's
RESIZED = {  # the resize is part of the metric: preset of the FID -> encoder
    "torch-fidelity": INCEPTION,
    "clean-fid": "fid-inception-clean",
    "pytorch-fid": "fid-inception-pytorch",
    "torchmetrics": "fid-inception-torchmetrics",
}
REFERENCE, ROWS = frozenset({Need.REFERENCE}), frozenset({Need.REFERENCE, Need.ROWS})
EXPORTED = "a network and its heads, that `semscale export lpips-alex --weights FILE -o FOLDER` made"
PAIRS = frozenset({Need.PAIRS})
ENDLESS = (0.0, float("inf"))


def _frechet() -> tuple[Measure, ...]:
    infinity = replace(FID_INFINITY, presets=FID.presets)
    return (
        Measure(FID, of_sets.fid, "torch-fidelity", encoders=RESIZED, needs=REFERENCE, only=INCEPTION),
        Measure(infinity, of_sets.infinity, "torch-fidelity", encoders=RESIZED, needs=REFERENCE, only=INCEPTION),
        Measure(FID_CLIP, of_sets.fid_clip, "unit", needs=REFERENCE),
        Measure(FD_DINOV2, of_sets.fd_dinov2, encoder=DINOV2, needs=REFERENCE),
    )


def _neighbours() -> tuple[Measure, ...]:
    balls = (PRECISION, RECALL, DENSITY, COVERAGE)
    return (
        *(Measure(one, of_sets.manifold, "prdc", encoder=INCEPTION, needs=ROWS) for one in balls),
        *(
            Measure(one, of_sets.memorisation, "bai2021", encoder=INCEPTION, needs=ROWS)
            for one in (MEMORISATION, MIFID)
        ),
        Measure(KID, of_sets.kernel, "torch-fidelity", encoder=INCEPTION, needs=ROWS),
        Measure(CMMD, of_sets.gaussian, "unbiased", needs=ROWS),
    )


def _groups() -> tuple[Measure, ...]:
    number = r"\d+(\.\d+)?"
    return (
        Measure(VENDI, of_groups.vendi_of_groups, "q=1", rf"q=({number}|inf)", "q=ORDER, as q=2 or q=inf"),
        Measure(MODE_COUNT, of_groups.modes_of_groups, "t=0.9", r"t=-?(0(\.\d+)?|1(\.0+)?)", "t=COSINE, as t=0.95"),
        Measure(MEAN_DISTANCE, of_groups.distance_in_groups),
    )


def _pairs() -> tuple[Measure, ...]:
    errors = ((MSE, "per-image", ENDLESS), (PSNR, "per-image", ENDLESS))
    structure = ((SSIM, "scikit-image", (-1.0, 1.0)), (MS_SSIM, "grey", (0.0, 1.0)))
    return (
        Measure(DIRECTIONAL, of_pairs.directional, "gal2021", needs=PAIRS | {Need.TEXT_TOWER, Need.FLOAT32}),
        Measure(IMAGE_SIMILARITY, of_pairs.similarity, "unclamped", needs=PAIRS),
        *(
            Measure(one, of_pairs.pixels(one.name, bounds), preset, needs=PAIRS, encodes=False)
            for one, preset, bounds in (*errors, *structure)
        ),
        Measure(LPIPS, of_pairs.pixels(LPIPS.name, ENDLESS), "alex", needs=PAIRS, encodes=False, folder=EXPORTED),
    )


def _rest() -> tuple[Measure, ...]:
    of_texts = frozenset({Need.TEXTS, Need.TEXT_TOWER})
    return (
        Measure(SCS, of_stores.consistency),
        Measure(CLIP_SCORE, of_stores.alignment, "torchmetrics", needs=of_texts),
        Measure(REF_CLIP_SCORE, of_captions.ref_clip, "hessel2021", needs=of_texts | {Need.CAPTIONS}),
        Measure(RANKING, of_candidates.ranking, "pickscore", needs=of_texts, per="group"),
        Measure(CLIP_IQA, of_images.quality, "quality", needs=frozenset({Need.TEXT_TOWER})),
        Measure(AESTHETIC, of_images.rating, "linear", needs=frozenset({Need.HEAD})),
        Measure(INCEPTION_SCORE, of_sets.inception, "torch-fidelity", encoder=INCEPTION, only=INCEPTION),
        Measure(ZERO_SHOT, of_tasks.classes, needs=frozenset({Need.LABELS, Need.TEXT_TOWER})),
        Measure(IMAGE_TO_TEXT, of_tasks.by_image, "hit", needs=of_texts),
        Measure(TEXT_TO_IMAGE, of_tasks.by_text, "hit", needs=of_texts, per="text"),
        Measure(CLASSIFIER_SCORE, of_sets.classifier, "torch-fidelity", encoder="efficientnet-lite0"),
    )


MEASURES: Mapping[str, Measure] = {
    measure.described.name: measure for measure in (*_rest(), *_groups(), *_pairs(), *_frechet(), *_neighbours())
}
