"""Case `store`: embeddings to a store on disk and back.

Regime: shards of 4096 x 512 float32 with their metadata, flushed to disk as in a run; read from the page cache. Roofs:
the embeddings' bytes alone by plain calls, one file a shard, flushed once each; and read into memory that is there.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from semscale.model import Array, Shard
from semscale.store import ShardData, Store
from semscale.tables import METADATA
from semscale_bench.measure import Contestant, Timing, measure
from semscale_bench.plan import Plan
from semscale_bench.ratios import ratio_of
from semscale_bench.rows import Check, Outcome, Row
from semscale_bench.scores import DIM, write_store

CASE = "store"
SHARD, SHARDS = 4096, 4  # images of a shard, shards of a go
READ_BACK = 64  # rows of what a go has written
WRITE, PLAIN_WRITE = "write", "plain write and flush"
IN_ORDER, AT_RANDOM, PLAIN_READ = "read in order", "read at random", "plain read"
ROOFS = {WRITE: PLAIN_WRITE, IN_ORDER: PLAIN_READ, AT_RANDOM: PLAIN_READ}


def run(plan: Plan) -> Outcome:
    """Time a store and plain files, in turn."""
    with TemporaryDirectory() as work:
        contestants = Contestants(Path(work))
        timed = measure(contestants.all(), repeats=plan.repeats, seconds=plan.seconds)
        rows = {name: _row(name, timed, contestants.worst) for name in timed}
    share = {name: f"{row.roof_share:.0%}" for name, row in rows.items() if row.roof_share is not None}
    said = [
        f"a store is written at {share[WRITE]} of the rate of its embeddings alone: a shard's metadata, errors and "
        "checksums are files of their own, each hashed, and each flushed with its folder",
        f"embeddings are read in order at {share[IN_ORDER]} of the rate of a plain read, at random at "
        f"{share[AT_RANDOM]}",
    ]
    return Outcome(CASE, "embeddings in memory to flushed files; the page cache to memory", list(rows.values()), said)


def _row(name: str, timed: dict[str, Timing], worst: dict[str, float]) -> Row:
    data = f"{SHARDS} shards of {SHARD} x {DIM} float32"
    if name not in ROOFS:
        return Row(CASE, name, data, "embeddings", timed[name])
    check = Check("largest difference", worst[name], 0.0)
    share = ratio_of(timed[name], timed[ROOFS[name]]).median
    return Row(CASE, name, data, "embeddings", timed[name], check, roof=ROOFS[name], roof_share=share)


class Contestants:
    """A store and plain files of the same embeddings, written and read over and over."""

    def __init__(self, folder: Path) -> None:
        """Make the embeddings and the table of a shard; begin the store and write both once."""
        rng = np.random.default_rng(0)
        self.worst = dict.fromkeys(ROOFS, 0.0)
        self._vectors = rng.standard_normal((SHARDS * SHARD, DIM), np.float32)
        self._path, self._plain = folder / "store", [folder / f"{number}.bin" for number in range(SHARDS)]
        self._random = rng.permutation(len(self._vectors)).reshape(SHARDS, SHARD)
        self._goes = itertools.count(1)
        store = write_store(self._path, 0)
        keys = [f"{number // 20:06d}/{number % 20:02d}.png" for number in range(len(self._vectors))]
        store.append_plan([(keys, keys, [number // SHARD for number in range(len(keys))])])
        self._shards = [_shard(number, keys) for number in range(SHARDS)]
        self._write()
        self._write_plainly()

    def all(self) -> dict[str, Contestant]:
        """By the names of the rows."""
        return {WRITE: self._write, PLAIN_WRITE: self._write_plainly, IN_ORDER: self._read_in_order,
                AT_RANDOM: self._read_at_random, PLAIN_READ: self._read_plainly}  # fmt: skip

    def _write(self) -> int:
        self._vectors[:, 0] = next(self._goes)  # so that what is read back is of this go
        store = Store(self._path)
        for (shard, table), rows in zip(self._shards, self._each(), strict=True):
            store.write(ShardData(shard, rows, rows[:0], table, []))
        some = np.linspace(0, len(self._vectors) - 1, READ_BACK).astype(np.int64)
        self._compare(WRITE, Store(self._path).images.take(some), some)
        return len(self._vectors)

    def _write_plainly(self) -> int:
        for path, rows in zip(self._plain, self._each(), strict=True):
            with path.open("wb") as file:
                file.write(rows.data)
                file.flush()
                os.fsync(file.fileno())
        return len(self._vectors)

    def _read_in_order(self) -> int:
        return self._read(IN_ORDER, np.arange(len(self._vectors)).reshape(SHARDS, SHARD))

    def _read_at_random(self) -> int:
        return self._read(AT_RANDOM, self._random)

    def _read(self, name: str, blocks: Array) -> int:
        images = Store(self._path).images
        for wanted in blocks:
            found = images.take(wanted)
            self._compare(name, found[:: SHARD // READ_BACK], wanted[:: SHARD // READ_BACK])
        return blocks.size

    def _read_plainly(self) -> int:
        room = bytearray(SHARD * DIM * 4)
        for path in self._plain:
            with path.open("rb", buffering=0) as file:
                assert file.readinto(room) == len(room), f"{path.name}: not read in one call"
        return len(self._vectors)

    def _each(self) -> list[Array]:
        return np.split(self._vectors, SHARDS)

    def _compare(self, name: str, found: Array, rows: Array) -> None:
        difference = np.abs(found - self._vectors[rows]).max()
        self.worst[name] = float(np.maximum(self.worst[name], difference))  # NaN stays


def _shard(number: int, keys: list[str]) -> tuple[Shard, pa.Table]:
    start, stop = number * SHARD, (number + 1) * SHARD
    mine = keys[start:stop]
    columns = {name: [None] * len(mine) for name in METADATA.names}
    columns |= {"key": mine, "uri": mine, "group": [key[:6] for key in mine]}
    return Shard(number, start, stop), pa.table(columns, schema=METADATA)
