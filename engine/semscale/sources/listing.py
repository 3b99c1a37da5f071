"""Millions of names in little memory."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

import pyarrow as pa

BLOCK = 8192  # names that whoever goes through a listing holds as Python objects at a time
PACKED = 1024  # names compressed together: enough to share their beginnings, few enough to unpack for one of them
OPEN_BLOCKS = 64  # unpacked blocks that are kept


class Names:
    """An immutable list of file names as bytes, compressed: a few bytes each where they resemble their neighbours."""

    def __init__(self, names: Iterable[bytes]) -> None:
        self._blocks: list[tuple[bytes, int]] = []
        self._count = 0
        rest = iter(names)
        while block := list(islice(rest, PACKED)):
            packed = b"\0".join(block)  # no file name holds a NUL
            self._blocks.append((pa.compress(packed, codec="zstd", asbytes=True), len(packed)))
            self._count += len(block)
        self._unpacked = lru_cache(OPEN_BLOCKS)(self._unpack)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> bytes:
        block, place = divmod(index, PACKED)
        return self._unpacked(block)[place]

    def slice(self, start: int, stop: int) -> list[bytes]:
        """Some names in a row."""
        stop = min(stop, self._count)
        if start >= stop:
            return []
        first = start // PACKED
        found = [name for block in range(first, (stop - 1) // PACKED + 1) for name in self._unpacked(block)]
        return found[start - first * PACKED : stop - first * PACKED]

    def _unpack(self, block: int) -> list[bytes]:
        packed, size = self._blocks[block]
        unpacked: bytes = pa.decompress(packed, decompressed_size=size, codec="zstd", asbytes=True)
        return unpacked.split(b"\0")
