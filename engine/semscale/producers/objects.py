"""How one object is put on the canvas: its shape as a mask, its colour, its texture, its outline."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from semscale.producers.backdrops import Colour, jitter, mix
from semscale.producers.captions import COLOURS, Thing
from semscale.producers.layout import Place
from semscale.producers.shapes import SHAPES, Point
from semscale.producers.styles import Style

_INK, _CHALK = (24, 24, 28), (250, 250, 250)
_HALO = (255, 236, 84)


@dataclass(frozen=True, slots=True)
class Look:
    """An object's appearance, all that chance decides decided. Copies of one thing share it."""

    shape: str
    colour: Colour
    texture: str | None
    edge: Colour
    edge_width: float  # in object radii


def choose(thing: Thing, style: Style, rng: random.Random) -> Look:
    """Decide how `thing` looks in `style`: an unstated colour is drawn by chance, a stated one varies in hue."""
    named = thing.colour or list(COLOURS)[int(rng.random() * len(COLOURS))]
    colour = jitter(COLOURS[named], 10, rng)
    light = style.light_edge or _luminance(colour) < 60
    return Look(thing.object, colour, thing.texture, _CHALK if light else _INK, style.edge)


def _luminance(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def stamp(canvas: Image.Image, place: Place, look: Look, rng: random.Random) -> None:
    """Paint one copy of an object on `canvas` (RGB, square), in place."""
    n, glowing = canvas.width, look.texture == "glowing"
    radius = place.radius * n * (0.78 if glowing else 1.0)
    half = math.ceil(place.radius * n * 1.15) + 2
    fill, rim = _masks(look, half, radius, rng.uniform(-0.17, 0.17))
    corner = (round(place.x * n) - half, round(place.y * n) - half)
    if glowing:
        canvas.paste(_HALO, corner, _halo(half, place.radius * n))
    if look.texture == "hollow":
        fill, rim = _hollow(fill, rim, radius)
    canvas.paste(look.edge, corner, rim)
    canvas.paste(_surface(look, half, radius), corner, fill)


def _masks(look: Look, half: int, radius: float, turn: float) -> tuple[Image.Image, Image.Image]:
    """Return the object's mask, and the same with the outline around it."""
    fill, rim = (Image.new("L", (2 * half, 2 * half), 0) for _ in range(2))
    inner, outer = ImageDraw.Draw(fill), ImageDraw.Draw(rim)
    width = max(2, round(2 * look.edge_width * radius))
    for polygon, adds in SHAPES[look.shape]:
        points = [_turned(point, half, radius, turn) for point in polygon]
        for pen in (inner, outer):
            pen.polygon(points, fill=255 if adds else 0)
        if adds:
            outer.line([*points, points[0], points[1]], fill=255, width=width, joint="curve")
    return fill, rim


def _turned(point: Point, half: int, radius: float, turn: float) -> tuple[int, int]:
    x, y = point
    cos, sin = math.cos(turn) * radius, math.sin(turn) * radius
    return round(half + x * cos - y * sin), round(half + x * sin + y * cos)


def _halo(half: int, radius: float) -> Image.Image:
    halo = Image.new("L", (2 * half, 2 * half), 0)
    draw = ImageDraw.Draw(halo)
    for share, strength in ((1.12, 110), (1.03, 180), (0.94, 255)):
        r = min(half - 1, round(radius * share))
        draw.ellipse((half - r, half - r, half + r, half + r), fill=strength)
    return halo


def _hollow(fill: Image.Image, rim: Image.Image, radius: float) -> tuple[Image.Image, Image.Image]:
    """Leave a band along the border, so that what is behind shows through the middle."""
    middle = fill.filter(ImageFilter.BoxBlur(radius * 0.2)).point(lambda v: 255 if v > 236 else 0)
    return tuple(Image.composite(Image.new("L", mask.size, 0), mask, middle) for mask in (fill, rim))  # type: ignore[return-value]


def _surface(look: Look, half: int, radius: float) -> Image.Image:
    """Return the square RGB patch that shows through the object's mask."""
    patch = Image.new("RGB", (2 * half, 2 * half), look.colour)
    second = (255, 255, 255) if _luminance(look.colour) < 185 else (70, 70, 78)
    draw = ImageDraw.Draw(patch)
    if look.texture == "striped":
        _stripes(draw, half, radius, second)
    elif look.texture == "spotted":
        _spots(draw, half, radius, second)
    elif look.texture == "checkered":
        _checks(draw, half, radius, second)
    elif look.texture == "shiny":
        _shine(draw, half, radius, look.colour)
    return patch


def _stripes(draw: ImageDraw.ImageDraw, half: int, radius: float, second: Colour) -> None:
    for k in range(-6, 7):
        at = round(half + k * radius * 0.62)
        draw.line(
            (at - 2 * half, half + 2 * half, at + 2 * half, half - 2 * half), fill=second, width=round(radius * 0.22)
        )


def _spots(draw: ImageDraw.ImageDraw, half: int, radius: float, second: Colour) -> None:
    r = radius * 0.17
    for row in range(-3, 4):
        for column in range(-3, 4):
            x, y = half + (column + row % 2 / 2) * radius * 0.56, half + row * radius * 0.48
            draw.ellipse([round(v) for v in (x - r, y - r, x + r, y + r)], fill=second)


def _checks(draw: ImageDraw.ImageDraw, half: int, radius: float, second: Colour) -> None:
    step = radius * 0.44
    for row in range(-4, 4):
        for column in range(-4 + row % 2, 4, 2):
            x, y = half + column * step, half + row * step
            draw.rectangle([round(v) for v in (x, y, x + step, y + step)], fill=second)


def _shine(draw: ImageDraw.ImageDraw, half: int, radius: float, colour: Colour) -> None:
    """Shade from a dark rim at the lower right to a white highlight at the upper left, as on a ball."""
    draw.rectangle((0, 0, 2 * half, 2 * half), fill=mix(colour, (0, 0, 0), 0.55))
    for shift, r, shade in ((0.16, 0.98, 0.3), (0.22, 0.8, 0.0)):
        x, r = half - shift * radius, r * radius
        draw.ellipse([round(v) for v in (x - r, x - r, x + r, x + r)], fill=mix(colour, (0, 0, 0), shade))
    x, r = half - 0.3 * radius, 0.24 * radius
    bright = (255, 255, 255) if _luminance(colour) < 225 else (190, 225, 255)
    draw.ellipse([round(v) for v in (x - r, x - r, x + r, x + r)], fill=bright)
