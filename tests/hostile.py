"""Hostile files, always the same: `hostile(index)` damages a valid file of some format in some way.

Damage is of two kinds. Blind: bits, runs, cuts, strange neighbours. Informed: the file is taken apart into its chunks,
segments, tags or boxes, these are lied about, moved, doubled or dropped, and it is put together again with lengths and
checksums that are right, so that the lie gets past the first check.
"""

import base64
import functools
import importlib.util
import io
import random
import re
import struct
import zlib

import numpy as np
from PIL import Image

SEED = 20_250_101
Y, X = np.mgrid[:37, :45]
ADAM7 = (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
# Arithmetic coding is read by libjpeg, and written by no library that tests may count on.
ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ"
    "YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//yQARCAAUABgD"
    "ASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AKPgdC0hfNZd0UyZFywq6QpL5NRdhYkvBPn7nCIfHd4CBWO8UG/FabVU6sIEnzyZ"
    "spTogM47h66CG+TRLuxza8n/2Q=="
)


def encoded(image, fmt, **options):
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def interlaced_png(pixels, depth):
    """Adam7, which Pillow reads and does not write; 8 or 16 bits a sample."""
    samples = np.asarray(pixels, ">u2") * 257 if depth == 16 else pixels
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in ADAM7 for row in samples[top::down, left::right]
    )
    header = struct.pack(">LLBBBBB", pixels.shape[1], pixels.shape[0], depth, 2, 0, 0, 1)
    return join_png([b"\x89PNG\r\n\x1a\n", (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


@functools.cache
def seeds():
    """Valid files: name -> bytes. The name up to the first hyphen is the family, which says how to take it apart."""
    pixels = np.stack([X * 5, Y * 6, (X * Y) % 256], -1).astype(np.uint8)
    photo = Image.fromarray(pixels)
    alpha = photo.copy()
    alpha.putalpha(Image.fromarray((X * 5).astype(np.uint8)))
    grey16 = Image.fromarray((X * 1400).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    pages = {"save_all": True, "append_images": [photo.rotate(180), photo.convert("L").convert("RGB")]}
    files = {
        "jpeg-420": encoded(photo, "JPEG"),
        "jpeg-444": encoded(photo, "JPEG", subsampling=0, quality=95),
        "jpeg-progressive": encoded(photo, "JPEG", progressive=True),
        "jpeg-grey": encoded(photo.convert("L"), "JPEG", restart_marker_blocks=2),
        "jpeg-cmyk": encoded(photo.convert("CMYK"), "JPEG"),
        "jpeg-exif": encoded(photo, "JPEG", exif=exif, icc_profile=b"profile" * 40, comment=b"words"),
        "jpeg-arithmetic": base64.b64decode(ARITHMETIC),
        "png-rgb": encoded(photo, "PNG"),
        "png-rgba": encoded(alpha, "PNG", exif=exif, icc_profile=b"profile" * 40),
        "png-1": encoded(photo.convert("1"), "PNG"),
        "png-grey16": encoded(grey16, "PNG", transparency=0),
        "png-palette": encoded(photo.quantize(9), "PNG", transparency=bytes(range(0, 255, 30))),
        "png-animated": encoded(photo, "PNG", **pages),
        "png-interlaced": interlaced_png(pixels, 8),
        "png-interlaced16": interlaced_png(pixels, 16),
        "webp-lossy": encoded(photo, "WEBP", quality=60),
        "webp-lossless": encoded(alpha, "WEBP", lossless=True, exif=exif),
        "webp-alpha": encoded(alpha, "WEBP", quality=60),
        "webp-animated": encoded(photo, "WEBP", **pages),
        "gif-still": encoded(photo.quantize(60), "GIF", interlace=0),
        "gif-animated": encoded(photo.quantize(16), "GIF", **pages, disposal=2, transparency=3, comment=b"words"),
        "gif-interlaced": encoded(photo.quantize(7), "GIF", interlace=1),
        "bmp-24": encoded(photo, "BMP"),
        "bmp-palette": encoded(photo.quantize(200), "BMP"),
        "bmp-1": encoded(photo.convert("1"), "BMP"),
        "bmp-32": encoded(alpha, "BMP"),
        "bmp-rle": rle_bmp(),
        "jp2-rgb": encoded(photo, "JPEG2000"),
        "jp2-tiles": encoded(alpha, "JPEG2000", tile_size=(16, 16), irreversible=True),
        "j2k-grey": encoded(photo.convert("L"), "JPEG2000", no_jp2=True),
        "ppm-colour": encoded(photo, "PPM"),
        "ppm-grey16": encoded(grey16, "PPM"),
        "ppm-bits": encoded(photo.convert("1"), "PPM"),
        "ppm-plain": b"P3 5 4 99\n" + b" ".join(b"%d" % (i % 100) for i in range(60)),
        "ppm-float": encoded(Image.fromarray((X / 45).astype(np.float32)), "PPM"),
        "tga-rgb": encoded(photo, "TGA"),
        "tga-rle": encoded(alpha, "TGA", compression="tga_rle"),
        "tga-palette": encoded(photo.quantize(50), "TGA"),
        "qoi-rgb": encoded(photo, "QOI"),
        "qoi-rgba": encoded(alpha, "QOI"),
        "avif-420": encoded(photo, "AVIF", speed=10),
        "avif-alpha": encoded(alpha, "AVIF", speed=10, exif=exif),
        "avif-animated": encoded(photo, "AVIF", speed=10, **pages),
    }
    return files | tiffs(photo, grey16, pages) | heifs(photo, alpha, exif)


def tiffs(photo, grey16, pages):
    files = {f"tiff-{name}": encoded(photo, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "packbits")}
    return files | {
        "tiff-deflate": encoded(photo, "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 2}),
        "tiff-jpeg": encoded(photo, "TIFF", compression="jpeg", quality=80),
        "tiff-zstd": encoded(photo, "TIFF", compression="zstd"),
        "tiff-lzma": encoded(photo, "TIFF", compression="lzma"),
        "tiff-fax": encoded(photo.convert("1"), "TIFF", compression="group4"),
        "tiff-fax3": encoded(photo.convert("1"), "TIFF", compression="group3"),
        "tiff-strips": encoded(photo, "TIFF", compression="tiff_lzw", strip_size=300),
        "tiff-pages": encoded(photo, "TIFF", **pages),
        "tiff-grey16": encoded(grey16, "TIFF"),
        "tiff-float": encoded(Image.fromarray((X / 7 - 2).astype(np.float32)), "TIFF"),
        "tiff-palette": encoded(photo.quantize(30), "TIFF"),
        "tiff-cmyk": encoded(photo.convert("CMYK"), "TIFF"),
        "tiff-big": encoded(photo, "TIFF", big_tiff=True),
        "tiff-tiled": tiled_tiff(1),
        "tiff-tiled-deflate": tiled_tiff(8),
    }


def heifs(photo, alpha, exif):
    if importlib.util.find_spec("pillow_heif") is None:
        return {}
    import pillow_heif

    def heif(image, **options):
        out = io.BytesIO()
        pillow_heif.from_pillow(image).save(out, quality=50, **options)
        return out.getvalue()

    large = photo.resize((150, 140))
    return {
        "heif-420": heif(photo),
        "heif-alpha": heif(alpha, exif=exif.tobytes()),
        "heif-grid": heif(large, tile_size=64),
    }


def rle_bmp():
    """RLE8 with runs, literals, a delta and ends of line."""
    line, other = b"\x28\x07\0\0", b"\x05\x01\0\x03\x01\x02\x03\0\x20\x09\0\0"
    body = other + line * 3 + b"\x05\x01\0\x02\x05\0\x1e\x02\0\0" + line * 4 + b"\0\x01"
    header = struct.pack("<LllHHLLllLL", 40, 40, 9, 1, 8, 1, len(body), 0, 0, 256, 0)
    palette = bytes(value for i in range(256) for value in (i, 255 - i, i // 2, 0))
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<LHHL", start + len(body), 0, 0, start) + header + palette + body


def tiled_tiff(compression):
    """Grey, 40 x 24 pixels in tiles of 16 x 16."""
    tiles = [bytes((i * 40 + j) % 256 for j in range(256)) for i in range(6)]
    tiles = [zlib.compress(tile) if compression == 8 else tile for tile in tiles]
    offsets = [8 + sum(map(len, tiles[:i])) for i in range(6)]
    arrays = 8 + sum(map(len, tiles))
    body = b"".join(tiles) + struct.pack("<6L", *offsets) + struct.pack("<6L", *map(len, tiles))
    tags = [
        (256, 4, 1, 40), (257, 4, 1, 24), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 4, 1, 16), (323, 4, 1, 16), (324, 4, 6, arrays), (325, 4, 6, arrays + 24),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<L", 8 + len(body)) + body + directory


# How a family is taken apart: into a list of bytes that stay and (kind, body) pieces, and together again.


def split_png(data):
    pieces, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        pieces.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return pieces


def join_png(pieces):
    return pieces[0] + b"".join(
        struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
        for kind, body in pieces[1:]
    )


def split_jpeg(data):
    pieces, at = [data[:2]], 2
    while data[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        scan = re.compile(rb"\xff[^\0\xd0-\xd7\xff]").search(data, end).start() if data[at + 1] == 0xDA else end
        pieces.append((data[at : at + 2], data[at + 4 : end], data[end:scan]))
        at = scan
    return [*pieces, data[at:]]


def join_jpeg(pieces):
    return b"".join(
        p if isinstance(p, bytes) else p[0] + struct.pack(">H", (len(p[1]) + 2) & 0xFFFF) + b"".join(p[1:])
        for p in pieces
    )


def split_riff(data):
    pieces, at = [data[:4]], 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        pieces.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return pieces


def join_riff(pieces):
    body = b"WEBP" + b"".join(
        kind + struct.pack("<L", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in pieces[1:]
    )
    return pieces[0] + struct.pack("<L", len(body)) + body


def tiff_directory(data):
    """Byte order, and the start, the end and the size of the entries of the first directory."""
    order, big = ("<" if data[:2] == b"II" else ">"), 43 in data[2:4]
    (at,) = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at, size = at + (8 if big else 2), 20 if big else 12
    return order, at, at + count * size, size


def split_tiff(data):
    _, start, end, size = tiff_directory(data)
    return [
        data[:start],
        *((data[at : at + 2], data[at + 2 : at + size]) for at in range(start, end, size)),
        data[end:],
    ]


def join_tiff(pieces):
    """Entries keep their place; the directory's count is set right."""
    head, *entries, tail = pieces
    kept = bytearray(head + b"".join(kind + body for kind, body in entries) + tail)
    order, wide = ("<" if head[:2] == b"II" else ">"), 43 in head[2:4]
    count, room = ("Q", 8) if wide else ("H", 2)
    struct.pack_into(order + count, kept, len(head) - room, len(entries))
    return bytes(kept)


_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0, b"moov": 0, b"trak": 0, b"mdia": 0}


def split_boxes(data, start=0, end=None, path=b""):
    """Boxes of an ISO container, those within others too: a piece is (kind, body), or (kind, head, pieces)."""
    pieces, at, end = [], start, len(data) if end is None else end
    while at + 8 <= end:
        length = int.from_bytes(data[at : at + 4], "big") or end - at
        kind = data[at + 4 : at + 8]
        inner = at + 8 + _CONTAINERS.get(kind, 0)
        if kind in _CONTAINERS:
            pieces.append((kind, data[at + 8 : inner], split_boxes(data, inner, at + length)))
        else:
            pieces.append((kind, data[at + 8 : at + length]))
        at += max(length, 8)
    return pieces


def join_boxes(pieces):
    out = []
    for kind, body, *inner in pieces:
        whole = body + (join_boxes(inner[0]) if inner else b"")
        out.append(struct.pack(">L", len(whole) + 8) + kind + whole)
    return b"".join(out)


FAMILIES = {
    "png": (split_png, join_png),
    "jpeg": (split_jpeg, join_jpeg),
    "webp": (split_riff, join_riff),
    "tiff": (split_tiff, join_tiff),
    "avif": (split_boxes, join_boxes),
    "heif": (split_boxes, join_boxes),
    "jp2": (split_boxes, join_boxes),
}

# Numbers in headers: (where, relative to a match of the pattern, and their struct format).
NUMBERS = {
    "png": [(rb"IHDR", 4, ">LLBBBBB"), (rb"acTL", 4, ">LL"), (rb"fcTL", 4, ">LLLLL"), (rb"PLTE", -4, ">L")],
    "jpeg": [
        (rb"\xff[\xc0-\xc2\xc9\xca]\0", 4, ">BHHBBBBBBB"),
        (rb"\xff\xda\0", 4, "BBBBBBBBBB"),
        (rb"\xff[\xc4\xdb\xcc\xdd]\0", 4, "BBBBBBBB"),
    ],
    "webp": [
        (rb"VP8X", 8, "<BBHHHHB"), (rb"VP8 ....", 8, "<HBBBBHH"), (rb"VP8L....", 8, "<BL"),
        (rb"ANMF....", 8, "<HBHBHBHBL"), (rb"ALPH", 4, "<LB"),
    ],
    "gif": [(rb"GIF89a", 6, "<HHBBB"), (rb",(?=.{8})", 1, "<HHHHBB"), (rb"!\xf9", 2, "<BBHB")],
    "bmp": [(rb"^BM", 2, "<LHHLLllHHLLllLL"), (rb"^BM", 54, "<LLLL")],
    "tga": [(rb"^", 0, "<BBBHHBHHHHBB")],
    "qoi": [(rb"^qoif", 4, ">LLBB")],
    "j2k": [(rb"\xff\x51", 2, ">HHLLLLLLLLHBBB"), (rb"\xff\x52", 2, ">HBBHBBBBBB"), (rb"\xff\x90", 2, ">HHLBB")],
    "ppm": [],
    "tiff": [(rb"^(?:II|MM)", 2, "<HL")],
    "avif": [(rb"av1C", 4, "BBBB"), (rb"stsz|stco|stsc", 4, ">LLLL"), (rb"tkhd", 80, ">LL")],
    "heif": [(rb"hvcC", 4, "BBBB"), (rb"idat", 4, "BBBBHH")],
}  # fmt: skip
for _family in ("avif", "heif"):
    NUMBERS[_family] += [
        (rb"ispe", 4, ">LLL"),
        (rb"pixi", 8, "BBBB"),
        (rb"iloc", 4, ">LBBHHHHL"),
        (rb"irot|imir", 4, "B"),
    ]
NUMBERS["jp2"] = [*NUMBERS["j2k"], (rb"ihdr", 4, ">LLHBBBB"), (rb"colr", 4, "BBBL")]


def number_places(family, data):
    """(offset, struct format) of each number in the headers of a file."""
    for pattern, shift, layout in NUMBERS[family]:
        order = layout[0] if layout[0] in "<>" else "<"
        for match in re.finditer(pattern, data, re.DOTALL):
            at = match.start() + shift
            for code in layout.lstrip("<>"):
                if at + struct.calcsize(order + code) <= len(data) and at >= 0:
                    yield at, order + code
                at += struct.calcsize(order + code)


def lie(rng, value, bits):
    """Another value for a number of so many bits: a limit, nothing, a near miss, or anything."""
    top = (1 << bits) - 1
    limits = (0, 1, top, top >> 1, (top >> 1) + 1)
    misses = (value + 1, value - 1, value * 2, value // 2)
    others = (300, 2000, 65_535, rng.getrandbits(bits), rng.getrandbits(bits // 2 + 1))
    return rng.choice(limits + misses + others) & top


def header_lies(rng, family, data):
    damaged = bytearray(data)
    places = list(number_places(family, data))
    if family == "tiff":
        order, start, end, size = tiff_directory(data)
        wide = "Q" if size == 20 else "L"
        for at in range(start, end, size):
            places += [(at + 2, order + "H"), (at + 4, order + wide)]
            places += [(at + 4 + struct.calcsize(order + wide), order + rng.choice(f"H{wide}"))] * 3
    if family == "ppm":
        return re.sub(rb"\d+", lambda m: b"%d" % rng.choice((lie(rng, int(m[0]), 32), int(m[0]))), data, count=3)
    for at, code in rng.sample(places, min(rng.randint(1, 3), len(places))):
        bits = 8 * struct.calcsize(code)
        unsigned = code[0] + code[1].upper()
        (value,) = struct.unpack_from(unsigned, damaged, at)
        struct.pack_into(unsigned, damaged, at, lie(rng, value, bits))
    damaged = bytes(damaged)
    return join_png(split_png(damaged)) if family == "png" else damaged


def shuffled(rng, family, data):
    """Pieces swapped, doubled, dropped, renamed or damaged; then put together with lengths and checksums set right."""
    split, join = FAMILIES[family]
    pieces = split(data)
    level = pieces
    while True:  # down to the boxes within boxes
        inner = [piece[2] for piece in level if len(piece) == 3 and isinstance(piece[2], list) and piece[2]]
        if not inner or rng.random() < 0.3:
            break
        level = rng.choice(inner)
    for _ in range(rng.randint(1, 3)):
        rearrange(rng, level)
    return join(pieces)


def rearrange(rng, pieces):
    movable = [i for i, piece in enumerate(pieces) if isinstance(piece, tuple)]
    if len(movable) < 2:
        return
    first, second = rng.sample(movable, 2)
    kind, body, *rest = pieces[first]
    action = rng.choice(("swap", "double", "drop", "rename", "damage", "damage", "stretch"))
    if action == "swap":
        pieces[first], pieces[second] = pieces[second], pieces[first]
    elif action == "double":
        pieces.insert(second, pieces[first])
    elif action == "drop":
        del pieces[first]
    elif action == "rename":
        pieces[first] = (pieces[second][0], body, *rest)
    elif action == "damage" and body:
        pieces[first] = (kind, flipped(rng, body), *rest)
    elif action == "stretch":
        size = rng.choice((0, 1, len(body) // 2, len(body) + 100, 70_000))
        pieces[first] = (kind, (body + bytes(size))[:size], *rest)


def flipped(rng, data):
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 50)):
        damaged[place(rng, len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def place(rng, length):
    """An offset; headers, which come first, are hit more often than their share."""
    return int(rng.random() ** rng.choice((1, 3)) * length)


def overwritten(rng, data):
    at, length = place(rng, len(data)), rng.choice((1, 2, 4, 16, 200))
    fill = rng.choice((b"\0" * length, b"\xff" * length, rng.randbytes(length)))
    return (data[:at] + fill + data[at + length :])[: len(data)]


def inserted(rng, data):
    at = place(rng, len(data))
    return data[:at] + rng.choice((rng.randbytes(rng.randint(1, 300)), data[: rng.randint(1, 100)], b"\0")) + data[at:]


def deleted(rng, data):
    at = place(rng, len(data))
    return data[:at] + data[at + rng.choice((1, 2, 3, 4, 16, 100)) :]


def cut(rng, data):
    return data[: place(rng, len(data))]


def hostile(index):
    """The file number `index`, from 0: (format: damage, bytes). The same everywhere with the same libraries."""
    rng = random.Random(SEED * 1_000_003 + index)
    names = sorted(seeds())
    name = names[index % len(names)]
    family, data = name.partition("-")[0], seeds()[name]
    blind = {"flips": flipped, "run": overwritten, "insertion": inserted, "deletion": deleted, "cut": cut}
    damage = rng.choice([*blind, *["lies", "pieces"] * 4, "joined", "magic"])
    if damage == "lies" or (damage == "pieces" and family not in FAMILIES):
        damaged = header_lies(rng, family, data)
    elif damage == "pieces":
        damaged = shuffled(rng, family, data)
    elif damage == "joined":
        other = seeds()[rng.choice(names)]
        damaged = rng.choice((data + other, data[: len(data) // 2] + other, other[: rng.randint(2, 40)] + data))
    elif damage == "magic":
        damaged = seeds()[rng.choice(names)][: rng.choice((4, 8, 12, 16))].ljust(4) + data[rng.choice((4, 8, 12, 16)) :]
    else:
        damaged = blind[damage](rng, data)
    if rng.random() < 0.15:
        damaged = flipped(rng, damaged) if damaged else damaged
    return f"{name}: {damage}", damaged
