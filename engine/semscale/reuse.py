"""Embeddings of earlier runs, taken instead of made again: a store is a cache of what it holds.

The embedding of an image follows from the bytes of its file, the encoder with what runs it, and how the file is decoded
and resized. So a row of a store whose Identity is the same answers for every file with the SHA-256 that its metadata
has, whatever the file is called and wherever it lies; vectors are the same up to the rounding of an encoder that was
given another batch. Nothing is written for this, nothing held but 32 bytes an image, and no row is used of a shard
whose files do not have the checksums that were recorded when it was written.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shlex
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale.errors import StoreMismatchError
from semscale.model import Array, ModelSpec
from semscale.paths import DAMAGE, checksums, listed, name_of, set_aside, set_aside_checksums
from semscale.store import Store
from semscale.store_spec import StoreSpec, n_differences, told_differences
from semscale.verify import stores_in

_ROW = np.dtype([("low", "u8"), ("width", "i4"), ("height", "i4"), ("shard", "i4"), ("row", "i4")])


@dataclass(frozen=True, slots=True)
class Identity:
    """What an embedding depends on beside the bytes of the image, in the names of `store.json`."""

    image: ModelSpec  # weights, graph, precision and preprocessing; without its note
    backend: str
    decode: str
    dtype: str


def identity(image: ModelSpec, backend: str, decode: str, dtype: str) -> Identity:
    """The identity of embeddings; a note, which only reports show, is no part of it."""
    return Identity(replace(image, note=""), backend, decode, dtype)


def identity_of(spec: StoreSpec) -> Identity:
    """The identity of the embeddings of a store."""
    return identity(spec.image, spec.backend, spec.decode, spec.dtype)


def stores_of(path: str | Path) -> list[Store]:
    """The store at `path`, or those in the results of `semscale score`, their reference's too. Raises StoreError."""
    reference = Path(path) / "reference"
    real = stores_in(reference) if any(reference.glob("stores/*/store.json")) else []
    return [Store(root) for root in [*stores_in(path), *real]]


def check(paths: Iterable[str], wanted: Sequence[Identity]) -> None:
    """Raise StoreMismatchError, naming what differs, for a path where no store has one of these identities."""
    for path in paths:
        found = [identity_of(store.spec) for store in stores_of(path)]
        if not set(found) & set(wanted):
            closest = min(itertools.product(found, wanted), key=lambda pair: n_differences(*pair))
            raise StoreMismatchError(
                f"{path}: nothing in it can be reused, as it was made with {told_differences(*closest)}; give "
                "embeddings by the same encoder and settings, or leave it out"
            )


class Row(NamedTuple):
    """What a store has of an image."""

    vector: Array  # (D,)
    width: int  # of the upright image
    height: int


@dataclass(frozen=True, slots=True)
class _Shard:
    """Where some rows lie, and the checksum that their file must have."""

    store: Path
    vectors: Path
    sha256: str
    count: int


class Known:
    """Rows by the SHA-256 of their images, from stores of one identity. Many threads may ask at once.

    The tables of the stores are read when it is asked for the first time.
    """

    def __init__(self, stores: Sequence[Store], *, changed: bool = False) -> None:
        """Of the finished shards, or with `changed` of those that were set aside, to be embedded again."""
        self._stores, self._changed = stores, changed
        self._lock = threading.Lock()
        self._table: tuple[Array, Array, list[_Shard]] | None = None
        self._files: dict[int, _Rows | None] = {}
        self._damaged: list[Path] = []

    def find(self, sha256: str) -> Row | None:
        """The row of an image whose file has this SHA-256 (hexadecimal); None where there is none that is sound."""
        high, rows, shards = self._opened()
        wanted, low = np.uint64(int(sha256[:16], 16)), int(sha256[16:32], 16)
        for place in range(int(np.searchsorted(high, wanted)), len(high)):
            if high[place] != wanted:
                break
            other, width, height, shard, row = rows[place].item()
            vector = self._vector(shards, shard, row) if other == low else None
            if vector is not None:
                return Row(vector, width, height)
        return None

    def problems(self) -> list[str]:
        """A line for each store of which shards were not used, as they are not what was once written.

        None for shards that were set aside: those are written anew meanwhile.
        """
        damaged = {} if self._changed else Counter(self._damaged)
        return [
            f"{store}: not reused, as damaged or without checksums: {count} of its shards; `semscale verify "
            f"{shlex.quote(str(store))}` says more"
            for store, count in damaged.items()
        ]

    def _opened(self) -> tuple[Array, Array, list[_Shard]]:
        if self._table is None:
            with self._lock:
                if self._table is None:
                    self._table = self._read()
        return self._table

    def _read(self) -> tuple[Array, Array, list[_Shard]]:
        """All digests in order, what belongs to each, and the shards."""
        shards: list[_Shard] = []
        digests, found = [np.empty(0, np.uint64)], [np.empty(0, _ROW)]
        for store, index, file in self._listed():
            try:
                read = _shard_rows(store, index, listed(file))
            except DAMAGE:
                self._damaged.append(store.path)
                continue
            if read is not None:
                read[2]["shard"] = len(shards)
                shards.append(read[0])
                digests.append(read[1])
                found.append(read[2])
        high, rows = np.concatenate(digests), np.concatenate(found)
        order = np.argsort(high, kind="stable")  # of several rows the first store's is taken
        return high[order], rows[order], shards

    def _listed(self) -> Iterator[tuple[Store, int, Path]]:
        """Each shard of each store, and the file of its checksums."""
        for store in self._stores:
            if self._changed:
                yield from ((store, index, set_aside_checksums(store.path, index)) for index in set_aside(store.path))
            else:
                yield from ((store, index, checksums(store.path, f"{index:05d}")) for index in store.finished())

    def _vector(self, shards: Sequence[_Shard], number: int, row: int) -> Array | None:
        """One vector; None where its file is not the one that was once written."""
        with self._lock:
            if number not in self._files:
                self._files[number] = self._checked(shards[number])
        file = self._files[number]
        return None if file is None else file.read(row)

    def _checked(self, shard: _Shard) -> _Rows | None:
        spec = self._stores[0].spec
        try:
            return _Rows(shard, (shard.count, spec.image.dim), np.dtype(spec.dtype))
        except DAMAGE:
            self._damaged.append(shard.store)
            return None


def _shard_rows(store: Store, index: int, recorded: dict[str, str]) -> tuple[_Shard, Array, Array] | None:
    """A shard, the first 8 bytes of the digests of its images, (n,), and the rest that is known of each; None where it
    has no vectors. Raises one of DAMAGE for a file that is not what was written.
    """
    vectors, metadata = name_of("img_emb", index), name_of("metadata", index)
    if vectors not in recorded:
        return None
    data = (store.path / metadata).read_bytes()
    if hashlib.sha256(data).hexdigest() != recorded[metadata]:
        raise ValueError(f"{metadata}: its bytes do not have the checksum that was recorded")
    table = pq.read_table(pa.BufferReader(data), columns=["sha256", "width", "height"])
    digests = np.frombuffer(bytes.fromhex("".join(table.column("sha256").to_pylist())), ">u8").reshape(-1, 4)
    rows = np.zeros(len(table), _ROW)
    rows["low"], rows["row"] = digests[:, 1], np.arange(len(table))
    rows["width"], rows["height"] = table.column("width").to_numpy(), table.column("height").to_numpy()
    shard = _Shard(store.path, store.path / vectors, recorded[vectors], len(table))
    return shard, digests[:, 0].astype(np.uint64), rows


class _Rows:
    """Rows of a file of vectors that is the one which was once written. It is opened for each: millions of images may
    lie in more files than a process can hold open.
    """

    def __init__(self, shard: _Shard, shape: tuple[int, int], dtype: np.dtype) -> None:
        """Raises one of DAMAGE where the file is another."""
        self._path, self._dtype, self._width = shard.vectors, dtype, shape[1] * dtype.itemsize
        with self._path.open("rb") as file:
            self._signature = _signature(file)
            content = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            found = np.lib.format.read_magic(file), *np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
        if content != shard.sha256 or found != ((1, 0), shape, False, dtype):
            raise ValueError(f"{self._path}: not the vectors that were written")

    def read(self, row: int) -> Array | None:
        """(D,) of one row; None where another file took the place of this one."""
        try:
            with self._path.open("rb") as file:
                if _signature(file) != self._signature:
                    return None
                file.seek(self._start + row * self._width)
                return np.frombuffer(file.read(self._width), self._dtype)
        except OSError:  # it was removed meanwhile: its image is embedded
            return None


def _signature(file: BinaryIO | io.BufferedReader) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns
