"""Sharded, resumable, memory-mapped embeddings of one encoder, on disk.

    store.json                          what made it: model, preprocessing, dtype, grouping; anything else is refused
    plan/part-00000.parquet             the listing, append-only: key, uri, shard
    img_emb/img_emb_00007.npy           (n_ok, D); absent when nothing in the shard gave a vector
    text_emb/text_emb_00007.npy         the shard's distinct texts; metadata column text_row points into it
    metadata/metadata_00007.parquet     row i describes vector i; absent when n_ok = 0
    errors/errors_00007.parquet         a row for every input that gave no vector; written last
    checksums/00007.sha256              of those files; also plan-00000.sha256 and store.sha256 (see paths); it is
                                        00007.changed while the shard waits to be embedded again

A shard is finished when its errors file exists. At every moment vectors + errors = items of the finished shards.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale import paths
from semscale.errors import StoreError
from semscale.files import discard, open_new, replace, replacing, sha256
from semscale.model import Array, Failure, Shard
from semscale.paths import checksum_line, checksums, name_of, reading
from semscale.store_spec import StoreSpec, read_spec, refuse_difference, spec_to_json
from semscale.tables import ERRORS, METADATA, PLAN

PLAN_ROWS = 8192  # of the plan that are in memory at once


@dataclass(frozen=True, slots=True)
class ShardData:
    """One finished shard in memory, on its way to disk."""

    shard: Shard
    vectors: Array  # (n_ok, D)
    texts: Array  # (distinct texts, D)
    metadata: pa.Table  # METADATA, n_ok rows
    failures: Sequence[Failure]


class Store:
    """A store opened for reading or appending. `create` begins one or checks that it is the same one.

    What is read are the shards that were finished at the first read; open the store again to see later ones.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = read_spec(path / "store.json")

    @classmethod
    def create(cls, path: Path, spec: StoreSpec) -> Store:
        """Begin a store, or reopen one that was begun with the same specification.

        Needs the exclusive lock of `path`, or its planning lock. Raises StoreMismatchError naming the differences.
        """
        if not (path / "store.json").exists():
            text = spec_to_json(spec).encode()
            replace(checksums(path, "store"), checksum_line("store.json", _digest(text)))
            replace(path / "store.json", text)
        store = cls(path)
        refuse_difference(store.spec, spec, path)
        store._check_plan()
        return store

    def _check_plan(self) -> None:
        """Tidy up after an extension of the plan that was cut off; refuse to go on where part of the plan is lost."""
        known = {_checksums_of_plan(self.path, part) for part in paths.plan_parts(self.path)}
        for file in set(self.path.glob("checksums/plan-*.sha256")) - known:
            discard(file)
        lost = [shard for shard in self.finished()[-1:] if shard >= self.n_shards]
        if lost:
            raise StoreError(
                f"{self.path}: shard {lost[0]} is finished but not in the plan, of which a part is lost; "
                f"embed again into a new folder"
            )

    # -- the plan -------------------------------------------------------------------------------------------------

    def plan(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole listing: key, uri, shard (or only some of them), in plan order."""
        wanted = _columns(PLAN, columns)
        return pa.concat_tables([*self.plan_blocks(columns), wanted.empty_table()])

    def plan_blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The listing in plan order, at most PLAN_ROWS items at a time."""
        wanted = _columns(PLAN, columns)
        for part in paths.plan_parts(self.path).values():
            with reading(self.path, part), pq.ParquetFile(part) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns=wanted.names).select(wanted.names).cast(wanted)

    @property
    def n_planned(self) -> int:
        """Items in the listing; reads the plan's footers alone."""
        total = 0
        for part in paths.plan_parts(self.path).values():
            with reading(self.path, part):
                total += pq.read_metadata(part).num_rows
        return total

    @property
    def n_shards(self) -> int:
        """Shards in the listing; reads the end of the plan alone."""
        for part in list(paths.plan_parts(self.path).values())[-1:]:
            with reading(self.path, part), pq.ParquetFile(part) as file:
                return file.read_row_group(file.num_row_groups - 1, columns=["shard"]).column(0)[-1].as_py() + 1
        return 0

    def plan_digest(self) -> str:
        """A digest of the listing: stores where it is the same hold the same items in the same shards."""
        digest = hashlib.sha256()
        for part, file in paths.plan_parts(self.path).items():
            recorded = _checksums_of_plan(self.path, part)
            digest.update(recorded.read_bytes() if recorded.exists() else checksum_line(file.name, sha256(file)))
        return digest.hexdigest()

    def append_plan(self, blocks: Iterable[tuple[Sequence[str], Sequence[str], Sequence[int]]]) -> None:
        """Append items to the listing, in blocks of keys, uris and the new shard each item belongs to.

        Holds one block at a time. The items count as planned when the last block is written, or not at all.
        """
        tables = (pa.table([list(column) for column in block], schema=PLAN) for block in blocks if len(block[0]))
        first = next(tables, None)
        if first is None:
            return
        part = max(paths.plan_parts(self.path), default=-1) + 1
        name = f"plan/part-{part:05d}.parquet"
        with replacing(self.path / name) as temporary:
            with open_new(temporary) as file, pq.ParquetWriter(file, PLAN) as writer:
                for table in itertools.chain([first], tables):
                    writer.write_table(table, row_group_size=PLAN_ROWS)
            replace(_checksums_of_plan(self.path, part), checksum_line(name, sha256(temporary)))

    # -- shards ---------------------------------------------------------------------------------------------------

    def finished(self) -> list[int]:
        """Indices of the finished shards, ascending."""
        return paths.finished(self.path)

    def write(self, data: ShardData) -> None:
        """Write one shard; it counts as finished once its errors file, the last one, is in place.

        Raises StoreError when that fails; the shard is then not finished, and all others are as they were.
        """
        index = data.shard.index
        accounted = len(data.vectors) + len(data.failures)
        assert accounted == data.shard.count, f"shard {index}: {accounted} rows for {data.shard.count} items"
        assert len(data.metadata) == len(data.vectors)
        files = self._files(data)
        lines = [checksum_line(name_of(kind, index), _digest(content)) for kind, content in files.items()]
        self.discard(index)  # what a run that died here, with other inputs, may have left
        last = files.pop("errors")
        for kind, content in files.items():
            replace(self._file(kind, index), content)
        replace(checksums(self.path, f"{index:05d}"), b"".join(lines))
        replace(self._file("errors", index), last)

    def discard(self, index: int) -> None:
        """Forget a shard; its errors file goes first, so that it counts as unfinished from then on."""
        paths.discard_shard(self.path, index)

    def set_aside(self, index: int) -> None:
        """Make a shard unfinished whose inputs changed, and keep its files until it is written again (see `reuse`)."""
        paths.set_shard_aside(self.path, index)

    def fingerprints(self, index: int) -> dict[str, str]:
        """Key -> fingerprint of every item of a finished shard."""
        found: dict[str, str] = {}
        for kind, schema in (("metadata", METADATA), ("errors", ERRORS)):
            if self._file(kind, index).exists():
                table = self._read(self._file(kind, index), _columns(schema, ["key", "fingerprint"]))
                found.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
        return found

    def _files(self, data: ShardData) -> dict[str, bytes]:
        """The bytes of each kind of file that a shard has."""
        files = {}
        if len(data.vectors):
            files["img_emb"] = self._npy(data.vectors)
            files["metadata"] = _parquet(data.metadata)
        if len(data.texts):
            files["text_emb"] = self._npy(data.texts)
        files["errors"] = _parquet(_errors_table(data.failures))
        return files

    def _npy(self, rows: Array) -> bytes:
        out = io.BytesIO()
        np.save(out, np.ascontiguousarray(rows, dtype=self.spec.dtype), allow_pickle=False)
        return out.getvalue()

    def _file(self, kind: str, index: int) -> Path:
        return self.path / name_of(kind, index)

    # -- reading --------------------------------------------------------------------------------------------------

    @cached_property
    def readable(self) -> list[int]:
        """The shards that were finished at the first read: tables and arrays agree while other processes write."""
        return self.finished()

    def metadata(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of all finished shards, in plan order; row i describes row i of `images`."""
        return self._table("metadata", METADATA, columns)

    def errors(self, columns: Sequence[str] | None = None) -> pa.Table:
        """A row for every input of the finished shards that gave no vector."""
        return self._table("errors", ERRORS, columns)

    @cached_property
    def images(self) -> Rows:
        """Image embeddings of the finished shards as one virtual (N, D) array."""
        return self._rows("img_emb", self.spec.image.dim)

    @cached_property
    def texts(self) -> Rows:
        """Text embeddings of the finished shards as one virtual array; see `text_rows`."""
        return self._rows("text_emb", self.spec.image.dim)

    def text_rows(self) -> Array:
        """(N,) int64: for each image the row of its text in `texts`, or -1 where it has none."""
        found: list[Array] = []
        start = 0
        for index in self.readable:
            if self._file("metadata", index).exists():
                column = self._read(self._file("metadata", index), _columns(METADATA, ["text_row"])).column(0)
                rows = column.fill_null(-1).to_numpy().astype(np.int64)
                found.append(np.where(rows >= 0, rows + start, -1))
            if self._file("text_emb", index).exists():
                start += len(self._mapped(self._file("text_emb", index)))
        return np.concatenate([*found, np.empty(0, np.int64)])

    def _table(self, kind: str, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
        wanted = _columns(schema, columns)
        tables = [self._read(file, wanted) for file in self._present(kind)]
        return pa.concat_tables([*tables, wanted.empty_table()])

    def _rows(self, kind: str, dim: int) -> Rows:
        return Rows([self._mapped(file) for file in self._present(kind)], dim)

    def _present(self, kind: str) -> list[Path]:
        """The files of one kind. Raises StoreError where a shard has vectors without metadata or the reverse."""
        twin = {"img_emb": "metadata", "metadata": "img_emb"}.get(kind, kind)
        found = []
        for index in self.readable:
            file = self._file(kind, index)
            if file.exists() or self._file(twin, index).exists():
                with reading(self.path, file):
                    file.stat()
                found.append(file)
        return found

    def _read(self, file: Path, wanted: pa.Schema) -> pa.Table:
        with reading(self.path, file):
            return pq.read_table(file, columns=wanted.names).cast(wanted)

    def _mapped(self, file: Path) -> Array:
        with reading(self.path, file):
            return np.load(file, mmap_mode="r", allow_pickle=False)


class Rows:
    """Memory-mapped arrays of D columns, read as if they were one."""

    def __init__(self, parts: Sequence[Array], dim: int) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), dim)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Array) -> Array:
        """(k,) row numbers -> (k, D) float32, in the order asked for."""
        rows = np.asarray(rows, np.int64)
        out = np.empty((len(rows), self.shape[1]), np.float32)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for part in np.unique(owner):
            mine = owner == part
            out[mine] = self._parts[part][rows[mine] - self._starts[part]]
        return out


def open_store(path: str | Path) -> Store:
    """Open an existing store for reading. Raises StoreError where there is none."""
    return Store(Path(path))


def _columns(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def _checksums_of_plan(path: Path, part: int) -> Path:
    return checksums(path, f"plan-{part:05d}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parquet(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return out.getvalue().to_pybytes()


def _errors_table(failures: Sequence[Failure]) -> pa.Table:
    rows = [[getattr(f, "text" if name == "caption" else name) for f in failures] for name in ERRORS.names]
    return pa.table(rows, schema=ERRORS)
