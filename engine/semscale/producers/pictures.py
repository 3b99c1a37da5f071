"""How images are written, and how those to edit are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from semscale.decode import decode
from semscale.errors import UsageError


@dataclass(frozen=True, slots=True)
class Format:
    """A file format of images. `described` tells it in the metadata."""

    suffix: str
    described: str
    pillow: str
    options: tuple[tuple[str, Any], ...] = ()


FORMATS = {
    "png": Format(".png", "PNG, lossless", "PNG"),
    "jpeg": Format(".jpg", "JPEG, quality 95, 4:4:4", "JPEG", (("quality", 95), ("subsampling", 0))),
}


def format_named(name: str) -> Format:
    """One of FORMATS. Raises UsageError for another name."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]


def write_image(image: Image.Image, file: Path | BinaryIO, form: Format) -> None:
    """Encode an RGB image; the same pixels give the same bytes."""
    image.save(file, form.pillow, **dict(form.options))


def read_image(path: Path) -> Image.Image:
    """An image to edit, exactly as the scorer sees it: upright, RGB, transparency on white.

    Raises InputError for a file that holds no image, and OSError for one that cannot be read.
    """
    return Image.fromarray(decode(path.read_bytes()))
