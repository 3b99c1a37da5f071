"""The drawn scenes that the demo encoder learns from: split by caption, rendered, batched with wrong captions."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from semscale.producers.captions import OBJECTS, Scene, caption
from semscale.producers.scenes import ATTRIBUTES, VOCABULARY, arrangement, draw, hard_negative, parse, sample_prompt

SIDE = 64  # pixels a side of what the encoder sees
PATCHES_A_SIDE = 8  # of 8 pixels each
DRAWN_SIZES = (64, 96, 128, 256)  # pixels a side of the drawings, which preprocessing brings to SIDE
_HELD_OUT_OF_256 = 13  # about 5 % of all captions
_CHUNK = 400  # scenes a process renders at a time
_TRIES = 8  # at finding a negative that is not held out
# These are the hardest to learn, so they are asked for more often.
HARD_KINDS = {"relation": 12.0, "count": 2.0, "size": 2.0, "object": 1.5, "texture": 1.5}
NEGATIVE_WEIGHTS = {kind: HARD_KINDS.get(kind, 1.0) for kind in ATTRIBUTES}
# CLIPScore puts "A photo depicts" before a caption; the encoder must not lose its way over such words.
PREFIXES = ("a photo depicts ", "a picture of ", "a drawing of ", "a photo of ", "an image of ")
_PREFIX_CHANCE = 0.15

# What an image or a right caption is also asked about directly: (side of the relation, kind of attribute).
QUESTIONS = (
    *((side, kind) for side in ("first", "second") for kind in ("object", "colour", "size", "texture")),
    ("first", "count"),
    ("second", "count"),
    ("scene", "relation"),
    ("scene", "background"),
    ("scene", "style"),
)
IGNORED = -100  # a label that is not asked for, as torch's cross entropy has it

Pixels = npt.NDArray[np.uint8]


def is_held_out(prompt: str) -> bool:
    """Whether `prompt` belongs to the held-out captions, by a hash of its text: no training text is one of them."""
    return hashlib.sha256(prompt.encode()).digest()[0] < _HELD_OUT_OF_256


def sample_split_prompt(rng: random.Random, *, held_out: bool) -> str:
    """Return a random caption of the training side, or of the held-out side."""
    while True:
        prompt = sample_prompt(rng)
        if is_held_out(prompt) == held_out:
            return prompt


def answers(question: tuple[str, str]) -> tuple[str | int | None, ...]:
    """Return the possible answers to one of QUESTIONS, in the order of their labels. None is "there is none"."""
    _, kind = question
    return (None, *range(1, 6)) if kind == "count" else (None, *VOCABULARY[kind])


def canonical(scene: Scene) -> Scene:
    """Return the same picture's description with the left or upper thing first.

    "a cat right of a cup" and "a cup left of a cat" show the same, so no image could tell which thing comes first.
    """
    turned = {"right of": "left of", "below": "above"}.get(scene.relation or "")
    if turned is None or scene.second is None:
        return scene
    return dataclasses.replace(scene, first=scene.second, relation=turned, second=scene.first)


def labels(prompt: str) -> list[int]:
    """Return the label of `prompt` for each of QUESTIONS, IGNORED where the caption leaves the answer open."""
    scene = canonical(parse(prompt))
    parts = {"first": scene.first, "second": scene.second, "scene": scene}
    found = []
    for side, kind in QUESTIONS:
        answer = getattr(parts[side], kind) if parts[side] is not None else None
        unstated = parts[side] is not None and answer is None and kind in ("colour", "size")
        found.append(IGNORED if unstated else answers((side, kind)).index(answer))
    return found


def patch_labels(prompt: str, index: int) -> npt.NDArray[np.int64]:
    """Return what each patch of training scene `index` shows, (64, 2): label of the object (0: none) and its texture.

    Patches go row by row. Texture is IGNORED where there is no object.
    """
    found = np.zeros((PATCHES_A_SIDE, PATCHES_A_SIDE, 2), np.int64)
    found[..., 1] = IGNORED
    middles = (np.arange(PATCHES_A_SIDE) + 0.5) / PATCHES_A_SIDE
    for thing, spots in arrangement(prompt, index):
        label = [answers(("second", "object")).index(thing.object), answers(("first", "texture")).index(thing.texture)]
        for spot in spots:
            inside = np.hypot(middles[:, None] - spot.y, middles[None] - spot.x) < max(spot.radius, 0.09)
            found[inside] = label
    return found.reshape(-1, 2)


def preprocess(image: Image.Image) -> Pixels:
    """RGB image -> (64, 64, 3): shortest side to 64 by antialiased bicubic, then the centre, as the checkpoint says."""
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


def _simple_prompt(rng: random.Random) -> str:
    # One large thing before a plain wall: what shapes are is learned here first, and then found in crowded scenes.
    while True:
        words = (rng.choice(["", "medium ", "large "]), rng.choice(VOCABULARY["colour"]), rng.choice(OBJECTS))
        prompt = caption(parse("a {}{} {}".format(*words)))
        if not is_held_out(prompt):
            return prompt


def _related_prompt(rng: random.Random) -> str:
    # Two things: rarer among all captions than their difficulty asks for.
    while True:
        prompt = _any_prompt(rng)
        if parse(prompt).relation is not None:
            return prompt


def _any_prompt(rng: random.Random) -> str:
    return sample_split_prompt(rng, held_out=False)


def rendered(index: int, seed: int) -> tuple[str, Pixels]:
    """Return training caption `index` of `seed` and its scene, (64, 64, 3), drawn at a random size, at times JPEG'd."""
    rng = random.Random(f"train|{seed}|{index}")
    prompt = (_simple_prompt, _related_prompt, _any_prompt)[index % 3](rng)
    image = draw(prompt, index, size=rng.choice(DRAWN_SIZES))
    if rng.random() < 0.3:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=rng.randint(50, 95))
        image = Image.open(file)
    return prompt, preprocess(image)


def _render_chunk(job: tuple[int, int, int]) -> tuple[int, list[str], Pixels]:
    start, stop, seed = job
    prompts, pixels = zip(*(rendered(index, seed) for index in range(start, stop)), strict=True)
    return start, list(prompts), np.stack(pixels)


@dataclass(frozen=True, slots=True)
class SceneSet:
    """Rendered scenes: `prompts[i]` is the caption of `pixels[i]`, (N, 64, 64, 3) uint8, mapped from disk."""

    prompts: list[str]
    pixels: Pixels


def render_set(folder: Path, count: int, *, seed: int, processes: int) -> SceneSet:
    """Render `count` training scenes into `folder`, or open them where an earlier run with these arguments did."""
    stem = f"scenes-{seed}-{count}"
    pixels_file, prompts_file = folder / f"{stem}.npy", folder / f"{stem}.json"
    if not prompts_file.exists():
        prompts: list[str] = [""] * count
        pixels = np.lib.format.open_memmap(pixels_file, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3))
        jobs = [(start, min(start + _CHUNK, count), seed) for start in range(0, count, _CHUNK)]
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for start, names, part in pool.imap_unordered(_render_chunk, jobs):
                prompts[start : start + len(names)] = names
                pixels[start : start + len(names)] = part
        pixels.flush()
        partial = prompts_file.with_suffix(".partial")
        partial.write_text(json.dumps(prompts), encoding="utf-8")
        os.replace(partial, prompts_file)  # its presence says that the pixels are complete
    return SceneSet(json.loads(prompts_file.read_text(encoding="utf-8")), np.load(pixels_file, mmap_mode="r"))


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """B scenes, their captions, and K wrong captions each."""

    pixels: Pixels  # (B, 64, 64, 3)
    captions: list[str]  # B
    negatives: list[str]  # B * K, the K of scene 0 first
    labels: npt.NDArray[np.int64]  # (B, len(QUESTIONS))
    patches: npt.NDArray[np.int64]  # (B, 64, 2), see patch_labels


def batches(scenes: SceneSet, size: int, negatives: int, *, seed: int) -> Iterator[TrainingBatch]:
    """Yield batches for ever, each epoch in a new order, with fresh wrong captions and prefixes."""
    rng, order_rng = random.Random(f"batches|{seed}"), np.random.default_rng(seed)
    while True:
        order = order_rng.permutation(len(scenes.prompts))
        for start in range(0, len(order) - size + 1, size):
            rows = np.sort(order[start : start + size])
            yield _batch(scenes, rows, negatives, rng)


def _batch(scenes: SceneSet, rows: npt.NDArray[np.int64], negatives: int, rng: random.Random) -> TrainingBatch:
    captions: list[str] = []
    wrong: list[str] = []
    for row in rows:
        prompt = scenes.prompts[row]
        prefix = rng.choice(PREFIXES) if rng.random() < _PREFIX_CHANCE else ""
        captions.append(prefix + prompt)
        wrong += [prefix + negative for negative in training_negatives(prompt, negatives, rng)]
    asked = np.array([labels(scenes.prompts[row]) for row in rows])
    shown = np.stack([patch_labels(scenes.prompts[row], row) for row in rows])
    return TrainingBatch(scenes.pixels[rows], captions, wrong, asked, shown)


def training_negatives(prompt: str, count: int, rng: random.Random) -> list[str]:
    """Return `count` captions that differ from `prompt` in one attribute each, of varied kinds, none held out."""
    found: list[str] = []
    while len(found) < count:
        for kind in _kinds_in_random_order(rng)[: count - len(found) + 2]:
            tries = (hard_negative(prompt, kind, rng) for _ in range(_TRIES))
            found += next(([text] for text in tries if text is not None and not is_held_out(text)), [])
    return found[:count]


def _kinds_in_random_order(rng: random.Random) -> list[str]:
    # Exponential race: sorting by -log(u)/w draws without replacement with weights w.
    return sorted(ATTRIBUTES, key=lambda kind: rng.expovariate(NEGATIVE_WEIGHTS[kind]))
