"""How large the pictures are that an AVIF's AV1 streams hold, whatever its boxes say.

The decoder allocates by the stream: 3 kB that call themselves 64 x 48 pixels took a gigabyte. Layouts are those of
ISO/IEC 14496-12 (boxes) and of the AV1 bitstream specification, 5.5 (sequence header).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

# Boxes that hold boxes, and the bytes before the first of them.
_CONTAINERS = {b"meta": 4, **dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0)}
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER = 1, 2


def coded_size(data: bytes) -> tuple[int, int]:
    """Width and height of the largest picture that a stream in an AVIF declares, (0, 0) where none is found.

    Raises struct.error or IndexError for boxes that end too soon.
    """
    sizes = (size for stream in _streams(data) for size in _sequence_sizes(stream))
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the content of each box, those within others too."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">L4s", data, start)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = min(start + length, end) if length else end
        yield kind, start + head, stop
        if kind in _CONTAINERS:
            yield from _boxes(data, start + head + _CONTAINERS[kind], stop)
        start = max(stop, start + head)


def _streams(data: bytes) -> Iterator[bytes]:
    """The bytes of every item, and of every chunk of a track up to the next; no more in all than the file has."""
    boxes = [box for box in _boxes(data, 0, len(data)) if box[0] in {b"iloc", b"idat", b"stco", b"co64"}]
    inline = next((start for kind, start, _ in boxes if kind == b"idat"), 0)
    chunks, room = {len(data)}, len(data)
    for kind, start, stop in boxes:
        if kind == b"iloc":
            for extents in _items(data[start:stop], inline):
                pieces = [data[at : at + length if length else None] for at, length in extents]
                room -= sum(map(len, pieces))
                if room < 0:
                    raise ValueError("items that lie one over the other")
                yield b"".join(pieces)
        elif kind in {b"stco", b"co64"}:
            table = data[start + 8 : stop]
            chunks.update(at for (at,) in struct.iter_unpack(">L" if kind == b"stco" else ">Q", table))
    yield from (data[at:end] for at, end in itertools.pairwise(sorted(chunks)))


def _items(iloc: bytes, inline: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the (start, length) of the extents of each item of an `iloc` box; `inline`: where `idat` begins."""
    version, sizes = iloc[0], struct.unpack_from(">H", iloc, 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if offset_size + length_size == 0:
        raise ValueError("extents of nothing, of which there could be any number")
    wide = 4 if version == 2 else 2
    at, count = 6 + wide, int.from_bytes(iloc[6 : 6 + wide], "big")

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(iloc):
            raise EOFError
        return int.from_bytes(iloc[at - size : at], "big")

    for _ in range(count):
        number(wide)
        start = inline if version > 0 and number(2) & 15 == 1 else 0
        number(2)
        start, extents = start + number(base_size), []
        for _ in range(number(2)):
            number(index_size if version > 0 else 0)
            extents.append((start + number(offset_size), number(length_size)))
        yield extents


def _sequence_sizes(stream: bytes) -> Iterator[tuple[int, int]]:
    """Yield width and height of each sequence header in a stream of OBUs; nothing where it is something else."""
    at = 0
    while at < len(stream):
        kind, extended, sized = stream[at] >> 3, stream[at] >> 2 & 1, stream[at] >> 1 & 1
        if not sized or (at == 0 and kind not in {_SEQUENCE_HEADER, _TEMPORAL_DELIMITER}):
            return
        at, length, shift, more = at + 1 + extended, 0, 0, 1
        while more and at < len(stream):
            length |= (stream[at] & 0x7F) << shift
            at, shift, more = at + 1, shift + 7, stream[at] >> 7
        if kind == _SEQUENCE_HEADER:
            yield _sequence_size(stream[at : at + min(length, 256)])
        at += length


class _Bits:
    """Reads numbers of some bits, the highest first; behind the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def __call__(self, count: int) -> int:
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & (1 << count) - 1


def _sequence_size(payload: bytes) -> tuple[int, int]:
    bits = _Bits(payload)
    bits(4)  # profile, still picture
    if bits(1):  # the reduced header of a still picture
        bits(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits(4) + 1, bits(4) + 1
    return bits(wide) + 1, bits(high) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay = 0  # bits of a decoder's delay; 0 where there is no model of the decoder
    if bits(1):  # timing
        bits(64)
        if bits(1):  # a number whose bits are told by the zeros before it
            zeros = next((count for count in range(32) if bits(1)), 32)
            bits(zeros if zeros < 32 else 0)
        if bits(1):
            delay = bits(5) + 1
            bits(42)
    displays = bits(1)
    for _ in range(bits(5) + 1):
        bits(12)
        if bits(5) > 7:
            bits(1)
        if delay and bits(1):
            bits(2 * delay + 1)
        if displays and bits(1):
            bits(4)
