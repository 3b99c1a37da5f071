"""Trains the bundled demo encoder: a small CLIP that knows drawn scenes and nothing else.

    python -m semscale_export.demo_training -o DIR

Everything is made here, offline: the scenes, the tokenizer, the weights. The result is a checkpoint folder in the
Hugging Face layout, with a model card whose numbers were measured on that very folder.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from semscale.prefetch import ahead
from semscale_export import demo_evaluation
from semscale_export.demo_data import IGNORED, PREFIXES, QUESTIONS, SIDE, TrainingBatch, answers, batches, render_set
from semscale_export.demo_tokenizer import TOKENS, train_tokenizer

LOG = logging.getLogger(__name__)
NOTE = "demo encoder: drawn scenes only"
MEAN = STD = (0.5, 0.5, 0.5)
_SHIFT = 3  # pixels by which a batch of training images is moved at most
_BATCHES_AHEAD = 4
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's mallopt


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the weights, beside the code."""

    scenes: int = 96_000  # rendered once, seen again every epoch
    steps: int = 5_000
    batch: int = 64  # B
    negatives: int = 2  # K, wrong captions an image
    warmup: int = 100  # steps
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    seed: int = 0
    image_width: int = 128
    image_layers: int = 6
    text_width: int = 128
    text_layers: int = 2
    dim: int = 192  # D
    merges: int = 500


def build_model(recipe: Recipe, tokenizer: CLIPTokenizerFast) -> CLIPModel:
    """Return an untrained model of the recipe's shape, which pools texts at the tokenizer's end token."""
    tower = {"num_attention_heads": 4, "hidden_act": "gelu", "projection_dim": recipe.dim}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {
        **tower,
        **ids,
        "pad_token_id": tokenizer.pad_token_id,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TOKENS,
        "hidden_size": recipe.text_width,
        "intermediate_size": 4 * recipe.text_width,
        "num_hidden_layers": recipe.text_layers,
    }
    vision = {
        **tower,
        "image_size": SIDE,
        "patch_size": 8,
        "hidden_size": recipe.image_width,
        "intermediate_size": 4 * recipe.image_width,
        "num_hidden_layers": recipe.image_layers,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=recipe.dim)
    torch.manual_seed(recipe.seed)
    return CLIPModel(config)


def augment(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, 64, 64, 3) uint8 -> (B, 3, 64, 64) float, normalised, moved by up to 3 pixels, its tones a little off."""
    x = pixels.permute(0, 3, 1, 2).float() / 255
    gain = 1 + 0.1 * (2 * torch.rand(len(x), 3, 1, 1, generator=generator) - 1)
    x = (x * gain + 0.05 * torch.randn(len(x), 1, 1, 1, generator=generator)).clamp(0, 1)
    padded = functional.pad(x, (_SHIFT,) * 4, mode="replicate")
    top, left = torch.randint(0, 2 * _SHIFT + 1, (2,), generator=generator).tolist()
    shifted = padded[:, :, top : top + SIDE, left : left + SIDE]
    return (shifted - MEAN[0]) / STD[0]


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric loss, with every wrong caption of the batch as one more candidate, and each image's own apart.

    `images` (B, D) and `texts` (B + B * K, D) are of unit length; the first B texts are the right ones, then come the K
    wrong ones of each image. The last term sets an image's caption against its own K alone: among all B + B * K texts,
    those would weigh little once other images are told apart.
    """
    size = len(images)
    logits, target = scale * images @ texts.T, torch.arange(size)
    own_texts = torch.cat([texts[:size, None], texts[size:].view(size, -1, texts.shape[1])], dim=1)  # (B, 1 + K, D)
    own = scale * torch.einsum("bd,bkd->bk", images, own_texts)
    to_text, to_image = functional.cross_entropy(logits, target), functional.cross_entropy(logits[:, :size].T, target)
    return (to_text + to_image) / 2 + functional.cross_entropy(own, torch.zeros_like(target))


class Examiner(nn.Module):
    """Asks an embedding, in training only, what each attribute of its scene is: one linear classifier a question.

    Images and texts answer to the same classifiers, so that attributes lie in the same directions for both. A contrast
    between captions tells a tower one bit about one attribute; this tells it all of them, and saves most of the steps.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = [len(answers(question)) for question in QUESTIONS]
        self.classifiers = nn.Linear(dim, sum(self.sizes))
        self.stretch = math.sqrt(dim)  # a unit vector's entries are too small for a linear layer's usual weights

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, D) unit vectors and (B, questions) labels -> mean cross entropy over the questions."""
        logits = self.classifiers(embeddings * self.stretch).split(self.sizes, dim=1)
        asked = [functional.cross_entropy(x, y, reduction="sum") for x, y in zip(logits, labels.T, strict=True)]
        return torch.stack(asked).sum() / (labels != IGNORED).sum()


class PatchExaminer(nn.Module):
    """Asks each patch of an image, in training only, which object it belongs to and that one's texture.

    From an image's caption alone, a vision transformer is slow to find out that there are shapes at all.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = [len(answers(("second", "object"))), len(answers(("first", "texture")))]
        self.classifiers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(self.sizes)))

    def forward(self, patches: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, 64, width) patch states and (B, 64, 2) labels -> cross entropy, summed over the two questions."""
        logits = self.classifiers(patches).flatten(0, 1).split(self.sizes, dim=1)
        return sum(functional.cross_entropy(x, y) for x, y in zip(logits, labels.flatten(0, 1).T, strict=True))


class Trainer:
    """The model with its optimizer; `step` is one update."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizerFast, recipe: Recipe) -> None:
        self.model, self.tokenizer, self.recipe = model, tokenizer, recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.examiner = Examiner(recipe.dim)
        self.patch_examiner = PatchExaminer(recipe.image_width)
        learned = [p for module in (model, self.examiner, self.patch_examiner) for p in module.parameters()]
        matrices, rest = ([p for p in learned if (p.ndim >= 2) is wide] for wide in (True, False))
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    def _rate(self, step: int) -> float:
        if step < self.recipe.warmup:
            return (step + 1) / self.recipe.warmup
        done = (step - self.recipe.warmup) / max(1, self.recipe.steps - self.recipe.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def step(self, batch: TrainingBatch) -> float:
        """Update the weights on one batch and return its loss."""
        pixels = augment(torch.from_numpy(batch.pixels), self.generator)
        tokens = self.tokenizer([*batch.captions, *batch.negatives], padding=True, truncation=True, return_tensors="pt")
        seen = self.model.vision_model(pixel_values=pixels)
        images = functional.normalize(self.model.visual_projection(seen.pooler_output), dim=-1)
        texts = functional.normalize(self.model.get_text_features(**tokens), dim=-1)
        scale = self.model.logit_scale.clamp(max=math.log(100)).exp()
        labels = torch.from_numpy(batch.labels)
        asked = self.examiner(images, labels) + self.examiner(texts[: len(images)], labels) / 4
        patches = self.patch_examiner(seen.last_hidden_state[:, 1:], torch.from_numpy(batch.patches))
        loss = contrastive_loss(images, texts, scale) + asked + patches
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


def train(trainer: Trainer, data: Iterator[TrainingBatch]) -> None:
    """Run all of the recipe's steps, logging the mean loss of every fifty."""
    trainer.model.train()
    losses, began = [], time.monotonic()
    for step, batch in enumerate(islice(data, trainer.recipe.steps), start=1):
        losses.append(trainer.step(batch))
        if step % 50 == 0:
            seconds = (time.monotonic() - began) / step
            LOG.info("step %d  loss %.3f  %.2f s a step", step, sum(losses[-50:]) / 50, seconds)


def save(trainer: Trainer, folder: Path) -> None:
    """Write the checkpoint, weights in float16, to `folder`."""
    weights = {name: value.detach().half().contiguous() for name, value in trainer.model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {**trainer.model.config.to_diff_dict(), "architectures": ["CLIPModel"], "semscale_note": NOTE}
    config["torch_dtype"] = "float16"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    trainer.tokenizer.backend_tokenizer.no_padding()  # training set both, and tokenizer.json would carry them on
    trainer.tokenizer.backend_tokenizer.no_truncation()
    trainer.tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        resample=3,
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(folder)


def keep_memory() -> None:
    """Make glibc keep freed memory instead of giving it back: a step frees and takes the same gigabyte every time.

    Measured on two cores: 0.33 s a step instead of 1.07. Does nothing where the C library has no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**28)


def main() -> None:
    """Render, train, save, measure, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--cache", type=Path, help="folder of rendered scenes (default: OUT-scenes)")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="updates (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=Recipe().scenes, help="drawn scenes (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="processes that render (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    keep_memory()
    recipe, out = Recipe(scenes=options.scenes, steps=options.steps), options.out
    cache = options.cache or out.with_name(out.name + "-scenes")
    for folder in (out, cache):
        folder.mkdir(parents=True, exist_ok=True)
    scenes = render_set(cache, recipe.scenes, seed=recipe.seed, processes=options.processes)
    tokenizer = train_tokenizer([*scenes.prompts, *PREFIXES * 200], recipe.merges, out)
    trainer = Trainer(build_model(recipe, tokenizer), tokenizer, recipe)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    LOG.info("%d scenes, %d parameters", recipe.scenes, parameters)
    train(trainer, ahead(batches(scenes, recipe.batch, recipe.negatives, seed=recipe.seed), _BATCHES_AHEAD))
    save(trainer, out)
    results = demo_evaluation.evaluate(out)
    LOG.info("held out: %s", results)
    (out / "README.md").write_text(demo_evaluation.model_card(results, recipe, parameters=parameters), encoding="utf-8")


if __name__ == "__main__":
    main()
