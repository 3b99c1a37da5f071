"""The algorithm of the consistency score's published script, written anew from its description, on the CLIP package.

For each set of images it loads the model as `clip.load` does, which checks the SHA-256 of the weights and builds the
network, opens the images one after the other, embeds the whole set in one pass, and goes through the pairs in Python,
with one cosine of torch for each. With argument `once` the model is loaded beforehand, and all else is as it is. On the
GPU where torch has one, which was never run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image

from semscale_bench.peers.job import Found, Model, Task
from semscale_bench.peers.openai_package import DEVICE, Loaded, loaded
from semscale_bench.peers.table import ONCE

VERSION_OF = "clip-anytorch"
SEED = 0


def load(model: Model, when: str) -> Callable[[Task], Found]:
    """The script's work, with the model loaded where `when` is ONCE. Raises ValueError for what the package has not."""
    if not model.archive.is_file():
        raise ValueError(
            "the CLIP package has no such network: heads of 64, quick GELU and a fourfold MLP are all it has"
        )
    kept = loaded(model.archive) if when == ONCE else None

    def score(task: Task) -> Found:
        scores = []
        for numbers in task.sets():
            rows = embed([task.images[i] for i in numbers], kept or loaded(model.archive))
            scores.append(similarity(rows))
        return Found(consistency=tuple(scores))

    return score


def embed(paths: Sequence[Path], loaded: Loaded) -> torch.Tensor:
    """A set of images -> (N, D), of any length."""
    torch.manual_seed(SEED)
    clip, prepare = loaded
    pixels = torch.stack([prepare(Image.open(path)) for path in paths])
    with torch.no_grad():
        return clip.encode_image(pixels.to(DEVICE))


def similarity(rows: torch.Tensor) -> float:
    """(N, D) -> the mean over pairs of max(100 cos, 0); NaN for a single image."""
    kept = []
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            cosine = torch.nn.functional.cosine_similarity(rows[i], rows[j], dim=0).item()
            kept.append(max(100 * cosine, 0.0))
    return sum(kept) / len(kept) if kept else math.nan
