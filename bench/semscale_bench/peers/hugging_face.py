"""The usual loop: transformers' processor and model on batches of images, each text embedded once.

Images are opened one after the other, as such loops do. On the GPU where torch has one, which was never run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from semscale_bench.peers.job import Found, Model, Task

VERSION_OF = "transformers"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load(model: Model) -> Callable[[Task], Found]:
    """The loop, with the model loaded."""
    clip = CLIPModel.from_pretrained(model.checkpoint, local_files_only=True, use_safetensors=True).eval().to(DEVICE)
    processor = CLIPImageProcessor.from_pretrained(model.checkpoint, local_files_only=True)
    tokenizer = CLIPTokenizerFast.from_pretrained(model.checkpoint, local_files_only=True)

    def embed_texts(texts: list[str]) -> np.ndarray:
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(DEVICE)
        return clip.get_text_features(**tokens).cpu().numpy()

    def embed_images(batch: tuple) -> np.ndarray:
        pixels = processor(images=[Image.open(path).convert("RGB") for path in batch], return_tensors="pt").to(DEVICE)
        return clip.get_image_features(**pixels).cpu().numpy()

    def loop(task: Task) -> Found:
        with torch.inference_mode():
            captions = list(dict.fromkeys(task.captions))
            texts = unit(embed_texts(captions))[[captions.index(caption) for caption in task.captions]]
            starts = range(0, len(task.images), model.batch_size)
            rows = unit(np.concatenate([embed_images(task.images[at : at + model.batch_size]) for at in starts]))
        scores = 100 * np.einsum("nd,nd->n", rows, texts)
        return Found(float(max(scores.mean(), 0.0)), consistency(rows, task), rows)

    return loop


def unit(rows: np.ndarray) -> np.ndarray:
    """(N, D) -> the same directions, of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def consistency(rows: np.ndarray, task: Task) -> tuple[float, ...]:
    """(N, D) of unit norm -> the mean over pairs of max(100 cos, 0), of each group."""
    found = []
    for numbers in task.sets():
        cosines = (rows[numbers] @ rows[numbers].T)[np.triu_indices(len(numbers), 1)]
        found.append(float(np.maximum(100 * cosines, 0.0).mean()))
    return tuple(found)
