"""The images that cases work on: a folder of the person's own, or generated ones that weigh what photographs do.

A generated image is a sum of octaves of noise, each finer one covering a part of what lies below, so that coarse ones
are the stronger, as in photographs; then shapes of hard edges; then a sensor's noise. Smooth ones would flatter every
decoder: what a JPEG or a PNG costs goes by its bytes as much as by its pixels. JPEG is of quality 90, with chroma at
half the resolution. They come out, in kB, as

    jpeg 500x375      76 to 83       png 512x512      355 to 361
    jpeg 1024x1024    380 to 428     jpeg 4000x3000   2,630 to 2,880
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from semscale.cores import usable_cores
from semscale.errors import SourceError, UsageError
from semscale.prefetch import ordered_map
from semscale.sources import open_source
from semscale_bench.plan import Plan

COARSEST = 8  # cells of noise across an image in its coarsest octave
OCTAVE = 0.25  # how much of an image the next finer octave covers
EDGES = 24  # shapes drawn on an image
OWN = 64  # images of the person's own at most, where a case asks for no other number


@dataclass(frozen=True, slots=True)
class Kind:
    """What generated images of one name are."""

    width: int
    height: int
    suffix: str
    distinct: int  # different ones; a go through all lasts 0.1 to 0.5 seconds
    finest: int  # pixels of a cell of the finest octave
    grain: float  # how much of an image the sensor's noise covers


KINDS = {
    "jpeg 500x375": Kind(500, 375, ".jpg", distinct=64, finest=2, grain=0.1),
    "jpeg 1024x1024": Kind(1024, 1024, ".jpg", distinct=32, finest=2, grain=0.1),
    "png 512x512": Kind(512, 512, ".png", distinct=32, finest=8, grain=0.02),
    "jpeg 4000x3000": Kind(4000, 3000, ".jpg", distinct=4, finest=4, grain=0.05),
}


@dataclass(frozen=True, slots=True)
class Images:
    """Files of one kind."""

    name: str  # such as "jpeg 500x375", or the folder's
    files: tuple[Path, ...]
    folder: Path  # whose listing begins with them


def kinds(plan: Plan, folder: Path, *, names: Sequence[str] | None = None, count: int | None = None) -> list[Images]:
    """The person's images as one kind where `plan` names a folder, else generated ones, written into `folder`.

    `names` of KINDS (all of them by default) and `count` as for `write_kinds`; of the person's there are at most
    `count`, the first in the order of the listing. Raises UsageError where their folder holds no image files.
    """
    if plan.data is not None:
        return [own_images(plan.data, count or OWN)]
    return write_kinds(folder, names=names, count=count)


def write_kinds(folder: Path, *, names: Sequence[str] | None = None, count: int | None = None) -> list[Images]:
    """Write generated images, always the same ones, each kind into a folder of its own below `folder`.

    `count` files of a kind; None: as many as it has different ones. Beyond those, files are links to the first.
    """
    return [_written(folder / name.replace(" ", "-"), name, count) for name in names or KINDS]


def own_images(folder: Path, count: int) -> Images:
    """The first `count` image files below `folder`, in the order in which `semscale embed` lists them.

    Raises UsageError where there is none, or where they are no files of their own, as in archives.
    """
    try:
        source = open_source(folder)
    except SourceError as error:
        raise UsageError(f"--data: {error}") from error
    files = tuple(Path(uri) for uri in source.uris(0, min(count, len(source))))
    if not all(file.is_file() for file in files):
        raise UsageError(f"--data {folder}: its images lie in archives or are listed; give a folder of image files")
    return Images(folder.resolve().name, files, folder)


def picture(kind: Kind, seed: int) -> Image.Image:
    """One generated image."""
    rng = np.random.default_rng((seed, kind.width, kind.height))
    octaves = [2**power for power in range(max(round(math.log2(max(kind.width, kind.height) / COARSEST)), 0), -1, -1)]
    made = _noise(rng, kind, octaves[0])
    for cell in octaves[1:]:
        finer = _noise(rng, kind, cell)
        made = made.resize(finer.size, Image.Resampling.BICUBIC)
        made = Image.blend(made, finer, OCTAVE) if cell >= kind.finest else made
    _draw_edges(made, rng)
    return Image.blend(made, _noise(rng, kind, 1), kind.grain)


def _noise(rng: np.random.Generator, kind: Kind, cell: int) -> Image.Image:
    size = max(kind.width // cell, 1), max(kind.height // cell, 1)
    return Image.frombytes("RGB", size, rng.bytes(3 * size[0] * size[1]))


def _draw_edges(image: Image.Image, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    for turn in range(EDGES):
        x, y = rng.uniform(size=2) * image.size
        across, down = rng.uniform(0.01, 0.15, 2) * min(image.size)
        shape = draw.ellipse if turn % 2 else draw.rectangle
        shape((x - across, y - down, x + across, y + down), fill=tuple(rng.bytes(3)))


def _written(folder: Path, name: str, count: int | None) -> Images:
    kind = KINDS[name]
    count = kind.distinct if count is None else count
    folder.mkdir(parents=True)
    files = tuple(folder / f"{number:05d}{kind.suffix}" for number in range(count))
    first = files[: kind.distinct]

    def save(number: int) -> None:
        picture(kind, number).save(first[number], quality=90)  # PNG takes no notice of a quality

    workers = usable_cores()
    for _ in ordered_map(save, range(len(first)), workers=workers, depth=workers):
        pass
    for number in range(len(first), count):
        os.link(files[number % len(first)], files[number])
    return Images(name, files, folder)
