"""What a JPEG 2000 asks of its decoder before the first pixel: tiles, layers, precincts and code-blocks.

OpenJPEG allocates for each of them whatever the header says. 900 bytes that tell of 65,025 tiles took 750 MB, and
28 kB that tell of 65,535 layers took minutes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from semscale.errors import InputError

# What is fine in any picture, and how many pixels there are to one where it is more. A tile costs 12 kB, a precinct 2.
FEW, SPARSE = 256, 1024
MAX_LAYERS = 256  # encoders write 1 to 50
SMALL_BLOCK = 256  # pixels of a code-block; encoders make them of 1024 or 4096

_TILE_PART, _PIXELS_BEGIN, _STYLE, _COMPONENT_STYLE = 0x90, 0x93, 0x52, 0x53


def check_jpeg2000(data: bytes) -> None:
    """Raise InputError `too-large` where the header asks for out of all proportion, EOFError where tiles are missing.

    Else the picture would decode, its missing blocks black. Raises struct.error and the like for what is no JPEG 2000.
    """
    start = _codestream(data)
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = struct.unpack_from(">8L", data, start + 8)
    pixels = max(x1 - x0, 0) * max(y1 - y0, 0)
    tiles, present = _up(x1 - tile_x0, tile_x) * _up(y1 - tile_y0, tile_y), set()
    _refuse_many(tiles, "tiles", pixels)
    for marker, at in _segments(data, start + 2):
        if marker == _TILE_PART:
            present.add(data[at + 4 : at + 6])
        elif marker in {_STYLE, _COMPONENT_STYLE}:
            _check_style(data, at, pixels, (min(tile_x, x1 - x0), min(tile_y, y1 - y0)))
    if len(present) < tiles or b"\xff\xd9" not in data:
        raise EOFError


def _codestream(data: bytes) -> int:
    """Where the pixels' own header starts, within the boxes around it or without any."""
    start = 0
    while not data.startswith(b"\xff\x4f\xff\x51", start):
        length, kind = struct.unpack_from(">L4s", data, start)
        head = 16 if length == 1 else 8  # 1: a wide length follows
        start += head if kind == b"jp2c" else length or len(data)
    return start


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield (marker, start) of each segment of the main header and of the tile-parts' headers."""
    end_of_part = len(data)
    while at + 12 <= len(data) and data[at + 1] != 0xD9:
        marker = data[at + 1]
        yield marker, at
        if marker == _TILE_PART:
            (length,) = struct.unpack_from(">L", data, at + 6)
            end_of_part = at + length if length else len(data)  # 0: all that is left
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        at = max(end_of_part, at + 2) if marker == _PIXELS_BEGIN else end


def _check_style(data: bytes, at: int, pixels: int, tile: tuple[int, int]) -> None:
    if data[at + 1] == _STYLE:
        (layers,) = struct.unpack_from(">H", data, at + 6)
        if layers > MAX_LAYERS:
            raise InputError("too-large", f"{layers} quality layers; save it with at most {MAX_LAYERS}")
        own_precincts, at = data[at + 4] & 1, at + 9
    else:
        own_precincts, at = data[at + 5] & 1, at + 6
    levels, across, down = data[at], data[at + 1] + 2, data[at + 2] + 2
    if 1 << across + down < SMALL_BLOCK:
        raise InputError("too-large", f"code-blocks of {1 << across} x {1 << down} pixels; save it with larger ones")
    if own_precincts:
        # A byte for each resolution, the smallest first: the powers of two that a precinct measures.
        sizes = [(levels - i, size & 15, size >> 4) for i, size in enumerate(data[at + 5 : at + 6 + levels])]
        width, height = tile
        count = sum(_up(width, 1 << less + x) * _up(height, 1 << less + y) for less, x, y in sizes)
        _refuse_many(count, "precincts", pixels)


def _up(length: int, step: int) -> int:
    """How many steps cover a length."""
    return -(-length // step)


def _refuse_many(count: int, what: str, pixels: int) -> None:
    if count > max(FEW, pixels // SPARSE):
        raise InputError("too-large", f"{count} {what} in {pixels} pixels; save it with larger ones")
