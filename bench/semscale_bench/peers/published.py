"""The algorithm of the consistency score's published script, written anew from its description.

For each set of images it loads the model, checking the SHA-256 of the weights, opens the images one after the other,
embeds the whole set in one pass, and goes through the pairs in Python, with one cosine of torch for each. With argument
`once` the model is loaded beforehand, and all else is as it is. The model is loaded by transformers, whose format the
weights have; the script uses the CLIP package. On the GPU where torch has one, which was never run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel

from semscale_bench.peers.job import Found, Model, Task
from semscale_bench.peers.table import ONCE

VERSION_OF = "transformers"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SEED = 0

Loaded = tuple[CLIPModel, CLIPImageProcessor]


def load(model: Model, when: str) -> Callable[[Task], Found]:
    """The script's work, with the model loaded where `when` is ONCE."""
    kept = _loaded(model.checkpoint) if when == ONCE else None

    def score(task: Task) -> Found:
        scores = []
        for numbers in task.sets():
            rows = embed([task.images[i] for i in numbers], kept or _loaded(model.checkpoint))
            scores.append(similarity(rows))
        return Found(consistency=tuple(scores))

    return score


def embed(paths: Sequence[Path], loaded: Loaded) -> torch.Tensor:
    """A set of images -> (N, D), of any length."""
    torch.manual_seed(SEED)
    clip, processor = loaded
    pixels = [processor(images=Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"] for path in paths]
    with torch.no_grad():
        return clip.get_image_features(torch.cat(pixels).to(DEVICE))


def similarity(rows: torch.Tensor) -> float:
    """(N, D) -> the mean over pairs of max(100 cos, 0); NaN for a single image."""
    kept = []
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            cosine = torch.nn.functional.cosine_similarity(rows[i], rows[j], dim=0).item()
            kept.append(max(100 * cosine, 0.0))
    return sum(kept) / len(kept) if kept else math.nan


def _loaded(checkpoint: Path) -> Loaded:
    for weights in sorted(checkpoint.glob("*.safetensors")):
        with weights.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    clip = CLIPModel.from_pretrained(checkpoint, local_files_only=True, use_safetensors=True).eval().to(DEVICE)
    return clip, CLIPImageProcessor.from_pretrained(checkpoint, local_files_only=True)
