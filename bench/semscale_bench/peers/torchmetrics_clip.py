"""torchmetrics' `CLIPScore.update` on batches of images, each with its text, as its documentation shows.

The model and the processor are transformers', given to it in the way that it offers for models of one's own. It embeds
the text of every image, also where it has just embedded the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchmetrics.multimodal.clip_score import CLIPScore  # pyright: ignore[reportMissingImports] - the peer's own
from transformers import CLIPModel, CLIPProcessor

from semscale_bench.peers.job import Found, Model, Task

VERSION_OF = "torchmetrics"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load(model: Model) -> Callable[[Task], Found]:
    """The metric, with the model loaded."""

    def loaded() -> tuple[CLIPModel, CLIPProcessor]:
        clip = CLIPModel.from_pretrained(model.checkpoint, local_files_only=True, use_safetensors=True).eval()
        return clip, CLIPProcessor.from_pretrained(model.checkpoint, local_files_only=True, use_fast=False)

    metric = CLIPScore(loaded).to(DEVICE)

    def score(task: Task) -> Found:
        metric.reset()
        for at in range(0, len(task.images), model.batch_size):
            part = slice(at, at + model.batch_size)
            metric.update([opened(path) for path in task.images[part]], list(task.captions[part]))
        return Found(clip_score=float(metric.compute()))

    return score


def opened(path: object) -> torch.Tensor:
    """A file -> (3, H, W) uint8."""
    with Image.open(path) as image:  # pyright: ignore[reportArgumentType]
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).to(DEVICE)
