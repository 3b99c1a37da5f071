"""An index that grows with its store: each shard is added as soon as it is written.

Whoever writes the store holds its lock, makes a Stream, calls `add_shard` after each finished shard and `finish` in the
end. The index is saved now and then; what a killed run had not saved is added from the store by the next one, because
the record of the index says which shards are in. Kinds that learn from the vectors are built in the end, unless there
is an index already that only has to grow.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import numpy as np

from semscale.errors import StoreError
from semscale.indexing import (
    Indexed,
    Say,
    check_kind,
    checked_record,
    index_file,
    may_grow,
    memory,
    outgrown,
    record_file,
    save,
    up_to_date,
)
from semscale.search import faiss_library
from semscale.search.index import Index, add_rows
from semscale.search.kinds import TRAINED, choose, shape_of
from semscale.search.record import Identity, Record
from semscale.search.vectors import ArrayVectors
from semscale.shard_rows import identity, shard_identity, shard_vectors
from semscale.store import Store, open_store

SAVED_FROM = 65_536  # rows; then whenever they have doubled, so that saving costs at most twice the last save


def check(kind: str) -> None:
    """Raise UsageError where `kind` is neither "auto" nor one of KINDS, and MissingDependencyError without FAISS."""
    check_kind(kind)
    faiss_library.library(f"an index of kind {kind}")


class Stream:
    """The index of one of KINDS, or "auto", of the store at `path`, which is about to receive shards.

    `planned` is the number of items that the store will hold, by which "auto" chooses. Raises UsageError for an unknown
    kind, MissingDependencyError without FAISS, and StoreError where the store cannot be read.
    """

    def __init__(self, path: Path, kind: str, *, planned: int, say: Say = lambda _: None) -> None:
        check(kind)
        store = open_store(path)
        dim = store.spec.image.dim
        self.kind = choose(planned, dim, memory=memory()) if kind == "auto" else kind
        self._path, self._say, self._started = path, say, time.perf_counter()
        shape = shape_of(self.kind, planned, dim)  # refuses what cannot be built in the end
        record = self._record_to_grow(store, planned)
        self._action = "extended" if record else "built"
        self._in = Identity(identity(store).spec, record.store.shards if record else ())
        self._saved = self._in.rows
        self._learned_for = record.n_learned_for if record else 0
        self._index: Index | None = None  # None: built in the end
        if record is not None:
            self._index = Index.read(index_file(path, self.kind), record.shape)
        elif self.kind not in TRAINED:
            self._index = Index.trained(shape, np.empty((0, dim), np.float32))
        # Finished and not in: they wait for those before them, which may be about to be written again.
        self._waiting = deque(index for index in store.readable if index > self._last)

    def add_shard(self, index: int) -> None:
        """Add the shard of this number, which has just been finished, after the finished ones before it."""
        store = open_store(self._path)
        while self._waiting and self._waiting[0] < index:
            self._add(store, self._waiting.popleft())
        self._add(store, index)
        if self._in.rows >= max(SAVED_FROM, 2 * self._saved) and self._holds_the_store():
            self._save()

    def finish(self) -> Indexed:
        """Save an index of everything that the store holds, its recall measured; build it where it could not grow."""
        store = open_store(self._path)
        while self._waiting:
            self._add(store, self._waiting.popleft())
        fits = not outgrown(self.kind, self._in.rows, self._learned_for)  # it may not where more came than was planned
        if fits and self._in.rows > self._saved and self._holds_the_store():
            return Indexed(self._action, self._save())
        return up_to_date(store, self.kind, self._say) if len(store.images) else Indexed("none", None)

    @property
    def _last(self) -> int:
        return self._in.shards[-1].shard if self._in.shards else -1

    def _holds_the_store(self) -> bool:
        """Whether all that the store holds now is in: a shard may have gone since it came, or failed to be added."""
        return self._index is not None and identity(open_store(self._path)) == self._in

    def _record_to_grow(self, store: Store, planned: int) -> Record | None:
        """The record of an index that takes all that is planned; None where one is made from nothing."""
        now = identity(store)
        try:
            record = checked_record(store, self.kind, now) if record_file(store.path, self.kind).exists() else None
        except StoreError as error:
            self._say(f"built again: {error}")
            return None
        if record is None or not may_grow(record, now) or outgrown(self.kind, planned, record.n_learned_for):
            return None
        return record

    def _add(self, store: Store, index: int) -> None:
        shard, rows = shard_identity(store, index), shard_vectors(store, index)
        if shard is None or rows is None or self._index is None:
            return
        if index <= self._last:
            if shard not in self._in.shards:  # written again, or out of turn: the numbers of later rows have changed
                self._index = None
            return
        add_rows(self._index, ArrayVectors(rows), range(len(rows)), first=self._in.rows)
        self._in = Identity(self._in.spec, (*self._in.shards, shard))

    def _save(self) -> Record:
        assert self._index is not None
        store = open_store(self._path)
        learned_for = self._learned_for or len(self._index)
        record = save(store, self._index, self._in, learned_for=learned_for, started=self._started)
        self._saved = self._in.rows
        return record
