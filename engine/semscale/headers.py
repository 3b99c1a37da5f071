"""What image files say of themselves before their pixels: turned, sized and stripped without decoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# TIFF: what the pixels need, as tag -> whether it has exactly one value; and bytes a value by field type.
_TIFF_TAGS: dict[int, bool] = dict.fromkeys((256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323), True)
_TIFF_TAGS |= dict.fromkeys((258, 273, 279, 320, 324, 325, 338, 339, 347, 529, 530, 532), False)
_TIFF_BYTES = {1: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}
_TIFF_ORIENTATION = 274
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG segments that start with the size


def exif_orientation(exif: bytes) -> int:
    """The orientation in EXIF bytes, 1 where it is absent or damaged. EXIF is a TIFF header without pixels."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    try:
        (directory,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == _TIFF_ORIENTATION:
                (value,) = struct.unpack_from(order + ("L" if kind == 4 else "H"), tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # a damaged tag is worth no image
    return 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in {0xD9, 0xDA}:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        at = end


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


def still_png(data: bytes) -> bytes:
    """A PNG without its animation chunks: what remains is the picture that viewers without animation show."""
    if b"acTL" not in data:
        return data
    pieces, kept, at = [], 0, 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in {b"acTL", b"fcTL", b"fdAT"}:
            pieces.append(data[kept:at])
            kept = end
        at = end
    return b"".join([*pieces, data[kept:]])


def gif_size(data: bytes) -> tuple[int, int]:
    """Width and height of a GIF's first frame and its screen together, which Pillow makes the canvas."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at] == ord("!"):  # an extension: a label, then blocks that start with their length, the last one empty
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] != ord(","):
        return width, height
    left, top, frame_width, frame_height = struct.unpack_from("<4H", data, at + 1)
    return max(width, left + frame_width), max(height, top + frame_height)


def plain_tiff(data: bytes) -> tuple[bytes, int]:
    """Return a TIFF with only the tags its pixels need, checked to lie within the file, and its orientation.

    Pillow warns of odd metadata in TIFF. A tag whose field type is made 0 is skipped in silence, by libtiff too.
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
    plain, room, orientation = bytearray(data), len(data), 1
    struct.pack_into(order + wide, plain, first + count * size, 0)  # no further pages
    for entry in range(first, first + count * size, size):
        tag, kind, n, place = struct.unpack_from(f"{order}HH{wide}{wide}", data, entry)
        if tag == _TIFF_ORIENTATION:
            (orientation,) = struct.unpack_from(f"{order}H", data, entry + size - inline)
        if tag not in _TIFF_TAGS or kind not in _TIFF_BYTES:
            struct.pack_into(f"{order}H", plain, entry + 2, 0)
            continue
        length = n * _TIFF_BYTES[kind]
        room -= length if length > inline else 0
        if (_TIFF_TAGS[tag] and n != 1) or room < 0:
            raise ValueError(f"TIFF tag {tag} has {n} values")
        if length > inline and place + length > len(data):
            raise EOFError
    return bytes(plain), orientation if 1 <= orientation <= 8 else 1
