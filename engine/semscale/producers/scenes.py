"""Scenes drawn from their captions: images whose content is known, made offline and without a model.

    draw("two small red striped circles left of a large blue star, watercolor style", seed=3)

A drawing depends on its prompt, seed and size alone: all chance comes from `random.Random`, whose stream Python keeps
the same on every platform, and shapes are rasterised at whole coordinates. What the caption leaves open (places, hues,
exact sizes, the wall behind) varies with the seed. Needs numpy and Pillow only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from semscale.errors import UsageError
from semscale.producers.backdrops import Colour, jitter, mix, paint
from semscale.producers.captions import (
    ATTRIBUTES,
    COLOURS,
    SIZES,
    TEXTURES,
    VOCABULARY,
    Scene,
    Thing,
    caption,
    change,
    hard_negative,
    parse,
    sample_prompt,
)
from semscale.producers.shapes import SHAPES
from semscale.producers.styles import STYLES, Style

__all__ = ["ATTRIBUTES", "VOCABULARY", "draw", "generate", "hard_negative", "parse", "sample_prompt"]

_OVERSAMPLING = 2  # the canvas is drawn at twice its size and averaged down, which smooths edges
_SIZE_BANDS = {"small": (0.55, 0.6), "medium": (0.74, 0.79), "large": (0.96, 1.0), None: (0.62, 0.95)}
_ROWS = {1: ((1,),), 2: ((2,), (1, 1)), 3: ((1, 2), (2, 1)), 4: ((2, 2),), 5: ((3, 2), (2, 3), (2, 1, 2))}
_LARGEST_RADIUS = 0.4

Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the canvas
Place = tuple[float, float, float]  # centre x and y, and the room there (a radius), as fractions


@dataclass(frozen=True, slots=True)
class _Look:
    """One object's appearance, all pixels decided."""

    shape: str
    colour: Colour
    texture: str | None
    radius: int  # pixels
    turn: float  # radians
    edge: Colour
    edge_width: int  # pixels


def draw(prompt: str, seed: int, *, size: int = 256) -> Image.Image:
    """Draw the scene that `prompt` describes: an RGB image of `size` by `size` pixels.

    The same prompt, seed and size give the same pixels everywhere. Raises UsageError naming the word it cannot draw.
    """
    scene = parse(prompt)
    rng = random.Random(f"{caption(scene)}|{seed}")
    style, n = STYLES[scene.style], size * _OVERSAMPLING
    canvas = style.before(paint(scene.background, n, rng), rng)
    for thing, places in _layout(scene, rng):
        look = _choose(thing, style, rng)
        for place in places:
            _stamp(canvas, place, look, rng)
    return style.after(canvas, rng).reduce(_OVERSAMPLING)
