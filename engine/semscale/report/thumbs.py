"""Small pictures inside the page: a file becomes a JPEG data URI, or a reason why it cannot be shown."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from PIL import Image

from semscale.decode import decode
from semscale.errors import InputError
from semscale.report.images import Member

LONGEST_SIDE = 128  # pixels
JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Thumb:
    """A picture for the page. `src` is empty when the file cannot be shown, and `missing` then says why."""

    src: str
    width: int  # pixels
    height: int
    missing: str


def thumbnail(member: Member) -> Thumb:
    """Return the picture of `member`, read from its file; never raises for a missing, changed or broken file."""
    try:
        path = _path(member.uri)
        data = path.read_bytes() if path.is_file() else None
    except OSError:
        return _missing("file cannot be read")
    if data is None:
        return _missing(_elsewhere(member.uri) or "file not found")
    if hashlib.sha256(data).hexdigest() != member.sha256:
        return _missing("file changed since")
    try:
        return _encode(Image.fromarray(decode(data)))
    except InputError:
        return _missing("file cannot be shown")


def _elsewhere(uri: str) -> str:
    """Why an image that is no file of this machine is not shown; "" for a file. Archives may take minutes to search."""
    archive, mark, _ = uri.rpartition("#")
    if mark and ("://" in archive or _path(archive).is_file()):
        return "inside an archive"
    return "a remote file" if "://" in uri and not uri.startswith("file://") else ""


def _path(uri: str) -> Path:
    if not uri.startswith("file://"):
        return Path(uri)
    return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))  # how a path that is not UTF-8 is written


def _encode(image: Image.Image) -> Thumb:
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumb(src=f"data:image/jpeg;base64,{data}", width=width, height=height, missing="")


def _missing(reason: str) -> Thumb:
    return Thumb(src="", width=LONGEST_SIDE, height=LONGEST_SIDE, missing=reason)
