"""Case `folder`: a folder of images to stored embeddings.

Regime: files in the page cache, decoded, embedded in float32 and written. Ceilings: decoding alone, and the encoder
alone on ready pixels; both want the same cores, so all of the work cannot go faster than the two in a row. Baseline:
the usual loop, one image at a time through transformers' processor and model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import semscale
from semscale.decode import decode
from semscale.encoders import BACK_ENDS, load_spec, open_encoder
from semscale.model import Array, Sample
from semscale.prefetch import ordered_map
from semscale.preprocess import preprocess
from semscale.settings import Settings
from semscale.sources import open_source
from semscale_bench.measure import Contestant
from semscale_export.cache import ensure_exported

LOOPED = 32  # images the baseline is run on
AGREE = 1e-4  # largest cosine distance between our embedding and the loop's


def contestants(source: Path, checkpoint: Path, work: Path) -> dict[str, Contestant]:
    """semscale, its ceilings and its baseline over one folder."""
    exported, settings = ensure_exported(str(checkpoint)), Settings(batch_size=BACK_ENDS["onnx"].batch_size)
    geometry = load_spec(exported / "image").preprocess
    assert geometry is not None
    encoder = open_encoder(exported / "image")

    def ready(sample: Sample) -> Array:
        return preprocess(decode(sample.image), geometry)

    samples = [item for item in _samples(source) if isinstance(item, Sample)]
    pixels = np.stack([ready(sample) for sample in samples[: settings.batch_size]])
    loop = _Loop(checkpoint)
    expected = loop(samples[:LOOPED])

    def everything() -> int:
        shutil.rmtree(work / "store", ignore_errors=True)
        store = semscale.embed(source, work / "store", model=str(exported), settings=settings)
        _check(store.images.take(np.arange(min(LOOPED, len(store.images)))), expected)
        return len(store.plan())

    def decoding() -> int:
        return sum(1 for _ in ordered_map(ready, samples, workers=settings.workers, depth=64))

    def encoding() -> int:
        for _ in range(0, len(samples), len(pixels)):
            encoder.encode(pixels)
        return -(-len(samples) // len(pixels)) * len(pixels)

    def one_at_a_time() -> int:
        return len(loop(samples[:LOOPED]))

    return {
        "semscale": everything,
        "decoding alone": decoding,
        "encoder alone": encoding,
        "transformers, one image at a time": one_at_a_time,
    }


def _samples(source: Path) -> Iterator[object]:
    opened = open_source(source)
    return opened.read(range(len(opened)))


def _check(ours: Array, theirs: Array) -> None:
    distance = 1 - np.einsum("nd,nd->n", ours, theirs).min()
    assert distance < AGREE, f"embeddings differ from transformers' by a cosine distance of {distance:.1e}"


class _Loop:
    """The loop people write: open, process, embed, one image after the other."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import CLIPImageProcessor, CLIPModel

        self._model = CLIPModel.from_pretrained(checkpoint, local_files_only=True, use_safetensors=True).eval()
        self._processor = CLIPImageProcessor.from_pretrained(checkpoint, local_files_only=True)

    def __call__(self, samples: list[Sample]) -> Array:
        rows = []
        for sample in samples:
            inputs = self._processor(images=Image.open(sample.uri).convert("RGB"), return_tensors="pt")
            with torch.inference_mode():
                rows.append(self._model.get_image_features(**inputs)[0].numpy())
        found = np.stack(rows)
        return found / np.linalg.norm(found, axis=1, keepdims=True)
