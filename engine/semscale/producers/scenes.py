"""Scenes drawn from their captions: images whose content is known, made offline and without a model.

    draw("two small red striped circles left of a large blue star, watercolor style", seed=3)

A drawing depends on its prompt, seed and size alone: all chance comes from `random.Random`, whose stream is the same on
every platform, and shapes are rasterised at whole coordinates. What the caption leaves open (places, hues, exact sizes,
the wall behind) varies with the seed. Needs numpy and Pillow only.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from semscale.errors import UsageError
from semscale.producers.backdrops import paint
from semscale.producers.captions import (
    ATTRIBUTES,
    VOCABULARY,
    Scene,
    Thing,
    caption,
    change,
    hard_negative,
    parse,
    sample_prompt,
)
from semscale.producers.layout import Place, places
from semscale.producers.objects import choose, stamp
from semscale.producers.styles import STYLES

__all__ = ["ATTRIBUTES", "VOCABULARY", "arrangement", "draw", "generate", "hard_negative", "parse", "sample_prompt"]

_OVERSAMPLING = 2  # the canvas is drawn at twice its size and averaged down, which smooths edges
_SMALLEST = 32  # pixels; below it nothing can be told apart
_LARGEST = 4096  # pixels; some styles take over 1 GB there, and memory goes with the square


def draw(prompt: str, seed: int, *, size: int = 256) -> Image.Image:
    """Draw the scene that `prompt` describes: an RGB image of `size` by `size` pixels.

    The same prompt, seed and size give the same pixels. Raises UsageError for a word that scenes cannot draw (and names
    it), and for a size below 32 or above 4096.
    """
    check_size(size)
    return _draw_scene(parse(prompt), seed, size)


def check_size(size: int) -> None:
    """Raise UsageError for a side, in pixels, at which scenes cannot be drawn."""
    if size < _SMALLEST:
        raise UsageError(f"size {size} is too small to show a scene; use {_SMALLEST} pixels or more")
    if size > _LARGEST:
        raise UsageError(f"size {size} takes too much memory to draw; use {_LARGEST} pixels or fewer")


def arrangement(prompt: str, seed: int) -> list[tuple[Thing, list[Place]]]:
    """Return where `draw(prompt, seed)` puts the copies of each thing, back to front, as fractions of its side."""
    scene = parse(prompt)
    _, rng = _backdrop(scene, seed, _SMALLEST)
    return places(scene, rng)


def _draw_scene(scene: Scene, seed: int, size: int) -> Image.Image:
    canvas, rng = _backdrop(scene, seed, size)
    for thing, spots in places(scene, rng):
        look = choose(thing, STYLES[scene.style], rng)
        for spot in spots:
            stamp(canvas, spot, look, rng)
    return STYLES[scene.style].after(canvas, rng).reduce(_OVERSAMPLING)


def _backdrop(scene: Scene, seed: int, size: int) -> tuple[Image.Image, random.Random]:
    # What is drawn from the stream must not depend on `size`: the same seed shows the same scene at every size.
    rng = random.Random(f"{caption(scene)}|{seed}")
    canvas = paint(scene.background, size * _OVERSAMPLING, rng)
    return STYLES[scene.style].before(canvas, rng), rng


def generate(
    prompts: Iterable[str], seeds: Iterable[int], out: Path, *, model: str, fidelity: float = 1.0, size: int = 256
) -> list[Path]:
    """Write `<out>/<model>/<prompt>/<seed>.png` for every prompt and seed, and return the paths in that order.

    `fidelity` (0 to 1) makes an imperfect "model": of each kind of attribute that a prompt states, one is drawn wrongly
    with probability `1 - fidelity`, anew for every image, which lowers both the agreement among a prompt's images and
    their agreement with the prompt. The same arguments write the same pixels. Raises UsageError for a fidelity
    outside 0 to 1 or a word that scenes cannot draw.
    """
    if not 0 <= fidelity <= 1:
        raise UsageError(f"fidelity {fidelity} is not a probability; use a number from 0 to 1")
    seeds, written = list(seeds), []
    for prompt in prompts:
        scene, folder = parse(prompt), out / model / prompt
        folder.mkdir(parents=True, exist_ok=True)
        for seed in seeds:
            drawn = _corrupt(scene, 1 - fidelity, random.Random(f"{model}|{prompt}|{seed}"))
            path = folder / f"{seed}.png"
            _save(_draw_scene(drawn, seed, size), path)
            written.append(path)
    return written


def _save(image: Image.Image, path: Path) -> None:
    """Write a PNG, but leave a file of the same bytes alone: whoever scored it would take it for changed."""
    png = io.BytesIO()
    image.save(png, "PNG")
    if not path.exists() or path.read_bytes() != png.getvalue():
        path.write_bytes(png.getvalue())


def _corrupt(scene: Scene, chance: float, rng: random.Random) -> Scene:
    """Return `scene` with each kind of attribute changed with probability `chance`, where it states one."""
    for kind in ATTRIBUTES:
        if rng.random() < chance:
            scene = change(scene, kind, rng) or scene
    return scene
