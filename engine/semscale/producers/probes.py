"""The fixed inputs that every back end and precision is compared on: images of natural statistics, and captions.

    probe_images(shape=(224, 224, 3))   (N, H, W, 3) uint8, drawn at the encoder's own size so that nothing is resized
    probe_texts()                       N captions
    probe_groups(N)                     which of them are variants of one scene

Photographs have a power spectrum that falls with about the square of the spatial frequency, correlated colour channels,
and edges where one thing hides another (Field 1987; Ruderman 1994; Lee, Mumford and Huang 2001 for "dead leaves"). The
probes have them too, for white noise would reach few of the values that a network computes on photographs. They come
in groups of 8 near variants, as the seeds of one prompt do, so that a group's consistency score means something; one
group in 16 is of extremes. All arithmetic is on integers and all chance from `random.Random`: the same bytes on every
platform. Drawn scenes, two groups in 16, also need Pillow to fill shapes as it does today.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice

import numpy as np

from semscale.model import Array
from semscale.producers.captions import ATTRIBUTES, hard_negative, sample_prompt
from semscale.producers.scenes import draw

VERSION = 1  # raise it when an image or a text changes: records of other probes are then measured again
COUNT = 128  # with 100 images/s at float32 on two cores for a ViT-B/32, a comparison takes some seconds
VARIANTS = 8  # in a group
LEAVES = 160  # disks of a dead-leaves image
SMALLEST_SCENE = 32  # pixels; what `draw` takes
LONG = "a lighthouse on a cliff above the sea at dusk, " * 20
ODD_TEXTS = (
    "",
    "a",
    "Crème brûlée, 東京の夜景, a 👩‍🚀 riding a horse — 50 % off",
    "0123456789 " * 9,
    "!?…;:",
    LONG,
    "A CAT",
    "q",
)

Painter = Callable[[int, random.Random], Array]  # side in pixels -> (side, side, 3) int32, 0..255


def probe_images(count: int = COUNT, *, shape: tuple[int, ...]) -> Array:
    """Return (count, H, W, 3) uint8 for `shape` = (H, W, 3); the same count and shape give the same bytes."""
    height, width, _ = shape
    made = (variant for group, painter in enumerate(cycle(PAINTERS)) for variant in painter(group, height, width))
    return np.stack(list(islice(made, count)))


def probe_texts(count: int = COUNT) -> list[str]:
    """Return captions in groups of 8: one scene and what it becomes by changing its attributes; then odd texts."""
    made = (text for group in cycle(range(_GROUPS)) for text in _captions(group))
    return list(islice(made, count))


def probe_groups(count: int = COUNT) -> Array:
    """Return (count,) int64: the group of each probe, image or text."""
    return np.arange(count) // VARIANTS


def _captions(group: int) -> list[str]:
    if group == _GROUPS - 1:
        return list(ODD_TEXTS)
    rng = random.Random(f"probe text {group}")
    texts = [sample_prompt(rng)]
    while len(texts) < VARIANTS:
        changed = hard_negative(texts[0], rng.choice(ATTRIBUTES), rng)
        texts += [changed] if changed is not None and changed not in texts else []
    return texts


def noise(side: int, rng: random.Random) -> Array:
    """Colour noise: every octave of frequency has the same variance, which is a spectrum that falls with its square."""
    light, warm, green = (_octaves(side, rng) for _ in range(3))
    return _colours(light, warm, green)


def gradients(side: int, rng: random.Random) -> Array:
    """Light that falls off to one side, as on a wall or in the sky, with a little noise."""
    down, right = np.mgrid[:side, :side]
    slopes = [[rng.randint(-100, 100) for _ in range(2)] for _ in range(3)]
    light, warm, green = (64 * (a * (2 * down - side) + b * (2 * right - side)) // (50 * side) for a, b in slopes)
    return _colours(light + _octaves(side, rng) // 8, warm, green)


def leaves(side: int, rng: random.Random) -> Array:
    """Disks of every size, each hiding what lies behind it and shaded by noise of its own."""
    # Drawn at twice the size and averaged down, for edges in photographs are not jagged.
    fine, canvas = 2 * side, noise(side, rng).repeat(2, axis=0).repeat(2, axis=1)
    texture = _octaves(side, rng)[..., None].repeat(2, axis=0).repeat(2, axis=1) // 6
    for _ in range(LEAVES):
        # A radius r is as frequent as 1 / r^3, which makes the picture look the same at every scale.
        radius = min(fine // 3, math.isqrt((fine * fine << 32) // (1600 * (1 + rng.getrandbits(32)))))
        x, y = rng.randint(0, fine), rng.randint(0, fine)
        box = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        down, right = np.ogrid[box[0].start : min(fine, box[0].stop), box[1].start : min(fine, box[1].stop)]
        inside = ((down - y) ** 2 + (right - x) ** 2 <= radius**2)[..., None]
        tone = _colours(*(np.array(rng.randint(-reach, reach)) for reach in (300, 150, 150)))
        canvas[box] = np.where(inside, np.clip(tone + texture[box], 0, 255), canvas[box])
    return canvas.reshape(side, 2, side, 2, 3).sum(axis=(1, 3)) // 4


def scene(side: int, rng: random.Random) -> Array:
    """A drawn scene, as the demo scores them."""
    prompt, seed = sample_prompt(rng), rng.randint(0, 10**6)
    return np.asarray(draw(prompt, seed, size=max(side, SMALLEST_SCENE)), np.int32)[:side, :side]


def _octaves(side: int, rng: random.Random) -> Array:
    """(side, side) int32 around 0: random lattices from coarse to fine, interpolated, all of the same weight."""
    total, cells = np.zeros((side, side), np.int32), 2
    while cells <= side:
        lattice = np.frombuffer(rng.randbytes((cells + 1) ** 2), np.uint8).reshape(cells + 1, -1).astype(np.int32) - 128
        total += _enlarged(lattice, side)
        cells *= 2
    return total


def _enlarged(lattice: Array, side: int) -> Array:
    """(m + 1, m + 1) -> (side, side), bilinear in integers."""
    at = (np.arange(side) * (len(lattice) - 1) * 256 // side).astype(np.int32)
    cell, part = at // 256, at % 256
    rows = (lattice[cell] * (256 - part)[:, None] + lattice[cell + 1] * part[:, None]) // 256
    return (rows[:, cell] * (256 - part) + rows[:, cell + 1] * part) // 256


def _colours(light: Array, warm: Array, green: Array) -> Array:
    """Light and two differences of colour, which in photographs vary far less -> (..., 3) int32 in 0..255."""
    red, blue = light + warm // 4 + green // 8, light - warm // 4 + green // 8
    return np.clip(118 + np.stack([red, light - green // 4, blue], axis=-1) // 3, 0, 255)


def _group(painter: Painter, group: int, height: int, width: int) -> Iterator[Array]:
    """One scene, seen eight times: through a window that moves, in other light, mirrored, with grain."""
    rng = random.Random(f"probe image {group}")
    side = max(height, width)
    margin = side // 8
    whole = painter(side + margin, rng)
    for variant in range(VARIANTS):
        top, left = (rng.randint(0, margin) for _ in range(2))
        seen = whole[top : top + height, left : left + width]
        gain, cast = rng.randint(200, 300), [rng.randint(-16, 16) for _ in range(3)]
        grain = np.frombuffer(rng.randbytes(seen.size), np.uint8).reshape(seen.shape) // 32
        seen = (seen - 118) * gain // 256 + 118 + cast + (grain if variant % 2 else 0)
        yield np.clip(seen[:, :: -1 if variant in (3, 6) else 1], 0, 255).astype(np.uint8)


def _extremes(group: int, height: int, width: int) -> Iterator[Array]:
    """Black, white, grey, checkerboards, one pure colour, halves, and noise of black and white."""
    rng = random.Random(f"probe image {group}")
    down, right = np.mgrid[:height, :width]
    coin = np.frombuffer(rng.randbytes(height * width), np.uint8).reshape(height, width) >= 128
    masks = (down < 0, down >= 0, (down + right) % 2, (down // 16 + right // 16) % 2, right * 2 < width, coin)
    yield from (np.repeat(np.asarray(mask, np.uint8)[..., None] * np.uint8(255), 3, axis=2) for mask in masks)
    yield np.full((height, width, 3), 127, np.uint8)
    yield np.full((height, width, 3), (255, 0, 0), np.uint8)


PAINTERS = (
    *(partial(_group, painter) for painter in (leaves, noise, scene, leaves, gradients, leaves, noise)),
    _extremes,
    *(partial(_group, painter) for painter in (leaves, noise, scene, leaves, gradients, leaves, noise, leaves)),
)
_GROUPS = len(PAINTERS)
