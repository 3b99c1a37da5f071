"""Encoded bytes -> (H, W, 3) uint8 RGB, hostile input made harmless.

What a file is, is told by its bytes and never by its name. JPEG goes to simplejpeg, HEIF to pillow-heif and RGB PNG to
libspng where these are installed, all else to Pillow's readers, which are called one by one: `PIL.Image.open` would
warn, consult global limits and try formats that start other programs. Threads may call `decode` at once. What goes
wrong is an InputError with one of the codes

    empty-file      no bytes at all
    not-an-image    the bytes are something else: an HTML page, JSON, zeros ...
    unsupported     an image or a document of a kind that is not read: JPEG XL, SVG, LAB colours ...
    too-large       more pixels than `max_pixels`, or parts out of all proportion to them; told by the header alone
    truncated       the file ends before its pixels do
    decode-failed   the format is known, its content is damaged
"""

from __future__ import annotations

import contextlib
import ctypes
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

from semscale.avif import coded_size
from semscale.errors import InputError
from semscale.headers import (
    TIFF_ORIENTATION,
    TIFF_SIZES,
    exif_orientation,
    heif_size,
    jpeg_orientation,
    plain_gif,
    plain_png,
    plain_tiff,
    webp_size,
    without_metadata,
)
from semscale.jpeg2000 import check_jpeg2000
from semscale.libspng import rgb_png
from semscale.model import Array
from semscale.modes import to_rgb, upright
from semscale.strangers import is_cut, stranger

# Pillow logs what it then raises; only who listens should see it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 89_478_485  # 256 MiB of RGB; Pillow too starts to doubt a file here (PIL.Image.MAX_IMAGE_PIXELS)
# The most memory that a decode takes, result included, as measured: JPEG 3 (progressive 9, CMYK 12), GIF 5, PNG, BMP,
# TGA, PPM and QOI 7, TIFF 12, AVIF and HEIF 14, WebP 16, JPEG 2000 20 (alpha 25, small blocks 34); 3 more to turn.
BYTES_PER_PIXEL = 36
OVERSAMPLING = 2  # a DCT-scaled JPEG keeps this many times the side that the resize needs, which hides the scaling
MAX_SCANS = 200  # of a progressive JPEG, each a pass over all pixels; encoders write 10 to 20, attacks thousands
TILE_PIXELS = 1 << 24  # of a TIFF's tile that is larger than the picture it pads

# HEIF keeps its orientation elsewhere; Pillow only warns of this.
_AVIF_EXIF = re.compile(rb"(infe\x02.{7})Exif", re.DOTALL)
_DAMAGE = ("bad huffman", "bad arithmetic", "instead of rst")  # what libjpeg says when pixels are wrong, not just odd


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink_to: int | None = None) -> Array:
    """Return the first picture in an encoded file, as a viewer shows it: (H, W, 3) uint8 RGB, contiguous and writable.

    The EXIF orientation is applied; transparency lies on white; palettes, grey, CMYK, 16-bit and float samples become
    8-bit RGB over their full range; colour profiles are ignored. With `shrink_to` (pixels) a JPEG may come back
    smaller, its shortest side still at least twice `shrink_to`: faster, and not exact.

    Raises InputError, with a code of the table above, for every input that gives no picture.
    """
    if not data:
        raise InputError("empty-file", "the file is empty; write it again")
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data, max_pixels, shrink_to)
        return _reader(data)(data, max_pixels)
    except InputError:
        raise
    except Exception as error:  # decoders raise anything at all on hostile bytes
        raise _explained(data, error) from error


def _reader(data: bytes) -> Callable[[bytes, int], Array]:
    reader = next((reader for signature, reader in _READERS if signature.match(data)), None)
    if reader is not None:
        return reader
    problem = stranger(data)
    if problem.code != "not-an-image" or not _TGA.match(data):
        raise problem
    return _plain(TgaImageFile)


def _jpeg(data: bytes, max_pixels: int, shrink_to: int | None) -> Array:
    if _scans(data) > MAX_SCANS:
        raise InputError("unsupported", f"a JPEG of more than {MAX_SCANS} scans; save it again")
    orientation = jpeg_orientation(data)
    pixels = _turbo_jpeg(data, max_pixels, shrink_to)
    if pixels is not None:
        return upright(pixels, orientation)
    # Without its metadata, of which Pillow would parse parts and warn of oddities.
    image = JpegImageFile(io.BytesIO(without_metadata(data)))
    return _loaded(image, max_pixels, orientation=orientation)


def _scans(data: bytes) -> int:
    """How many scans a JPEG may have: markers of one, wherever they stand. `bytes.count` takes three times as long."""
    values = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == 0xDA)))


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


def _plain(opener: Callable[[io.BytesIO], ImageFile]) -> Callable[[bytes, int], Array]:
    """The reader for a format that its opener reads without allocating anything by the header."""
    return lambda data, max_pixels: _loaded(opener(io.BytesIO(data)), max_pixels)


def _png(data: bytes, max_pixels: int) -> Array:
    plain = plain_png(data)
    pixels = rgb_png(plain, max_pixels)
    return _loaded(PngImageFile(io.BytesIO(plain)), max_pixels, depth=data[24]) if pixels is None else pixels


def _gif(data: bytes, max_pixels: int) -> Array:
    plain, size = plain_gif(data)
    _check_size(*size, max_pixels)
    return _loaded(GifImageFile(io.BytesIO(plain)), max_pixels)


class _SignatureFirst(io.BytesIO):
    """A stream whose first read is the signature alone: in more, Pillow would see the size, and judge it by its own."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if self.tell() else 16)


def _webp(data: bytes, max_pixels: int) -> Array:
    _check_size(*webp_size(data), max_pixels)
    return _loaded(WebPImageFile(_SignatureFirst(data)), max_pixels)


def _tiff(data: bytes, max_pixels: int) -> Array:
    plain, tags = plain_tiff(data)
    (width, height), (tile_width, tile_height) = ([tags.get(tag, 0) for tag in tags_of] for tags_of in TIFF_SIZES)
    _check_size(width, height, max_pixels)
    _check_size(tile_width, tile_height, min(max_pixels, max(TILE_PIXELS, 4 * width * height)), what="tiles of ")
    image = TiffImageFile(io.BytesIO(plain))
    _check_size(*image.size, max_pixels)
    image.im = Image.core.new(image.mode, image.size)  # else Pillow would, after a look at limits of its own
    return _loaded(image, max_pixels, orientation=tags.get(TIFF_ORIENTATION, 1))


def _avif(data: bytes, max_pixels: int) -> Array:
    _check_size(*heif_size(data), max_pixels)
    _check_size(*coded_size(data), max_pixels)
    return _loaded(AvifImageFile(io.BytesIO(_AVIF_EXIF.sub(rb"\1free", data))), max_pixels)


def _heif(data: bytes, max_pixels: int) -> Array:
    """Unlike elsewhere, an orientation in the EXIF is not applied: by the standard the container's own counts."""
    try:
        import pillow_heif
    except ImportError as error:
        cure = "pip install pillow-heif, or convert it to JPEG or PNG"
        raise InputError("unsupported", f"a HEIC image, which needs a plugin: {cure}") from error
    _check_size(*heif_size(data), max_pixels)
    file = pillow_heif.open_heif(data)
    _check_size(*file.size, max_pixels)
    return to_rgb(file.to_pillow())


def _jpeg2000(data: bytes, max_pixels: int) -> Array:
    image = Jpeg2KImageFile(io.BytesIO(data))
    _check_size(*image.size, max_pixels)
    check_jpeg2000(data)
    return _loaded(image, max_pixels)


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes, int], Array]], ...] = tuple(
    (re.compile(signature, re.DOTALL), reader)
    for signature, reader in (
        (rb"\x89PNG\r\n\x1a\n", _png),
        (rb"RIFF....WEBP", _webp),
        (rb"GIF8[79]a", _gif),
        (rb"(?:II[*+]\0|MM\0[*+])", _tiff),
        (rb"BM", _plain(BmpImageFile)),
        (rb"....ftyp(?:avi[fs]|mif1....(?:....){0,8}avif)", _avif),
        (rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", _heif),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", _jpeg2000),
        (rb"P[1-6f]\s", _plain(PpmImageFile)),
        (rb"qoif", _plain(QoiImageFile)),
    )
)
_TGA = re.compile(rb".[\0\1][\1-\3\x09-\x0b].{13}[\x08\x10\x18\x20]", re.DOTALL)  # no signature, so tried last of all


def _check_size(width: int, height: int, max_pixels: int, *, what: str = "") -> None:
    if width * height > max_pixels:
        cure = "shrink the file, or raise --max-pixels"
        raise InputError("too-large", f"{what}{width} x {height} pixels are more than the {max_pixels} allowed; {cure}")


def _loaded(image: ImageFile, max_pixels: int, *, depth: int = 8, orientation: int = 1) -> Array:
    """Decode and convert. `depth` as for `to_rgb`; `orientation` where the format keeps it outside of EXIF bytes."""
    _check_size(*image.size, max_pixels)
    image.load()
    exif = image.info.get("exif")  # read last: it may follow the pixels
    if isinstance(exif, bytes):
        orientation = exif_orientation(exif)
    return upright(to_rgb(image, depth=depth), orientation)


def _explained(data: bytes, error: Exception) -> InputError:
    said = str(error).lower()
    if isinstance(error, MemoryError):
        return InputError("too-large", "the picture does not fit into memory; shrink the file, or lower --max-pixels")
    if isinstance(error, EOFError | IndexError | struct.error) or re.search("truncated|premature end", said):
        return InputError("truncated", "the file ends before its pixels do; copy or make it again")
    if is_cut(data):
        return InputError("truncated", "the file ends before its pixels do; copy or make it again")
    if isinstance(error, NotImplementedError) or re.search("unsupported|not supported|unknown pixel mode", said):
        return InputError("unsupported", f"a variety of its format that is not read ({error}); save it as PNG")
    return InputError("decode-failed", f"its content is damaged ({error or type(error).__name__}); make it again")


def _quieten_libtiff() -> None:
    """Keep libtiff from writing every fault to standard error; what it finds wrong comes as an exception too."""
    # Only a function of the library itself does this. Where Pillow was built without it, there is nothing to silence.
    with contextlib.suppress(AttributeError, OSError):
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


_quieten_libtiff()
