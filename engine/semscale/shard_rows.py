"""Which rows of a store lie in which shard, and reading a few of them without the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semscale.files import sha256
from semscale.model import Array
from semscale.paths import checksums, name_of, reading
from semscale.search.record import Identity, ShardRows
from semscale.store import Store
from semscale.store_spec import spec_to_json


def identity(store: Store) -> Identity:
    """What the store holds, by the recorded checksums of its vectors. Raises StoreError where a shard is damaged."""
    spec = hashlib.sha256(spec_to_json(store.spec).encode()).hexdigest()
    found = (shard_identity(store, index) for index in store.readable)
    return Identity(spec, tuple(shard for shard in found if shard is not None))


def shard_identity(store: Store, index: int) -> ShardRows | None:
    """What one finished shard holds; None where it has no vectors."""
    rows = shard_vectors(store, index)
    return None if rows is None else ShardRows(index, len(rows), _digest(store, index))


def shard_vectors(store: Store, index: int) -> Array | None:
    """The (n, D) image embeddings of one shard, mapped; None where it has none. Raises StoreError."""
    file = store.path / name_of("img_emb", index)
    if not file.exists() and not (store.path / name_of("metadata", index)).exists():
        return None
    with reading(store.path, file):
        return np.load(file, mmap_mode="r", allow_pickle=False)


def find_row(store: Store, key: str) -> int | None:
    """The row number of the image of this key; None where there is none. Holds one shard's keys at a time."""
    start = 0
    for index in store.readable:
        keys = _metadata(store, index, ["key"])
        if keys is not None:
            place = pc.index(keys.column("key"), key).as_py()
            if place >= 0:
                return start + place
            start += len(keys)
    return None


def find_failure(store: Store, key: str) -> str | None:
    """Why the input of this key gave no vector; None where it did or there is none."""
    errors = store.errors(["key", "message"])
    place = pc.index(errors.column("key"), key).as_py()
    return errors.column("message")[place].as_py() if place >= 0 else None


def describe(store: Store, rows: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of the metadata of some rows, in the order asked for; reads the shards they lie in alone."""
    found: dict[int, dict[str, Any]] = {}
    for index, start, numbers in _by_shard(store, np.unique(np.asarray(rows, np.int64))):
        table = _metadata(store, index, columns)
        assert table is not None, "a shard with vectors and without metadata cannot be read"
        found.update(zip(numbers.tolist(), table.take(pa.array(numbers - start)).to_pylist(), strict=True))
    return [found[int(row)] for row in rows]


def _by_shard(store: Store, rows: Array) -> Iterator[tuple[int, int, Array]]:
    """Each shard that holds some of the rows, its first row number, and the numbers of those rows."""
    start = 0
    for index in store.readable:
        vectors = shard_vectors(store, index)
        stop = start + (0 if vectors is None else len(vectors))
        mine = rows[(rows >= start) & (rows < stop)]
        if len(mine):
            yield index, start, mine
        start = stop


def _metadata(store: Store, index: int, columns: Sequence[str]) -> pa.Table | None:
    file = store.path / name_of("metadata", index)
    if shard_vectors(store, index) is None:
        return None
    with reading(store.path, file):
        return pq.read_table(file, columns=list(columns))


def _digest(store: Store, index: int) -> str:
    name = name_of("img_emb", index)
    recorded = checksums(store.path, f"{index:05d}")
    if recorded.exists():
        with reading(store.path, store.path / name):
            lines = (line.partition("  ") for line in recorded.read_text(encoding="utf-8").splitlines())
            return {named: digest for digest, _, named in lines}[name]
    return sha256(store.path / name)  # a store that was begun without checksums
