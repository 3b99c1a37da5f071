"""A decoded Pillow image of any mode -> (H, W, 3) uint8 RGB, as a viewer shows it.

Worked out band by band: whatever a conversion needs in between is a few megabytes, however large the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from semscale.errors import InputError
from semscale.model import Array

BAND = 1 << 18  # pixels converted at a time; their copies stay within a processor's cache
_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}


def to_rgb(image: Image.Image, *, depth: int = 8) -> Array:
    """Return the pixels of a loaded image, (H, W, 3) uint8, contiguous and writable.

    Transparency lies on white; palettes, grey, CMYK, 16-bit and float samples become 8 bits over their full range.
    `depth` is the bits a sample of a PNG has in the file, which Pillow does not tell. Raises InputError for LAB.
    """
    convert = _conversion(image, depth)
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for left, top, right, bottom in _bands(width, height):
        pixels[top:bottom, left:right] = convert(image.crop((left, top, right, bottom)))
    return pixels


def upright(pixels: Array, orientation: int) -> Array:
    """Undo an EXIF orientation (1 to 8) of (H, W, 3) pixels: 5 to 8 swap the axes first."""
    if orientation == 1:
        return pixels
    turned = pixels.transpose(1, 0, 2) if orientation >= 5 else pixels
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _bands(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    columns = min(width, BAND)
    rows = max(BAND // columns, 1)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _conversion(image: Image.Image, depth: int) -> Callable[[Image.Image], Array]:
    """The function from a band of `image` to its RGB pixels."""
    key, mode = image.info.get("transparency"), image.mode
    if mode == "LAB":
        raise InputError("unsupported", "LAB colours are not read; convert the file to RGB")
    if mode.startswith("I;16"):
        return lambda band: _grey16(np.asarray(band), key)
    if mode in {"I", "F"}:
        low, white = _range(image, tops=(65535,) if mode == "I" else (1, 255, 65535))
        return lambda band: _wide_grey(np.asarray(band), low, white)
    if mode in _ALPHA or (mode == "P" and image.has_transparency_data):
        return _on_white
    if key is None:
        return lambda band: np.asarray(band if mode == "RGB" else band.convert("RGB"))
    hidden = _key8(key, mode, depth)
    return lambda band: _without_key(np.array(band.convert("RGB")), hidden)


def _on_white(band: Image.Image) -> Array:
    if band.mode == "La":
        band = band.convert("LA")
    band = band.convert("RGBA")
    canvas = Image.new("RGB", band.size, (255, 255, 255))
    canvas.paste(band, mask=band)
    return np.asarray(canvas)


def _key8(key: int | tuple[int, ...], mode: str, depth: int) -> Array:
    """The colour that means transparent, as the 8-bit samples Pillow makes of a file with `depth` bits a sample."""
    samples = np.asarray(key)
    if depth == 16:
        return samples >> 8
    return samples * 255 // (2**depth - 1) if mode == "L" and depth < 8 else samples


def _without_key(pixels: Array, key: Array) -> Array:
    pixels[(pixels == key).all(axis=-1)] = 255
    return pixels


def _grey16(values: Array, key: int | None) -> Array:
    """16-bit grey (h, w) over its full range; `key` is the value that means transparent."""
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if key is not None:
        grey[values == key] = 255
    return grey[..., None]


def _finite(values: Array) -> Array:
    # No image means values beyond 1e30, and their difference would overflow.
    return np.clip(np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0), -1e30, 1e30)


def _range(image: Image.Image, *, tops: tuple[int, ...]) -> tuple[float, float]:
    """Black, and white less black, of grey samples of a type that has no white of its own.

    White is the smallest of `tops` that holds all samples. Values below zero or above every top are spread from the
    lowest to the highest, as image viewers do. NaN and infinity count as zero.
    """
    bands = (_finite(np.asarray(image.crop(box))) for box in _bands(*image.size))
    ends = np.array([(band.min(), band.max()) for band in bands], np.float64)
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    white = next((top for top in tops if low >= 0 and high <= top), None)
    return (low, max(high - low, 1e-30)) if white is None else (0.0, float(white))


def _wide_grey(values: Array, low: float, white: float) -> Array:
    shifted = _finite(values) - np.float32(low)
    return np.clip(np.rint(shifted * np.float32(255 / white)), 0, 255).astype(np.uint8)[..., None]
