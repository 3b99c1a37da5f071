"""Which of several images fits a prompt best, and how often that is one model's.

A group is what was made for one prompt. PickScore turns scores into chances of being preferred: a softmax over the
candidates of 100 cos(image, text), 100 being what its encoder multiplies cosines by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.shares import share_of
from semscale.model import Array, Score

SCALE = 100.0  # what CLIP models trained to the end multiply cosines by

RANKING = Description(
    name="ranking",
    what="how often the best of the images made for a prompt is a given model's",
    formula="share of groups in which max score of the model > max score of the others; in one group, chances are "
    "softmax(100 cos(image, text)) over its candidates",
    range="0 to 1; by chance the model's share of the candidates, which `params` gives",
    better="higher",
    estimator="a share of groups; interval: Wilson over groups, as if independent; a tie for the first place is no "
    "win; groups without a valid candidate of the model, or of any other, are left out and counted",
    smallest_n=2,
    of="groups with candidates of both",
    source="Kirstain et al. 2023 (PickScore), arXiv 2305.01569",
    presets={"pickscore": "softmax over candidates of 100 cos; the encoder of the paper is a CLIP ViT-H/14"},
)


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Candidates of one prompt."""

    order: Array  # (v,) int64: the valid candidates, best first; equal ones by position
    chances: Array  # (n,) of being preferred, sum 1; NaN where the candidate is invalid
    margin: float  # cosine of the first less that of the second; NaN with fewer than two


def ranked(cosines: Array, *, scale: float = SCALE) -> Ranked:
    """(n,) cosines of candidates with their prompt, NaN where there is none -> their order and chances.

    Kirstain et al. 2023, arXiv 2305.01569. Raises UsageError for another shape, an infinity, or a `scale` not above 0.
    """
    if not 0 < scale < np.inf:
        raise UsageError(f"ranking: a scale of {scale}; give a number above 0")
    values = _scores(cosines)
    order = np.argsort(-values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    chances = np.full(len(values), np.nan)
    if len(order):
        chances[order] = scipy.special.softmax(scale * values[order])
    margin = float(values[order[0]] - values[order[1]]) if len(order) > 1 else float("nan")
    return Ranked(order, chances, margin)


def win_share(scores: Array, groups: Array, models: Array, model: str) -> Score:
    """(N,) scores of images, (N,) their groups and (N,) their models -> how often `model` has the best of a group.

    0 to 1. Higher scores are better; NaN scores are invalid and counted. A model with more candidates in a group has
    more chances: `params["chance"]` is the share that would be expected if scores said nothing. Raises UsageError when
    lengths differ, a score is infinite, or no image is of `model`.
    """
    values, groups, own = _scores(scores), np.asarray(groups), np.asarray(models) == model
    if groups.shape != values.shape or own.shape != values.shape:
        raise UsageError(f"ranking: {len(values)} scores, {groups.size} groups and {own.size} models; need one of each")
    if not own.any():
        known = ", ".join(map(str, np.unique(np.asarray(models))[:20]))
        raise UsageError(f"ranking: no image is of the model {model!r}; choose from {known}")
    names, of = np.unique(groups, return_inverse=True)
    valid = ~np.isnan(values)
    n_own, n_other = (np.bincount(of[valid & side], minlength=len(names)) for side in (own, ~own))
    best_own, best_other = (_best(values, of, valid & side, len(names)) for side in (own, ~own))
    met = (n_own > 0) & (n_other > 0)
    params = {
        "model": model,
        "ties": "no win",
        "chance": float((n_own[met] / (n_own + n_other)[met]).mean()) if met.any() else float("nan"),
        "n_ties": int((best_own[met] == best_other[met]).sum()),
        "n_invalid": int((~valid).sum()),
        "n_groups_left_out": int((~met).sum()),
    }
    score = share_of("ranking-win-share", best_own[met] > best_other[met], "groups", params)
    warn_if_few(RANKING, score.n)
    return score


def _best(values: Array, of: Array, chosen: Array, n_groups: int) -> Array:
    best = np.full(n_groups, -np.inf)
    np.maximum.at(best, of[chosen], values[chosen])
    return best


def _scores(scores: Array) -> Array:
    values = np.asarray(scores)
    if values.ndim != 1 or not (np.issubdtype(values.dtype, np.floating) or np.issubdtype(values.dtype, np.integer)):
        raise UsageError(f"ranking: scores of {values.dtype} {values.shape}; need (n,) real numbers")
    if np.isinf(values).any():
        raise UsageError("ranking: a score is infinite; give cosines, and NaN where there is none")
    return values.astype(np.float64)
