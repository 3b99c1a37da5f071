"""How well the demo encoder tells held-out drawn scenes apart, measured on a saved checkpoint, and the model card."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import stats
from torch.nn import functional
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from semscale.producers.scenes import ATTRIBUTES, draw, hard_negative
from semscale_export.demo_data import sample_split_prompt

if TYPE_CHECKING:
    from semscale_export.demo_training import Recipe

CANDIDATES = 32  # captions to choose from in retrieval: the right one and 31 of other scenes
SCENES = 1500
_BATCH = 100  # B


@dataclass(frozen=True, slots=True)
class Rate:
    """How often the right caption won, out of `n`."""

    right: int
    n: int

    @property
    def value(self) -> float:
        """The share that was right."""
        return self.right / self.n

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        found = stats.binomtest(self.right, self.n).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """N held-out captions and their drawings."""

    prompts: list[str]
    images: list[Image.Image]


def held_out_scenes(count: int, *, seed: int, size: int = 256) -> HeldOut:
    """Draw `count` scenes, `size` pixels a side, whose captions are distinct and were never trained on."""
    rng = random.Random(f"held out|{seed}")
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        prompts[sample_split_prompt(rng, held_out=True)] = None
    return HeldOut(list(prompts), [draw(prompt, seed + row, size=size) for row, prompt in enumerate(prompts)])


class DemoEncoder:
    """The checkpoint as transformers loads it, in float32."""

    def __init__(self, folder: Path) -> None:
        self.model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizerFast.from_pretrained(folder)
        self.processor = CLIPImageProcessor.from_pretrained(folder)

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """RGB images -> (N, D) embeddings of unit length."""
        parts = []
        for start in range(0, len(images), _BATCH):
            inputs = self.processor(images=list(images[start : start + _BATCH]), return_tensors="pt")
            parts.append(functional.normalize(self.model.get_image_features(**inputs), dim=-1))
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Texts -> (N, D) embeddings of unit length."""
        parts = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            inputs: Any = self.tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            parts.append(functional.normalize(self.model.get_text_features(**inputs), dim=-1))
        return torch.cat(parts).numpy()


def retrieval(images: npt.NDArray[np.float32], texts: npt.NDArray[np.float32], *, seed: int) -> Rate:
    """Count how often row i of `images` (N, D) is closest to row i of `texts` (N, D) among 32 texts; a tie is wrong."""
    rng, right = np.random.default_rng(seed), 0
    for row, image in enumerate(images):
        others = rng.choice(len(texts) - 1, CANDIDATES - 1, replace=False)
        others += others >= row
        right += int(image @ texts[row] > (texts[others] @ image).max())
    return Rate(right, len(images))


def against_hard_negatives(
    encoder: DemoEncoder, scenes: HeldOut, images: npt.NDArray[np.float32], *, seed: int
) -> dict[str, Rate]:
    """Count, for each kind of attribute, how often the caption beats itself with one attribute of that kind changed."""
    rng, texts, rates = random.Random(seed), encoder.texts(scenes.prompts), {}
    for kind in ATTRIBUTES:
        wrong = [(row, hard_negative(prompt, kind, rng)) for row, prompt in enumerate(scenes.prompts)]
        rows, negatives = zip(*((row, text) for row, text in wrong if text is not None), strict=True)
        chosen = images[list(rows)]
        gap = np.sum(chosen * (texts[list(rows)] - encoder.texts(negatives)), axis=1)
        rates[kind] = Rate(int((gap > 0).sum()), len(rows))
    return rates


def evaluate(folder: Path, *, count: int = SCENES, seed: int = 1) -> dict[str, Rate]:
    """Measure the checkpoint in `folder` on `count` held-out scenes: "retrieval", then one rate a kind of attribute."""
    encoder, scenes = DemoEncoder(folder), held_out_scenes(count, seed=seed)
    images = encoder.images(scenes.images)
    found = {"retrieval": retrieval(images, encoder.texts(scenes.prompts), seed=seed)}
    return found | against_hard_negatives(encoder, scenes, images, seed=seed)


_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
---

# semscale demo encoder

**{note}.** A small CLIP ({parameters:.1f} million parameters, 64-pixel images, {dim} dimensions) that semscale bundles
so that its demo and its tests run offline. It knows the scenes that `semscale.producers.scenes` draws, and the words
of their captions. Scores it gives to photographs, or to the output of any real generative model, mean nothing.

## Training

`python -m semscale_export.demo_training` made it from random weights: {scenes:,} drawn scenes
(a third of them simple, one large thing before a plain wall; a third with two things; a third of any kind),
{steps:,} steps of {batch} images, each with {negatives} wrong captions that differ in one attribute, seed {seed}.
The loss is CLIP's, plus linear classifiers that ask both embeddings for each attribute, and each patch for its object,
and are then thrown away. No other data, and no other model's weights, went in. Captions are split by a hash of their
text: about 5 % are held out, and no training text, right or wrong, is one of them.

## Measured

On {n:,} held-out scenes drawn at 256 pixels, with this folder's float16 weights loaded through transformers and run in
float32. Intervals are Wilson's, 95 %.

| the right caption wins against | right | of | share | 95 % interval |
|---|---|---|---|---|
{rows}

The last {kinds} rows set it against one caption that differs from it in one attribute of that kind. Another scene's
caption that happens to be true too counts as an error when it wins. Chance is 3.1 % in the first row, 50 % below.

## Limits

Captions outside the grammar of the drawn scenes are encoded, without meaning. A scene is one or two nouns; at most five
copies are counted. Images are seen at 64 pixels.
"""


def model_card(results: dict[str, Rate], recipe: Recipe, *, parameters: int) -> str:
    """Return the checkpoint's README, every number in it from `results`, the recipe or the model itself."""
    from semscale_export.demo_training import NOTE

    rows = []
    for name, rate in results.items():
        against = f"{CANDIDATES - 1} captions of other scenes" if name == "retrieval" else f"another {name}"
        low, high = rate.interval()
        rows.append(f"| {against} | {rate.right} | {rate.n} | {rate.value:.1%} | {low:.1%} to {high:.1%} |")
    return _CARD.format(
        note=NOTE[0].upper() + NOTE[1:],
        parameters=parameters / 1e6,
        dim=recipe.dim,
        scenes=recipe.scenes,
        steps=recipe.steps,
        batch=recipe.batch,
        negatives=recipe.negatives,
        seed=recipe.seed,
        n=results["retrieval"].n,
        rows="\n".join(rows),
        kinds=len(ATTRIBUTES),
    )
