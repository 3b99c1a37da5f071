"""The styles a scene can be drawn in: what each does to the backdrop before, and to the picture after, the objects."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from semscale.producers.backdrops import bands, dots, jitter, scatter

Change = Callable[[Image.Image, random.Random], Image.Image]


def _keep(canvas: Image.Image, rng: random.Random) -> Image.Image:
    return canvas


@dataclass(frozen=True, slots=True)
class Style:
    """How one style differs from a flat drawing. Both changes take and return an RGB canvas of any square size."""

    before: Change = _keep  # on the backdrop
    after: Change = _keep  # on the finished picture
    edge: float = 0.05  # width of an object's outline, in object radii
    light_edge: bool = False  # outlines are white, for dark backdrops


def _tint(canvas: Image.Image, colour: tuple[int, int, int], share: float) -> Image.Image:
    return Image.blend(canvas, Image.new("RGB", canvas.size, colour), share)


def _paper(canvas: Image.Image, rng: random.Random) -> Image.Image:
    return _tint(canvas, (252, 246, 232), 0.45)


def _wash(canvas: Image.Image, rng: random.Random) -> Image.Image:
    soft = _tint(canvas.filter(ImageFilter.GaussianBlur(canvas.width / 140)), (253, 248, 236), 0.12)
    # Blotches of a fixed 12 x 12 grid, so that the wash looks the same at every size.
    blotches = Image.frombytes("L", (12, 12), rng.randbytes(144)).resize(soft.size, Image.Resampling.BICUBIC)
    return Image.composite(_tint(soft, (255, 255, 255), 0.4), soft, blotches.point(lambda v: v * 5 // 8))


def _pencil_paper(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n = canvas.width
    paper = Image.new("RGB", canvas.size, jitter((250, 249, 244), 4, rng))
    scatter(ImageDraw.Draw(paper), n, 70, ((150, 150, 150), 0.12, -0.12), rng)
    return paper


def _pixels(canvas: Image.Image, rng: random.Random) -> Image.Image:
    return canvas.resize((24, 24), Image.Resampling.BOX).resize(canvas.size, Image.Resampling.NEAREST)


def _neon_grid(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n = canvas.width
    dark = Image.new("RGB", canvas.size, jitter((22, 8, 40), 6, rng))
    draw, pink = ImageDraw.Draw(dark), (255, 40, 190)
    for row in (0.62, 0.67, 0.75, 0.87):
        draw.line((0, round(n * row), n, round(n * row)), fill=pink, width=max(1, n // 60))
    for k in range(-6, 7):
        draw.line(
            (n // 2 + k * n // 12, round(n * 0.62), n // 2 + k * n // 4, n), fill=(40, 220, 255), width=max(1, n // 80)
        )
    return dark


def _blueprint(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n = canvas.width
    sheet = Image.new("RGB", canvas.size, jitter((28, 62, 140), 8, rng))
    draw = ImageDraw.Draw(sheet)
    for k in range(1, 9):
        at = round(n * k / 9)
        draw.line((at, 0, at, n), fill=(120, 155, 215), width=max(1, n // 100))
        draw.line((0, at, n, at), fill=(120, 155, 215), width=max(1, n // 100))
    frame, width = round(n * 0.03), max(1, n // 60)
    draw.rectangle((frame, frame, n - frame, n - frame), outline=(240, 245, 255), width=width)
    return sheet


def _halftone(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n, step = canvas.width, canvas.width / 14
    screen = Image.new("L", canvas.size, 0)
    draw = ImageDraw.Draw(screen)
    for row in range(16):
        for column in range(16):
            x, y, r = (column + row % 2 / 2) * step, row * step, step * 0.3
            draw.ellipse([round(v) for v in (x - r, y - r, x + r, y + r)], fill=190)
    return Image.composite(Image.new("RGB", (n, n), (250, 90, 90)), canvas, screen)


def _comic_frame(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n = canvas.width
    ImageDraw.Draw(canvas).rectangle((0, 0, n - 1, n - 1), outline=(0, 0, 0), width=max(1, n // 28))
    return canvas


def _aged(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n, print_ = canvas.width, _tint(canvas, (176, 128, 72), 0.35)
    corner = Image.radial_gradient("L").resize(canvas.size).point(lambda v: max(0, v - 120))
    print_ = Image.composite(Image.new("RGB", canvas.size, (50, 30, 15)), print_, corner)
    ImageDraw.Draw(print_).rectangle((0, 0, n - 1, n - 1), outline=(246, 236, 210), width=max(1, n // 18))
    return print_


def _tiles(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n, draw = canvas.width, None
    shade = Image.frombytes("L", (10, 10), rng.randbytes(100)).resize(canvas.size, Image.Resampling.NEAREST)
    tiled = Image.composite(_tint(canvas, (255, 255, 255), 0.28), canvas, shade)
    draw = ImageDraw.Draw(tiled)
    for k in range(11):
        at = round(n * k / 10)
        draw.line((at, 0, at, n), fill=(228, 224, 214), width=max(1, n // 50))
        draw.line((0, at, n, at), fill=(228, 224, 214), width=max(1, n // 50))
    return tiled


def _nightfall(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n, dark = canvas.width, _tint(canvas, (8, 10, 40), 0.72)
    draw, x = ImageDraw.Draw(dark), rng.uniform(0.8, 0.88)
    for colour, centre, radius in (((250, 245, 200), x, 0.1), (dark.getpixel((n - 1, 0)), x - 0.05, 0.085)):
        box = (centre - radius, 0.13 - radius, centre + radius, 0.13 + radius)
        draw.ellipse([round(n * v) for v in box], fill=colour)
    return dark


def _dim(canvas: Image.Image, rng: random.Random) -> Image.Image:
    return _tint(canvas, (8, 10, 40), 0.16)


def _blackboard(canvas: Image.Image, rng: random.Random) -> Image.Image:
    n = canvas.width
    board = Image.new("RGB", canvas.size, jitter((40, 74, 60), 6, rng))
    draw = ImageDraw.Draw(board)
    bands(draw, n, 0, 1, (jitter((38, 72, 58), 5, rng), (52, 88, 72)))
    scatter(draw, n, 25, ((110, 138, 124), 0.14, 0.02), rng)
    dots(draw, n, 30, ((200, 210, 200), 0.006, 1.0), rng)
    draw.rectangle((0, 0, n - 1, n - 1), outline=(150, 98, 52), width=max(1, n // 22))
    return board


def _dust(canvas: Image.Image, rng: random.Random) -> Image.Image:
    grain = np.frombuffer(rng.randbytes(96 * 96), np.uint8).reshape(96, 96) // 4
    mask = Image.fromarray(grain).resize(canvas.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", canvas.size, (255, 255, 255)), canvas, mask)


STYLES: dict[str | None, Style] = {
    None: Style(),
    "watercolor style": Style(_paper, _wash, edge=0.05),
    "pencil sketch": Style(_pencil_paper, edge=0.09),
    "pixel art": Style(after=_pixels),
    "neon style": Style(_neon_grid, edge=0.08, light_edge=True),
    "blueprint style": Style(_blueprint, edge=0.07, light_edge=True),
    "comic style": Style(_halftone, _comic_frame, edge=0.12),
    "vintage photo": Style(after=_aged),
    "mosaic style": Style(after=_tiles),
    "at night": Style(_nightfall, _dim),
    "chalk drawing": Style(_blackboard, _dust, edge=0.08, light_edge=True),
}
