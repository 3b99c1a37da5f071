"""Encoded bytes -> (H, W, 3) uint8 RGB, hostile input made harmless.

What a file is, is told by its bytes and never by its name. JPEG goes to simplejpeg, all else to Pillow's readers, which
are called one by one: `PIL.Image.open` would warn, consult global limits and try formats that start other programs.
Nothing global is changed, so threads may call `decode` at once. What goes wrong is an InputError with one of the codes

    empty-file      no bytes at all
    not-an-image    the bytes are something else: an HTML page, JSON, zeros ...
    unsupported     an image or a document of a kind that is not read: HEIC, JPEG XL, SVG, LAB colours ...
    too-large       the header promises more pixels than `max_pixels`; nothing was allocated
    truncated       the file ends before its pixels do
    decode-failed   the format is known, its content is damaged
"""

from __future__ import annotations

import io
import logging
import re
import struct
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.QoiImagePlugin import QoiImageFile
from PIL.TgaImagePlugin import TgaImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from semscale.errors import InputError
from semscale.headers import exif_orientation, gif_size, jpeg_orientation, plain_tiff, still_png, without_metadata
from semscale.model import Array

# Pillow logs what it then raises; only who listens should see it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 89_478_485  # 256 MiB of RGB; Pillow too starts to doubt a file here (PIL.Image.MAX_IMAGE_PIXELS)
OVERSAMPLING = 2  # a DCT-scaled JPEG keeps this many times the side that the resize needs, which hides the scaling

_OPENERS: tuple[tuple[re.Pattern[bytes], Callable[[io.BytesIO], ImageFile]], ...] = tuple(
    (re.compile(signature, re.DOTALL), opener)
    for signature, opener in (
        (rb"\x89PNG\r\n\x1a\n", PngImageFile),
        (rb"RIFF....WEBP", WebPImageFile),
        (rb"GIF8[79]a", GifImageFile),
        (rb"(?:II[*+]\0|MM\0[*+])", TiffImageFile),
        (rb"BM", BmpImageFile),
        (rb"....ftyp(?:avi[fs]|mif1....(?:....){0,8}avif)", AvifImageFile),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", Jpeg2KImageFile),
        (rb"P[1-6f]\s", PpmImageFile),
        (rb"qoif", QoiImageFile),
    )
)
_TGA = re.compile(rb".[\0\1][\1-\3\x09-\x0b].{13}[\x08\x10\x18\x20]", re.DOTALL)  # no signature, so tried last of all
# HEIF keeps its orientation elsewhere; Pillow only warns of this.
_AVIF_EXIF = re.compile(rb"(infe\x02.{7})Exif", re.DOTALL)
_DAMAGE = ("bad huffman", "bad arithmetic", "instead of rst")  # what libjpeg says when pixels are wrong, not just odd

_STRANGERS: tuple[tuple[str, re.Pattern[bytes], str], ...] = tuple(
    (code, re.compile(signature, re.DOTALL | re.IGNORECASE), words)
    for code, signature, words in (
        ("not-an-image", rb"\s*(?:<!doctype html|<html|<head|<body)", "an HTML page, perhaps of a failed download"),
        ("unsupported", rb"\s*(?:<\?xml.*)?<svg", "an SVG drawing; render it to PNG"),
        ("not-an-image", rb"\s*<\?xml", "an XML document, perhaps of a failed download"),
        ("not-an-image", rb"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
        ("not-an-image", rb"\s*[\[{]\s*[\"{\[\]}]", "JSON"),
        ("not-an-image", rb"pk\x03\x04|\x1f\x8b|7z\xbc\xaf|rar!", "an archive; unpack it"),
        ("not-an-image", rb"\0+$", "nothing but zeros, perhaps of an interrupted copy"),
        ("unsupported", rb"....ftyp(?:hei|hev|mif1|msf1)", "HEIC; convert it to JPEG or PNG"),
        ("unsupported", rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", "a video; extract its frames"),
        ("unsupported", rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL; convert it to PNG"),
        ("unsupported", rb"%pdf|%!ps|8bps", "a PDF, PostScript or Photoshop document; export it as PNG"),
        ("unsupported", rb"\0\0[\1\2]\0[\1-\xff]", "a Windows icon; save it as PNG"),
        ("not-an-image", rb"[\t\n\r -~]{8,}$", "plain text"),
    )
)
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF", b"II*\0", b"MM\0*")  # of files cut within them


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink_to: int | None = None) -> Array:
    """Return the first picture in an encoded file, as a viewer shows it: (H, W, 3) uint8 RGB, contiguous and writable.

    The EXIF orientation is applied; transparency lies on white; palettes, grey, CMYK, 16-bit and float samples become
    8-bit RGB over their full range; colour profiles are ignored. With `shrink_to` (pixels) a JPEG may come back
    smaller, its shortest side still at least twice `shrink_to`: faster, and not exact. A `max_pixels` above MAX_PIXELS
    takes a raised `PIL.Image.MAX_IMAGE_PIXELS` too.

    Raises InputError, with a code of the table above, for every input that gives no picture.
    """
    if not data:
        raise InputError("empty-file", "the file is empty; write it again")
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _decode_jpeg(data, max_pixels, shrink_to)
        return _decode_other(data, max_pixels)
    except InputError:
        raise
    except Exception as error:  # decoders raise anything at all on hostile bytes
        raise _explained(data, error) from error


def _decode_jpeg(data: bytes, max_pixels: int, shrink_to: int | None) -> Array:
    orientation = jpeg_orientation(data)
    pixels = _turbo_jpeg(data, max_pixels, shrink_to)
    if pixels is None:
        # Without its metadata, of which Pillow would parse parts and warn of oddities.
        image = JpegImageFile(io.BytesIO(without_metadata(data)))
        pixels = _loaded(image, max_pixels)
    return _upright(pixels, orientation)


def _turbo_jpeg(data: bytes, max_pixels: int, shrink_to: int | None) -> Array | None:
    """Decode with simplejpeg; None for what it does not read, or reads only with a complaint that Pillow may judge."""
    least = OVERSAMPLING * shrink_to if shrink_to else 0
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        _check_size(int(width), int(height), max_pixels)
        if space not in {"RGB", "YCbCr", "Gray"}:
            return None
        # Factors under 2 are slower than a full decode and save little.
        return simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least, min_factor=2 if least else 1)
    except ValueError as error:
        said = str(error).lower()
        if "premature end" in said or any(damage in said for damage in _DAMAGE):
            raise
        return None


def _decode_other(data: bytes, max_pixels: int) -> Array:
    opener = next((opener for signature, opener in _OPENERS if signature.match(data)), None)
    if opener is None:
        problem = _stranger(data)
        if problem.code != "not-an-image" or not _TGA.match(data):
            raise problem
        opener = TgaImageFile
    orientation = 1
    if opener is TiffImageFile:
        data, orientation = plain_tiff(data)
    elif opener is PngImageFile:
        data = still_png(data)
    elif opener is GifImageFile:
        _check_size(*gif_size(data), max_pixels)
    elif opener is Jpeg2KImageFile and b"\xff\xd9" not in data:
        raise EOFError  # else it would decode, with the last blocks missing
    elif opener is AvifImageFile:
        data = _AVIF_EXIF.sub(rb"\1free", data)
    image = opener(io.BytesIO(data))
    pixels = _loaded(image, max_pixels, depth=data[24] if opener is PngImageFile else 8)
    exif = image.info.get("exif")  # read last: it may follow the pixels
    return _upright(pixels, exif_orientation(exif) if isinstance(exif, bytes) else orientation)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        message = f"{width} x {height} pixels are more than the {max_pixels} allowed; shrink the file"
        raise InputError("too-large", message)


def _loaded(image: ImageFile, max_pixels: int, *, depth: int = 8) -> Array:
    """Decode and convert; `depth` is the bits a sample of a PNG has in the file, which Pillow does not tell."""
    _check_size(*image.size, max_pixels)
    image.load()
    key = image.info.get("transparency")
    mode = image.mode
    if mode == "LAB":
        raise InputError("unsupported", "LAB colours are not read; convert the file to RGB")
    if mode.startswith("I;16"):
        return _grey16(np.asarray(image), key)
    if mode in {"I", "F"}:
        return _wide_grey(np.asarray(image), tops=(65535,) if mode == "I" else (1, 255, 65535))
    if mode in {"RGBA", "LA", "PA", "RGBa", "La"} or (mode == "P" and image.has_transparency_data):
        return _on_white(image.convert("RGBA"))
    pixels = np.array(image.convert("RGB"))
    if key is not None:
        pixels[(pixels == _key8(key, mode, depth)).all(axis=-1)] = 255
    return pixels


def _on_white(image: Image.Image) -> Array:
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=image)
    return np.array(canvas)


def _key8(key: int | tuple[int, ...], mode: str, depth: int) -> Array:
    """The colour that means transparent, as the 8-bit samples Pillow makes of a file with `depth` bits a sample."""
    samples = np.asarray(key)
    if depth == 16:
        return samples >> 8
    return samples * 255 // (2**depth - 1) if mode == "L" and depth < 8 else samples


def _grey16(values: Array, key: int | None) -> Array:
    """16-bit grey (H, W) over its full range; `key` is the value that means transparent."""
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if key is not None:
        grey[values == key] = 255
    return np.repeat(grey[..., None], 3, axis=2)


def _wide_grey(values: Array, *, tops: tuple[int, ...]) -> Array:
    """Grey samples (H, W) of a type that has no white of its own: white is the smallest of `tops` that holds them all.

    Values below zero or above every top are spread from the lowest to the highest, as image viewers do. NaN and
    infinity are black.
    """
    # No image means values beyond 1e30, and their difference would overflow.
    finite = np.clip(np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0), -1e30, 1e30)
    low, high = float(finite.min()), float(finite.max())
    white = next((top for top in tops if low >= 0 and high <= top), None)
    if white is None:
        finite, white = finite - np.float32(low), max(high - low, 1e-30)
    grey = np.clip(np.rint(finite * np.float32(255 / white)), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _upright(pixels: Array, orientation: int) -> Array:
    """Undo an EXIF orientation (1 to 8): 5 to 8 swap the axes first."""
    if orientation == 1:
        return pixels
    turned = pixels.transpose(1, 0, 2) if orientation >= 5 else pixels
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _explained(data: bytes, error: Exception) -> InputError:
    said = str(error).lower()
    if isinstance(error, MemoryError | Image.DecompressionBombError | Image.DecompressionBombWarning):
        return InputError("too-large", "the picture does not fit into memory; shrink the file")
    if (
        isinstance(error, EOFError | IndexError | struct.error)
        or re.search("truncated|premature end", said)
        or _is_cut(data)
    ):
        return InputError("truncated", "the file ends before its pixels do; copy or make it again")
    if isinstance(error, NotImplementedError) or re.search("unsupported|not supported|unknown pixel mode", said):
        return InputError("unsupported", f"a variety of its format that is not read ({error}); save it as PNG")
    return InputError("decode-failed", f"its content is damaged ({error or type(error).__name__}); make it again")


def _stranger(data: bytes) -> InputError:
    """The error for bytes that start like no format we read."""
    if len(data) > 1 and any(start.startswith(data) for start in _STARTS):
        return InputError("truncated", f"the file ends after {len(data)} bytes; copy or make it again")
    for code, signature, words in _STRANGERS:
        if signature.match(data[:1024]):
            return InputError(code, f"the bytes are not an image that is read: they look like {words}")
    start = data[:8].hex(" ")
    return InputError(
        "not-an-image", f"the bytes are of no known image format (they start with {start}); remove the file"
    )


def _is_cut(data: bytes) -> bool:
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
    return data.startswith(b"GIF") and not data.endswith(b";")
