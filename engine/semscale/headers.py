"""What image files say of themselves before their pixels: turned, sized and stripped without decoding."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

# TIFF: what the pixels need, as tag -> whether it has exactly one value; and bytes a value by field type.
_TIFF_TAGS: dict[int, bool] = dict.fromkeys((256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323), True)
_TIFF_TAGS |= dict.fromkeys((258, 273, 279, 320, 324, 325, 338, 339, 347, 529, 530, 532), False)
_TIFF_BYTES = {1: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}
_TIFF_WORDS = {1: "B", 3: "H", 4: "L", 16: "Q"}  # the field types of whole numbers
TIFF_ORIENTATION = 274
TIFF_SIZES = ((256, 257), (322, 323))  # width and height of the picture, and of a tile
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG segments that start with the size
# What may follow 0xFF without being the start of a segment: an escaped 0xFF, a fill byte, a marker that stands alone.
_BARE = frozenset({0x00, 0x01, 0xC8, 0xFF, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})


def exif_orientation(exif: bytes) -> int:
    """The orientation in EXIF bytes, 1 where it is absent or damaged. EXIF is a TIFF header without pixels."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    try:
        (directory,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == TIFF_ORIENTATION:
                (value,) = struct.unpack_from(order + ("L" if kind == 4 else "H"), tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # a damaged tag is worth no image
    return 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment before the pixels; like decoders, step over bytes that are none."""
    at = data.find(b"\xff", 2)
    while 0 <= at < len(data) - 3 and data[at + 1] != 0xDA:
        marker, end = data[at + 1], at + 1
        if marker not in _BARE:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            yield marker, at, end
        at = data.find(b"\xff", end)


def jpeg_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1 where it has none."""
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
            return exif_orientation(data[start + 10 : end])
    return 1


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG once it is turned upright; None for what is no JPEG, or says nothing."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    for marker, start, _ in _jpeg_segments(data):
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 5)
            return (height, width) if jpeg_orientation(data) >= 5 else (width, height)
    return None


def without_metadata(data: bytes) -> bytes:
    """A JPEG without its EXIF, XMP and multi-picture segments; those that say what the samples mean stay."""
    pieces, kept = [], 0
    for marker, start, end in _jpeg_segments(data):
        if marker in {0xE1, 0xE2}:
            pieces.append(data[kept:start])
            kept = end
    return b"".join([*pieces, data[kept:]])


def plain_png(data: bytes) -> bytes:
    """A PNG with only the chunks that its picture needs: no animation, and no text or profile, which may be bombs."""
    pieces, kept, at = [], 0, 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind[0] & 0x20 and kind not in {b"tRNS", b"eXIf"}:  # a small first letter: not critical
            pieces.append(data[kept:at])
            kept = end
        at = end
    return b"".join([*pieces, data[kept:]]) if pieces else data


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP's canvas; (0, 0) where its first chunk is none that says so."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def heif_size(data: bytes) -> tuple[int, int]:
    """Width and height of the largest item that an AVIF or HEIF declares: a tile, a grid, an alpha plane ..."""
    sizes = (struct.unpack(">LL", match[1]) for match in re.finditer(rb"ispe\0{4}(.{8})", data, re.DOTALL))
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def plain_gif(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """A GIF that comes to its first frame at once and keeps it, on a screen that holds it; width and height of those.

    Of what precedes the frame only its transparent colour stays. Pillow makes the canvas as large as screen and frame
    together, and a second one for what is to follow the frame.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    start = at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    control = b""
    while data[at] != ord(","):
        if data[at] == ord(";"):
            raise EOFError
        if data[at] != ord("!"):  # readers skip what they do not know
            at += 1
            continue
        if data[at + 1 : at + 3] == b"\xf9\4" and data[at + 3] & 1:
            control = b"!\xf9\4\1" + data[at + 4 : at + 7] + b"\0"
        at += 2
        while data[at]:  # blocks that start with their length, the last one empty
            at += 1 + data[at]
        at += 1
    left, top, frame_width, frame_height = struct.unpack_from("<4H", data, at + 1)
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    if max(width, height) > 0xFFFF:
        raise ValueError("its first frame lies outside of any screen")
    return data[:6] + struct.pack("<HH", width, height) + data[10:start] + control + data[at:], (width, height)


def plain_tiff(data: bytes) -> tuple[bytes, dict[int, int]]:
    """Return a TIFF with only the tags its pixels need, checked to lie within the file, and those of one value.

    Pillow warns of odd metadata in TIFF. A tag whose field type is made 0 is skipped in silence, by libtiff too. Among
    the tags returned are TIFF_ORIENTATION and those of TIFF_SIZES, where the file has them.
    """
    order = "<" if data.startswith(b"II") else ">"
    # BigTIFF (version 43) has wider counts and offsets: (offset of the header's pointer, count, entry bytes, offset).
    start, count_type, size, wide = (8, "Q", 20, "Q") if 43 in data[2:4] else (4, "H", 12, "L")
    inline = struct.calcsize(order + wide)
    (directory,) = struct.unpack_from(order + wide, data, start)
    (count,) = struct.unpack_from(order + count_type, data, directory)
    first = directory + struct.calcsize(order + count_type)
    if first + count * size + inline > len(data):
        raise EOFError
    plain, room, values, longest = bytearray(data), len(data), dict[int, int](), 0
    struct.pack_into(order + wide, plain, first + count * size, 0)  # no further pages
    for entry in range(first, first + count * size, size):
        tag, kind, n, place = struct.unpack_from(f"{order}HH{wide}{wide}", data, entry)
        inlined = n == 1 and kind in _TIFF_WORDS and _TIFF_BYTES[kind] <= inline
        if inlined:
            (value,) = struct.unpack_from(order + _TIFF_WORDS[kind], data, entry + size - inline)
            values[tag] = max(value, values.get(tag, 0))  # of a tag that comes twice some take this, some that
        if tag not in _TIFF_TAGS or kind not in _TIFF_BYTES:
            struct.pack_into(f"{order}H", plain, entry + 2, 0)
            continue
        length, longest = n * _TIFF_BYTES[kind], max(longest, n if kind != 7 else 0)
        room -= length if length > inline else 0
        if (_TIFF_TAGS[tag] and not inlined) or room < 0:
            raise ValueError(f"TIFF tag {tag} has {n} values")
        if length > inline and place + length > len(data):
            raise EOFError
    width, height = (values.get(tag, 0) for tag in TIFF_SIZES[0])
    if longest > 1024 + 4 * (width + height + width * height // 256):  # of 4 planes, in strips of a row or small tiles
        raise ValueError(f"{longest} strips or tiles in a TIFF of {width} x {height} pixels")
    if not 1 <= values.get(TIFF_ORIENTATION, 1) <= 8:
        del values[TIFF_ORIENTATION]
    return bytes(plain), values
