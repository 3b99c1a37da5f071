"""PNGs as generators write them, RGB of 8 bits, by libspng: less than half of the time that Pillow's reader takes.

imagecodecs brings libspng; where it is not installed, and for every file that is anything else or that libspng finds
fault with, there is no answer, and Pillow's reader gives it. Threads may call at once, and do not wait for each other.
Not the libpng that comes with it: on damaged files it writes to standard error and loses references, until Python ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from semscale.model import Array

HEADER = bytes([8, 2, 0, 0, 0])  # 8 bits a sample, RGB, and the only compression, filters and order there were at first
NEEDED = [b"IHDR", b"IDAT", b"IEND"]


def rgb_png(data: bytes, max_pixels: int) -> Array | None:
    """(H, W, 3) uint8 of a whole PNG without ancillary chunks, bit-equal to Pillow's; None where Pillow must look."""
    decode = _decoder()
    if decode is None or data[24:29] != HEADER or _kinds(data) != NEEDED:
        return None
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    if width * height > max_pixels:
        return None
    try:
        pixels = decode(data)
    except Exception:  # whatever it is, Pillow explains it
        return None
    return pixels if (pixels.shape, pixels.dtype) == ((height, width, 3), np.uint8) else None


def _kinds(data: bytes) -> list[bytes]:
    """The kinds of the chunks up to the end, those that follow one of their own kind left out."""
    kinds, at = [], 8
    while at + 12 <= len(data) and kinds[-1:] != [b"IEND"]:
        kind = data[at + 4 : at + 8]
        if kinds[-1:] != [kind]:
            kinds.append(kind)
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return kinds if at <= len(data) else []


@cache
def _decoder() -> Callable[[bytes], Array] | None:
    try:
        from imagecodecs import spng_decode  # a hundredth of a second, which only who has PNGs need wait
    except ImportError:
        return None
    return spng_decode
