"""What lies behind the objects: one painter a background, and a quiet plain one where the caption names none.

A painter gets a square RGB canvas of `n` pixels a side to draw on, and a `random.Random` for all that may vary.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Painter = Callable[[ImageDraw.ImageDraw, int, random.Random], None]


def jitter(colour: Colour, amount: int, rng: random.Random) -> Colour:
    """Return `colour` with each channel moved by at most `amount`."""
    red, green, blue = (max(0, min(255, v + round(rng.uniform(-amount, amount)))) for v in colour)
    return red, green, blue


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return `one` with `share` (0 to 1) of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def bands(draw: ImageDraw.ImageDraw, n: int, top: float, bottom: float, colours: tuple[Colour, Colour]) -> None:
    """Fill rows `top` to `bottom` (fractions of the canvas) with a gradient of 24 steps."""
    steps = 24
    for k in range(steps):
        rows = (round(n * (top + (bottom - top) * k / steps)), round(n * (top + (bottom - top) * (k + 1) / steps)))
        draw.rectangle((0, rows[0], n, rows[1]), fill=mix(*colours, k / (steps - 1)))


def scatter(
    draw: ImageDraw.ImageDraw, n: int, count: int, look: tuple[Colour, float, float], rng: random.Random
) -> None:
    """Draw `count` strokes at random places; `look` is colour, and the stroke's x and y extent (fractions)."""
    colour, dx, dy = look
    for _ in range(count):
        x, y = n * rng.random(), n * rng.random()
        draw.line((round(x), round(y), round(x + n * dx), round(y + n * dy)), fill=colour, width=max(1, n // 90))


def dots(draw: ImageDraw.ImageDraw, n: int, count: int, look: tuple[Colour, float, float], rng: random.Random) -> None:
    """Draw `count` discs above row `look[2]`; `look` is colour, radius and lowest row (fractions)."""
    colour, radius, lowest = look
    for _ in range(count):
        x, y, r = round(n * rng.random()), round(n * lowest * rng.random()), max(1, round(n * radius))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def plain(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    """A pale wall with a few faint dashes: says nothing, so that nothing in it can be read as an attribute."""
    tone = jitter((214, 216, 218), 22, rng)
    bands(draw, n, 0, 1, (tone, jitter(tone, 12, rng)))
    scatter(draw, n, int(rng.uniform(0, 6)), (mix(tone, (120, 120, 120), 0.25), 0.03, 0.01), rng)


def _grass(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    horizon = rng.uniform(0.4, 0.52)
    bands(draw, n, 0, horizon, (jitter((120, 190, 240), 10, rng), (205, 230, 248)))
    bands(draw, n, horizon, 1, (jitter((110, 185, 70), 10, rng), jitter((70, 150, 50), 10, rng)))
    for _ in range(60):
        x, y = n * rng.random(), n * rng.uniform(horizon + 0.06, 1)
        draw.line((round(x), round(y), round(x), round(y - n * 0.05)), fill=(45, 115, 40), width=max(1, n // 90))


def _beach(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    shore = rng.uniform(0.5, 0.6)
    bands(draw, n, 0, 0.28, (jitter((150, 210, 250), 10, rng), (220, 240, 250)))
    bands(draw, n, 0.28, shore, (jitter((20, 120, 190), 10, rng), (80, 200, 210)))
    bands(draw, n, shore, 1, (jitter((245, 225, 170), 8, rng), jitter((225, 195, 130), 8, rng)))
    draw.rectangle((0, round(n * shore), n, round(n * (shore + 0.025))), fill=(255, 255, 255))


def _desert(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 0.5, (jitter((250, 225, 160), 8, rng), (252, 240, 205)))
    for k, colour in enumerate(((226, 160, 80), (208, 138, 62), (188, 116, 48))):
        peak, low = n * rng.uniform(0.1, 0.9), 0.42 + 0.18 * k
        draw.rectangle((0, round(n * (low + 0.12)), n, n), fill=colour)
        hill = [(-n, low + 0.14), (peak, low), (2 * n, low + 0.14)]
        draw.polygon([(round(x), round(n * y)) for x, y in hill], fill=colour)


def _snow(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 0.6, (jitter((150, 175, 200), 8, rng), (205, 218, 230)))
    for start in (-0.25, 0.2, 0.6):
        top = rng.uniform(0.12, 0.25)
        hill = [(start, 0.62), (start + 0.32, top), (start + 0.64, 0.62)]
        draw.polygon([(round(n * x), round(n * y)) for x, y in hill], fill=(110, 130, 155))
        cap = [(start + 0.16, 0.31 + top / 2), (start + 0.32, top), (start + 0.48, 0.31 + top / 2)]
        draw.polygon([(round(n * x), round(n * y)) for x, y in cap], fill=(250, 252, 255))
    draw.rectangle((0, round(n * 0.6), n, n), fill=(240, 246, 252))
    dots(draw, n, 45, ((255, 255, 255), 0.011, 1.0), rng)


def _stars(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 1, (jitter((10, 12, 45), 6, rng), jitter((45, 35, 95), 8, rng)))
    dots(draw, n, 55, ((255, 255, 235), 0.008, 1.0), rng)
    dots(draw, n, 8, ((255, 245, 190), 0.014, 1.0), rng)


def _ocean(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 1, (jitter((60, 160, 220), 8, rng), jitter((10, 60, 140), 8, rng)))
    shift, step = n * rng.random() * 0.12, n * 0.12
    for row in range(8):
        y = n * (0.06 + row * 0.125)
        for column in range(-1, 9):
            x = shift + column * step + (row % 2) * step / 2
            box = (round(x), round(y), round(x + step), round(y + n * 0.07))
            draw.arc(box, 0, 180, fill=(170, 220, 245), width=max(1, n // 70))


def _bricks(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    draw.rectangle((0, 0, n, n), fill=(205, 195, 185))
    height, width, shift = n / 9, n / 4.5, rng.random()
    for row in range(10):
        for column in range(-2, 6):
            x, y = (column + shift + row % 2 / 2) * width, row * height
            box = (round(x), round(y), round(x + width - n * 0.02), round(y + height - n * 0.02))
            draw.rectangle(box, fill=jitter((168, 84, 66), 12, rng))


def _wood(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    for k in range(5):
        top, tone = k / 5, jitter((196, 146, 92), 10, rng)
        draw.rectangle((0, round(n * top), n, round(n * (top + 0.2))), fill=tone)
        for _ in range(4):
            y, x = round(n * rng.uniform(top, top + 0.2)), n * rng.uniform(-0.3, 0.8)
            draw.line((round(x), y, round(x + n * 0.5), y), fill=mix(tone, (110, 70, 35), 0.45), width=max(1, n // 110))
        draw.line((0, round(n * top), n, round(n * top)), fill=(105, 68, 36), width=max(1, n // 50))


def _chess(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    draw.rectangle((0, 0, n, n), fill=jitter((238, 228, 208), 6, rng))
    dark, shift = jitter((120, 112, 104), 8, rng), int(rng.uniform(0, 2))
    for row in range(6):
        for column in range((row + shift) % 2, 6, 2):
            box = (column * n / 6, row * n / 6, (column + 1) * n / 6 - 1, (row + 1) * n / 6 - 1)
            draw.rectangle([round(v) for v in box], fill=dark)


def _forest(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 1, (jitter((70, 100, 80), 8, rng), jitter((25, 50, 32), 6, rng)))
    for k in range(8):
        x, width = n * (k + rng.uniform(0.1, 0.6)) / 8, n * rng.uniform(0.03, 0.055)
        draw.rectangle((round(x), 0, round(x + width), n), fill=jitter((42, 32, 24), 6, rng))
    dots(draw, n, 40, ((30, 72, 38), 0.05, 0.14), rng)


def _sunset(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 0.35, (jitter((110, 50, 120), 8, rng), (225, 90, 110)))
    bands(draw, n, 0.35, 0.7, ((225, 90, 110), (255, 195, 100)))
    x, r = n * rng.uniform(0.3, 0.7), n * 0.2
    draw.ellipse((round(x - r), round(n * 0.7 - r), round(x + r), round(n * 0.7 + r)), fill=(255, 240, 170))
    draw.rectangle((0, round(n * 0.7), n, n), fill=jitter((70, 30, 70), 8, rng))


def _rain(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 1, (jitter((92, 104, 118), 6, rng), jitter((140, 150, 160), 6, rng)))
    scatter(draw, n, 80, ((200, 220, 240), -0.035, 0.09), rng)


def _graph(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    draw.rectangle((0, 0, n, n), fill=jitter((250, 250, 246), 4, rng))
    shift = rng.random()
    for k in range(11):
        at = round(n * (k + shift) / 10)
        draw.line((at, 0, at, n), fill=(140, 185, 225), width=max(1, n // 64))
        draw.line((0, at, n, at), fill=(140, 185, 225), width=max(1, n // 64))


def _city(draw: ImageDraw.ImageDraw, n: int, rng: random.Random) -> None:
    bands(draw, n, 0, 0.8, (jitter((185, 205, 220), 8, rng), (225, 228, 226)))
    for k in range(6):
        left, right, top = n * k / 6, n * (k + 0.92) / 6, n * rng.uniform(0.1, 0.4)
        draw.rectangle((round(left), round(top), round(right), round(n * 0.78)), fill=jitter((112, 122, 142), 14, rng))
        for row in range(5):
            for x in (left + n * 0.035, left + n * 0.095):
                y = top + n * (0.04 + 0.09 * row)
                draw.rectangle((round(x), round(y), round(x + n * 0.025), round(y + n * 0.035)), fill=(250, 230, 150))
    draw.rectangle((0, round(n * 0.78), n, n), fill=(72, 72, 76))
    for k in range(5):
        draw.rectangle(
            (round(n * k / 5), round(n * 0.88), round(n * (k + 0.55) / 5), round(n * 0.9)), fill=(240, 240, 240)
        )


PAINTERS: dict[str, Painter] = {
    "on a grassy field": _grass,
    "on a sandy beach": _beach,
    "in the desert": _desert,
    "in a snowy valley": _snow,
    "under a starry sky": _stars,
    "in the ocean": _ocean,
    "on a brick wall": _bricks,
    "on a wooden table": _wood,
    "on a chess board": _chess,
    "in a dark forest": _forest,
    "at sunset": _sunset,
    "in heavy rain": _rain,
    "on graph paper": _graph,
    "on a city street": _city,
}


def paint(background: str | None, n: int, rng: random.Random) -> Image.Image:
    """Return an RGB canvas of `n` by `n` pixels with `background` on it; None is a plain one."""
    canvas = Image.new("RGB", (n, n))
    painter = plain if background is None else PAINTERS[background]
    painter(ImageDraw.Draw(canvas), n, rng)
    return canvas
