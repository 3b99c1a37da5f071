"""Metrics of single images, averaged over images."""

from __future__ import annotations

import numpy as np

from semscale.heads import read_linear_head
from semscale.measures.given import Given
from semscale.measures.measure import OfItems
from semscale.measures.rows import all_rows
from semscale.metrics.quality import ANTONYMS, SCALE, aesthetic_scores, clip_iqa_scores
from semscale.model import Array


def quality(given: Given, preset: str) -> OfItems:
    """CLIP-IQA of each image; the preset names the pair of prompts."""
    prompts = ANTONYMS[preset]
    (positive, negative), cut = given.encode_texts(tuple(prompts))
    values = clip_iqa_scores(all_rows(given.store), positive, negative)  # type: ignore[arg-type]
    params = {"prompts": list(prompts), "scale": SCALE, "n_truncated": int(cut.sum())}
    return _of_images(given, values, (0.0, 1.0), params)


def rating(given: Given, _: str) -> OfItems:
    """The rating of each image by a linear head."""
    assert given.head is not None, "checked before anything was embedded"
    head = read_linear_head(given.head)
    values = aesthetic_scores(all_rows(given.store), head)  # type: ignore[arg-type]
    return _of_images(given, values, (-np.inf, np.inf), {"head": head.name, "head_sha256": head.sha256})


def _of_images(given: Given, values: Array, bounds: tuple[float, float], params: dict[str, object]) -> OfItems:
    invalid = int(np.isnan(values).sum())
    return OfItems(values, given.groups.of_row, given.models, "image", bounds, invalid, params)
