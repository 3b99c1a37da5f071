"""Scores of groups and images to the few numbers people quote, overall and for each model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from semscale.metrics.alignment import Preset, mean_score
from semscale.model import Array, Interval
from semscale.scoring import Scores, sums_by_group
from semscale.stats.intervals import LEVEL, clustered_mean_interval, mean_interval, two_level_mean


@dataclass(frozen=True, slots=True)
class Consistency:
    """The consistency score of a run or of one model: the mean over groups with at least two valid images."""

    value: float
    low: float
    high: float
    level: float
    method: str
    n: int  # groups
    n_images: int
    median: float
    sd: float
    sd_ddof: int
    se_groups: float  # standard error over groups, which holds that over images too
    se_images: float  # standard error over images alone, these groups being all that matter
    between: float  # mean similarity of images of different groups
    corrected: float  # mean of 100 (scs - between) / (100 - between)
    n_clamped: int  # pairs below zero, counted as zero
    n_excluded: int  # groups with fewer than two valid images
    n_invalid: int  # images with an embedding that is zeros or NaN
    higher_is_better: bool
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Alignment:
    """The CLIP score of a run or of one model: the mean over images that have a text."""

    value: float
    low: float
    high: float
    level: float
    method: str
    n: int  # images
    n_groups: int
    n_invalid: int  # images with a text, but an embedding of either that is zeros or NaN
    n_clamped: int  # below zero, counted as zero: images, or where the mean is clamped, that
    median: float
    sd: float
    sd_ddof: int
    higher_is_better: bool
    params: dict[str, Any]


def consistency(scores: Scores, model: str | None = None, *, every_model: bool = True) -> Consistency:
    """Sum up the consistency scores of all groups, or of one model's."""
    mine = np.array([every_model or name == model for name in scores.groups.model], bool)
    used = mine & (scores.n > 1)
    found = two_level_mean(scores.scs[used], scores.se[used], scores.n[used], (0.0, 100.0))
    low, high, level, method = _ends(found.interval)
    between = list(scores.between.values()) if every_model else [scores.between.get(model, math.nan)]
    return Consistency(
        value=found.value, low=low, high=high, level=level, method=method,
        n=int(used.sum()), n_images=int(scores.n[used].sum()),
        median=_or_nan(np.median, scores.scs[used]), sd=_sd(scores.scs[used]), sd_ddof=1,
        se_groups=found.se_groups, se_images=found.se_images,
        between=_or_nan(np.mean, np.array(between)), corrected=_or_nan(np.mean, scores.corrected[used]),
        n_clamped=int(scores.n_clamped[used].sum()), n_excluded=int((mine & (scores.n < 2)).sum()),
        n_invalid=int((mine[scores.groups.of_row] & ~scores.row_valid).sum()),
        higher_is_better=True, params={"scale": 100, "clamp": "pair", "definition": "bent2024"},
    )  # fmt: skip


def alignment(
    scores: Scores, convention: Preset, model: str | None = None, *, every_model: bool = True
) -> Alignment | None:
    """Sum up the CLIP scores of all images, or of one model's; None when the store has no texts."""
    if scores.clip is None:
        return None
    mine = np.array([every_model or name == model for name in scores.groups.model], bool)[scores.groups.of_row]
    valid = mine & np.isfinite(scores.clip)
    totals, counts = sums_by_group(scores, np.where(valid, scores.clip, np.nan))
    items, full = scores.clip[valid], counts > 0
    lost = mine & scores.row_has_text & ~valid
    bounds = (-convention.scale if convention.clamp == "none" else 0.0, convention.scale)
    interval = clustered_mean_interval(totals[full], counts[full], bounds) or mean_interval(items, bounds)
    low, high, level, method = _ends(interval)
    return Alignment(
        value=float(mean_score(items.sum(), len(items), convention)), low=low, high=high, level=level, method=method,
        n=len(items), n_groups=int(full.sum()), n_invalid=int(lost.sum()),
        n_clamped=_clamped(items, convention), median=_or_nan(np.median, items), sd=_sd(items), sd_ddof=1,
        higher_is_better=True, params=dataclasses.asdict(convention),
    )  # fmt: skip


def _clamped(items: Array, convention: Preset) -> int:
    """How many scores are 0 for being clamped; the cosine of two embeddings is never exactly 0 by itself."""
    return {"item": int((items == 0).sum()), "mean": int(items.sum() < 0), "none": 0}[convention.clamp]


def _ends(interval: Interval | None) -> tuple[float, float, float, str]:
    if interval is None:
        return math.nan, math.nan, LEVEL, "too few to tell"
    return interval.low, interval.high, interval.level, interval.method


def _sd(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _or_nan(function: Any, values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(function(known)) if len(known) else math.nan
