"""Sharded, resumable, memory-mapped embeddings of one encoder, on disk.

    store.json                          what made it: model, preprocessing, dtype, grouping; anything else is refused
    plan/part-00000.parquet             the listing, append-only: key, uri, shard
    img_emb/img_emb_00007.npy           (n_ok, D); absent when nothing in the shard gave a vector
    text_emb/text_emb_00007.npy         the shard's distinct texts; metadata column text_row points into it
    metadata/metadata_00007.parquet     row i describes vector i; absent when n_ok = 0
    errors/errors_00007.parquet         a row for every input that gave no vector; written last

A shard is finished when its errors file exists. At every moment vectors + errors = items of the finished shards.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale.errors import StoreError, StoreMismatchError
from semscale.files import replacing
from semscale.model import Array, Failure, ModelSpec, Shard

FORMAT = 1
KINDS = ("errors", "metadata", "img_emb", "text_emb")  # of files of a shard
PLAN = pa.schema([("key", pa.string()), ("uri", pa.string()), ("shard", pa.int32())])
METADATA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("image_path", pa.string()),
        ("caption", pa.string()),
        ("group", pa.string()),
        ("model", pa.string()),
        ("seed", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("text_row", pa.int32()),
        ("text_truncated", pa.bool_()),
        ("fingerprint", pa.string()),
    ]
)
ERRORS = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("group", pa.string()),
        ("caption", pa.string()),
        ("model", pa.string()),
        ("seed", pa.int64()),
        ("fingerprint", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """Everything that must stay the same for new shards to belong to the old ones."""

    source: str
    layout: str
    group_by: str  # "text" (where there is one, else the parent folder), "parent", or a metadata column
    decode: str  # "exact" or "fast"
    dtype: str  # of the vectors: "float32" or "float16"
    text_prefix: str  # put before every text; part of the CLIP score's preset
    backend: str  # what ran the encoder
    image: ModelSpec
    text: ModelSpec | None


@dataclass(frozen=True, slots=True)
class ShardData:
    """One finished shard in memory, on its way to disk."""

    shard: Shard
    vectors: Array  # (n_ok, D)
    texts: Array  # (distinct texts, D)
    metadata: pa.Table  # METADATA, n_ok rows
    failures: Sequence[Failure]


class Store:
    """A store opened for reading or appending. `create` begins one or checks that it is the same one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = _read_spec(path / "store.json")

    @classmethod
    def create(cls, path: Path, spec: StoreSpec) -> Store:
        """Begin a store, or reopen one that was begun with the same specification.

        Raises StoreMismatchError naming the first difference.
        """
        if not (path / "store.json").exists():
            with replacing(path / "store.json") as temporary:
                temporary.write_text(_spec_to_json(spec), encoding="utf-8")
        store = cls(path)
        _refuse_difference(store, spec)
        return store

    # -- the plan -------------------------------------------------------------------------------------------------

    def plan(self) -> pa.Table:
        """The whole listing: key, uri, shard, in plan order."""
        parts = sorted((self.path / "plan").glob("part-*.parquet"))
        return pa.concat_tables([pq.read_table(part, schema=PLAN) for part in parts] or [PLAN.empty_table()])

    def append_plan(self, keys: Sequence[str], uris: Sequence[str], shard: Sequence[int]) -> None:
        """Append items to the listing: their ids, where they lie, and the new shard each belongs to."""
        part = len(list((self.path / "plan").glob("part-*.parquet")))
        with replacing(self.path / "plan" / f"part-{part:05d}.parquet") as temporary:
            pq.write_table(pa.table([list(keys), list(uris), list(shard)], schema=PLAN), temporary)

    # -- shards ---------------------------------------------------------------------------------------------------

    def finished(self) -> list[int]:
        """Indices of the finished shards, ascending."""
        return sorted(int(path.stem.rpartition("_")[2]) for path in (self.path / "errors").glob("errors_*.parquet"))

    def write(self, data: ShardData) -> None:
        """Write one shard; it counts as finished once its errors file, the last one, is in place."""
        accounted = len(data.vectors) + len(data.failures)
        assert accounted == data.shard.count, f"shard {data.shard.index}: {accounted} rows for {data.shard.count} items"
        assert len(data.metadata) == len(data.vectors)
        self.discard(data.shard.index)  # what a run that died here, with other inputs, may have left
        if len(data.vectors):
            self._write_array("img_emb", data.shard.index, data.vectors)
            with replacing(self._file("metadata", data.shard.index)) as temporary:
                pq.write_table(data.metadata, temporary)
        if len(data.texts):
            self._write_array("text_emb", data.shard.index, data.texts)
        with replacing(self._file("errors", data.shard.index)) as temporary:
            pq.write_table(_errors_table(data.failures), temporary)

    def discard(self, index: int) -> None:
        """Forget a shard; its errors file goes first, so that it counts as unfinished from then on."""
        for kind in KINDS:
            self._file(kind, index).unlink(missing_ok=True)

    def fingerprints(self, index: int) -> dict[str, str]:
        """Key -> fingerprint of every item of a finished shard."""
        found: dict[str, str] = {}
        for kind in ("metadata", "errors"):
            if self._file(kind, index).exists():
                table = pq.read_table(self._file(kind, index), columns=["key", "fingerprint"])
                found.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
        return found

    def _write_array(self, kind: str, index: int, rows: Array) -> None:
        with replacing(self._file(kind, index)) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(rows, dtype=self.spec.dtype), allow_pickle=False)

    def _file(self, kind: str, index: int) -> Path:
        suffix = "npy" if kind.endswith("_emb") else "parquet"
        return self.path / kind / f"{kind}_{index:05d}.{suffix}"

    # -- reading --------------------------------------------------------------------------------------------------

    def metadata(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of all finished shards, in plan order; row i describes row i of `images`."""
        return self._table("metadata", METADATA, columns)

    def errors(self, columns: Sequence[str] | None = None) -> pa.Table:
        """A row for every input of the finished shards that gave no vector."""
        return self._table("errors", ERRORS, columns)

    def _table(self, kind: str, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
        files = [self._file(kind, index) for index in self.finished()]
        wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        tables = [pq.read_table(file, columns=wanted.names) for file in files if file.exists()]
        return pa.concat_tables([table.cast(wanted) for table in tables] or [wanted.empty_table()])

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
        for index in self.finished():
            if self._file("metadata", index).exists():
                column = pq.read_table(self._file("metadata", index), columns=["text_row"]).column(0)
                rows = column.fill_null(-1).to_numpy().astype(np.int64)
                found.append(np.where(rows >= 0, rows + start, -1))
            if self._file("text_emb", index).exists():
                start += len(np.load(self._file("text_emb", index), mmap_mode="r"))
        return np.concatenate([*found, np.empty(0, np.int64)])

    def _rows(self, kind: str, dim: int) -> Rows:
        files = [self._file(kind, index) for index in self.finished()]
        return Rows([np.load(file, mmap_mode="r", allow_pickle=False) for file in files if file.exists()], dim)


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


def _errors_table(failures: Sequence[Failure]) -> pa.Table:
    rows = [[getattr(f, "text" if name == "caption" else name) for f in failures] for name in ERRORS.names]
    return pa.table(rows, schema=ERRORS)


def _spec_to_json(spec: StoreSpec) -> str:
    values: dict[str, Any] = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    values["image"] = json.loads(spec.image.to_json())
    values["text"] = None if spec.text is None else json.loads(spec.text.to_json())
    return json.dumps({"format": FORMAT, **values}, indent=2) + "\n"


def _read_spec(path: Path) -> StoreSpec:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise StoreError(f"{path}: written by another version of semscale; embed again into a new folder")
        for tower in ("image", "text"):
            if values[tower] is not None:
                values[tower] = ModelSpec.from_json(json.dumps(values[tower]), where=str(path))
        return StoreSpec(**values)
    except FileNotFoundError as error:
        raise StoreError(f"{path.parent}: not a store (no store.json)") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: not a store specification ({error!r})") from error


def _refuse_difference(store: Store, wanted: StoreSpec) -> None:
    for field in dataclasses.fields(StoreSpec):
        old, new = getattr(store.spec, field.name), getattr(wanted, field.name)
        if old != new:
            old, new = (
                f"{x.name} ({x.sha256[:12]}, {x.precision})" if isinstance(x, ModelSpec) else x for x in (old, new)
            )
            raise StoreMismatchError(
                f"{store.path}: begun with {field.name} {old!r}, asked for {new!r}; "
                f"choose another output folder, or the same settings"
            )
