"""The bytes of an image as a browser shows them.

What a file is, is told by its bytes and never by its name. Formats that browsers know go out untouched; the others
that are read become PNG.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from semscale.decode import decode
from semscale.errors import InputError
from semscale.sources.folder import read_file
from semscale.study.annotate.folders import is_inside

_SHOWN = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/avif": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "image/bmp": re.compile(rb"BM"),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What is sent to a browser."""

    data: bytes
    content_type: str


def is_image(folder: Path, name: bytes) -> bool:
    """Whether a file of a folder is an image that can be decoded as a whole."""
    try:
        decode(_read(folder, name))
    except InputError:
        return False
    return True


def read_picture(folder: Path, name: bytes, *, as_png: bool = False) -> Picture:
    """Read an image of a folder, with `as_png` decoded here, for browsers that cannot.

    Raises InputError when it is gone, is no image, or leads out of the folder.
    """
    data = _read(folder, name)
    content_type = next((kind for kind, signature in _SHOWN.items() if signature.match(data)), None)
    return _converted(data) if as_png or content_type is None else Picture(data, content_type)


def _read(folder: Path, name: bytes) -> bytes:
    path = os.path.join(os.fsencode(folder), name)
    if not is_inside(folder, path):
        raise InputError("outside", "the file leads out of its folder; put the image itself there")
    data = read_file(path).data
    if isinstance(data, InputError):
        raise data
    return data


def _converted(data: bytes) -> Picture:
    png = io.BytesIO()
    Image.fromarray(decode(data)).save(png, "PNG", compress_level=1)
    return Picture(png.getvalue(), "image/png")
