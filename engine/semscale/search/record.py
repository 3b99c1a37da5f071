"""What is known of an index: `index/<kind>.json`, written after `index/<kind>.faiss`, which it names by its bytes.

A record says which shards of the store are in, so an index and its store cannot disagree unnoticed, whenever a build
ends. A record that is damaged, or not of the file beside it, is worth nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.errors import StoreError
from semscale.files import replace
from semscale.search.kinds import Shape

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ShardRows:
    """The vectors of one finished shard that has some."""

    shard: int
    rows: int
    sha256: str  # of its file of image embeddings


@dataclass(frozen=True, slots=True)
class Identity:
    """What a store holds: an index of another identity answers for another store."""

    spec: str  # SHA-256 of the store's specification
    shards: tuple[ShardRows, ...]  # ascending

    @property
    def rows(self) -> int:
        """N, the rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    def begins(self, other: Identity) -> bool:
        """Whether `other` holds all of this, unchanged and first, so that row numbers agree."""
        return self.spec == other.spec and self.shards == other.shards[: len(self.shards)]


@dataclass(frozen=True, slots=True)
class Record:
    """All about one index file."""

    shape: Shape
    store: Identity
    n_indexed: int  # rows that are in: the valid ones
    n_learned_for: int  # rows that were in when it learned its clusters
    recall: float  # share of the true 10 nearest that it finds; NaN where no row has a neighbour
    n_queries: int  # rows that was measured with
    seconds: float  # that the last change of the file took
    size: int  # bytes of the index file
    sha256: str  # of the index file


def write_record(path: Path, record: Record) -> None:
    """Write a record, whole or not at all. Raises StoreError."""
    values = {**dataclasses.asdict(record), "parameters": record.shape.parameters}
    values["recall"] = None if math.isnan(record.recall) else record.recall
    text = json.dumps({"format": FORMAT, "check": _check(values), "index": values}, indent=1)
    replace(path, (text + "\n").encode())


def read_record(path: Path) -> Record:
    """Read a record. Raises StoreError, which says what to do, where there is none or it was changed."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT or values["check"] != _check(values["index"]):
            raise ValueError("changed, or written by another version of semscale")
        return _record(values["index"])
    except FileNotFoundError as error:
        raise StoreError(f"{path}: there is no such index; `semscale index` makes it") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not the record of an index ({error}); run `semscale index` again") from error


def _record(values: dict[str, Any]) -> Record:
    store = values["store"]
    fields = {name: value for name, value in values.items() if name != "parameters"}
    fields["shape"] = Shape(**values["shape"])
    fields["store"] = Identity(store["spec"], tuple(ShardRows(**shard) for shard in store["shards"]))
    fields["recall"] = math.nan if values["recall"] is None else values["recall"]
    return Record(**fields)


def _check(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
