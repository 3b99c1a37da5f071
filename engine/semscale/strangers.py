"""What bytes are that start like no image which is read, and whether a file misses its end."""

from __future__ import annotations

import re

from semscale.errors import InputError

_KINDS: tuple[tuple[str, re.Pattern[bytes], str], ...] = tuple(
    (code, re.compile(signature, re.DOTALL | re.IGNORECASE), words)
    for code, signature, words in (
        ("not-an-image", rb"\s*(?:<!doctype html|<html|<head|<body)", "an HTML page, perhaps of a failed download"),
        ("unsupported", rb"\s*(?:<\?xml.*)?<svg", "an SVG drawing; render it to PNG"),
        ("not-an-image", rb"\s*<\?xml", "an XML document, perhaps of a failed download"),
        ("not-an-image", rb"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
        ("not-an-image", rb"\s*[\[{]\s*[\"{\[\]}]", "JSON"),
        ("not-an-image", rb"pk\x03\x04|\x1f\x8b|7z\xbc\xaf|rar!", "an archive; unpack it"),
        ("not-an-image", rb"\0+$", "nothing but zeros, perhaps of an interrupted copy"),
        ("unsupported", rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", "a video; extract its frames"),
        ("unsupported", rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL; convert it to PNG"),
        ("unsupported", rb"%pdf|%!ps|8bps", "a PDF, PostScript or Photoshop document; export it as PNG"),
        ("unsupported", rb"\0\0[\1\2]\0[\1-\xff]", "a Windows icon; save it as PNG"),
        ("not-an-image", rb"[\t\n\r -~]{8,}$", "plain text"),
    )
)
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF", b"II*\0", b"MM\0*")  # of files cut within them


def stranger(data: bytes) -> InputError:
    """The error for bytes that start like no format we read: what they look like, and what to do."""
    if len(data) > 1 and any(start.startswith(data) for start in _STARTS):
        return InputError("truncated", f"the file ends after {len(data)} bytes; copy or make it again")
    for code, signature, words in _KINDS:
        if signature.match(data[:1024]):
            return InputError(code, f"the bytes are not an image that is read: they look like {words}")
    start = data[:8].hex(" ")
    return InputError(
        "not-an-image", f"the bytes are of no known image format (they start with {start}); remove the file"
    )


def is_cut(data: bytes) -> bool:
    """Whether a file that failed to decode misses its end, as far as its format lets one tell."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-1024:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-1024:]
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data.startswith(b"qoif"):
        return not data.endswith(bytes(7) + b"\1")
    if data.startswith(b"BM"):
        return int.from_bytes(data[2:6], "little") > len(data)
    if data[4:8] in {b"ftyp", b"jP  "}:
        return _boxes_end(data) > len(data)
    return data.startswith(b"GIF") and not data.endswith(b";")


def _boxes_end(data: bytes) -> int:
    """Where the last box of an ISO container (AVIF, HEIF, JPEG 2000) says it ends."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        at = at + max(length, 8) if length else len(data)  # 0: up to the end of the file
    return at
