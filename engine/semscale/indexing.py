"""The indexes of a store: built, extended by new shards, checked against the store whenever one is opened.

    STORE/index/<kind>.faiss    the index in CPU form
    STORE/index/<kind>.json     its record, written last: shards, parameters, measured recall, hash of the index file

Whatever does not match its record, or the store, is refused by `open_index` and made again by `index_store`.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semscale.errors import StoreError, UsageError
from semscale.files import replacing, sha256
from semscale.locks import exclusive
from semscale.search import faiss_library
from semscale.search.index import Index, add_rows, measure_rates, survey, training_sample
from semscale.search.kinds import EXTENDED, KINDS, STALE_LISTS, TRAINED, choose, seconds, shape_of
from semscale.search.recall import QUERIES, RECALL_K, held_out, tuned_recall
from semscale.search.record import Identity, Record, read_record, write_record
from semscale.shard_rows import identity
from semscale.store import Store, open_store

FOLDER = "index"
MEMINFO = Path("/proc/meminfo")  # Linux
CGROUP = Path("/sys/fs/cgroup")
UNKNOWN_MEMORY = 4 << 30  # bytes taken to be there where the system does not say
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Indexed:
    """What became of an index."""

    action: str  # "built", "extended", "kept", or "none" where searches are exact without one
    record: Record | None


def index_file(root: Path, kind: str) -> Path:
    """The file of an index of one of KINDS."""
    return root / FOLDER / f"{kind}.faiss"


def record_file(root: Path, kind: str) -> Path:
    """The record beside it."""
    return root / FOLDER / f"{kind}.json"


def present(root: Path) -> list[str]:
    """The kinds that a store has a record of, fresh or not."""
    return [kind for kind in KINDS if record_file(root, kind).exists()]


def open_index(store: Store, kind: str) -> tuple[Index, Record]:
    """The index of this kind of a store, which holds exactly what the store does.

    Raises StoreError, which says why and what to do, where there is none, it is stale, or its file is damaged;
    MissingDependencyError where FAISS is not installed.
    """
    file = index_file(store.path, kind)
    before = _signature(file)
    record = checked_record(store, kind, now := identity(store))
    if record.store != now:
        more = len(now.shards) - len(record.store.shards)
        grown = record.store.begins(now)
        raise _refusal(store, kind, f"{_shards(more)} came to the store since" if grown else "the store changed since")
    index = Index.read(file, record.shape)
    if _signature(file) != before:  # by a run that writes to the store: what was read is not what was hashed
        raise _refusal(store, kind, "it was replaced while it was read")
    return index, record


def checked_record(store: Store, kind: str, now: Identity) -> Record:
    """The record of an index whose file is the one it speaks of. Raises StoreError, which says why not."""
    record, file = read_record(record_file(store.path, kind)), index_file(store.path, kind)
    if (record.shape.kind, record.shape.dim, record.store.spec) != (kind, store.spec.image.dim, now.spec):
        raise _refusal(store, kind, "it is of another store")
    if not file.exists() or file.stat().st_size != record.size or sha256(file) != record.sha256:
        raise _refusal(store, kind, "its file is not the one that its record speaks of")
    return record


def check_kind(kind: str) -> None:
    """Raise UsageError where `kind` is neither "auto" nor one of KINDS."""
    if kind not in ("auto", *KINDS):
        raise UsageError(f"unknown kind of index {kind!r}; choose from auto, {', '.join(KINDS)}")


def index_store(path: str | Path, kind: str = "auto", *, say: Say = lambda _: None) -> Indexed:
    """Bring the index of one of KINDS of the store at `path` up to date: keep, extend or build it, and measure it.

    "auto" chooses by the number and size of the vectors and the memory there is. `say` is told what is expected before
    anything is done. Without FAISS nothing is built for "auto" and "flat": searches are exact all the same. Raises
    UsageError for an unknown kind or a store without vectors, MissingDependencyError, StoreLockedError and StoreError.
    """
    check_kind(kind)
    store = open_store(path)
    if kind in ("auto", "flat") and not faiss_library.is_installed():
        say(
            "FAISS is not installed, so there is no index: searches compare with every row, exactly "
            f"(pip install 'semscale[{faiss_library.extra()}]' for indexes)"
        )
        return Indexed("none", None)
    faiss_library.library(f"an index of kind {kind}")
    with exclusive(store.path):
        store = open_store(path)  # as it is now that nobody writes
        chosen = choose(store.images.shape[0], store.spec.image.dim, memory=memory()) if kind == "auto" else kind
        return up_to_date(store, chosen, say)


def up_to_date(store: Store, kind: str, say: Say) -> Indexed:
    """As `index_store`, for whoever holds the store's lock and knows the kind."""
    now = identity(store)
    try:
        record = checked_record(store, kind, now) if record_file(store.path, kind).exists() else None
    except StoreError as error:
        say(f"built again: {error}")
        record = None
    if record is not None and record.store == now and not outgrown(kind, now.rows, record.n_learned_for):
        return Indexed("kept", record)
    if record is not None and may_grow(record, now):
        return Indexed("extended", _extended(store, record, now, say))
    if record is not None:
        say(f"built again: what the {kind} index holds changed in the store, or the store outgrew it")
    return Indexed("built", _built(store, kind, now, say))


def may_grow(record: Record, now: Identity) -> bool:
    """Whether new shards can simply be added."""
    kind = record.shape.kind
    return kind in EXTENDED and record.store.begins(now) and not outgrown(kind, now.rows, record.n_learned_for)


def outgrown(kind: str, rows: int, learned_for: int) -> bool:
    """Whether there are so many more rows than the clusters of an index were learned for that they no longer fit."""
    return kind in TRAINED and rows > STALE_LISTS * learned_for


def _built(store: Store, kind: str, now: Identity, say: Say) -> Record:
    started = time.perf_counter()
    valid = survey(store.images)
    n = int(valid.sum())
    if n == 0:
        raise UsageError(f"{store.path}: no vectors to index")
    shape = shape_of(kind, n, store.spec.image.dim)
    expected = seconds(shape, n, measure_rates(store.images, shape), queries=min(QUERIES, n))
    say(
        f"{kind} index of {n} x {shape.dim}: about {_bytes(shape.size(n))}, at most {_bytes(shape.peak(n))} of memory "
        f"while it is built ({_bytes(memory())} are free), about {expected:.0f} s"
    )
    index = Index.trained(shape, training_sample(store.images, valid, shape, without=held_out(store.images)))
    add_rows(index, store.images, range(now.rows))
    return save(store, index, now, learned_for=n, started=started)


def _extended(store: Store, record: Record, now: Identity, say: Say) -> Record:
    started = time.perf_counter()
    new = now.rows - record.store.rows
    say(f"{record.shape.kind} index: {new} rows of {_shards(len(now.shards) - len(record.store.shards))} are added")
    index = Index.read(index_file(store.path, record.shape.kind), record.shape)
    add_rows(index, store.images, range(record.store.rows, now.rows))
    return save(store, index, now, learned_for=record.n_learned_for, started=started)


def save(store: Store, index: Index, now: Identity, *, learned_for: int, started: float) -> Record:
    """Measure an index of everything that the store holds and write it, its record last.

    Needs the store's lock. Raises StoreError, and writes nothing, when the store changed meanwhile.
    """
    queries = held_out(store.images)
    found = tuned_recall(index, store.images, queries)
    if identity(store) != now:
        raise StoreError(f"{store.path}: changed while it was being indexed; run `semscale index` again")
    file = index_file(store.path, index.shape.kind)
    with replacing(file) as temporary:  # all that takes long is done before the old index goes
        index.write(temporary)
        size, digest = temporary.stat().st_size, sha256(temporary)
    taken = time.perf_counter() - started
    record = Record(index.shape, now, len(index), learned_for, found, len(queries), taken, size, digest)
    write_record(record_file(store.path, index.shape.kind), record)
    return record


def told(record: Record) -> str:
    """A record in a few words."""
    share = "not measured" if np.isnan(record.recall) else f"{record.recall:.2%} on {record.n_queries} held-out vectors"
    return f"{record.shape.kind} index of {record.n_indexed} vectors, recall@{RECALL_K} {share}"


def memory() -> int:
    """Bytes of memory that are free for this process, as far as the system says."""
    free = [UNKNOWN_MEMORY]
    if MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="utf-8").splitlines())
        free = [int(lines["MemAvailable"].split()[0]) * 1024]
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
        free.append(max(0, int(most) - int(used.read_text())))
    return min(free)


def _signature(file: Path) -> tuple[int, int, int] | None:
    """Tells a file from one that took its place."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _refusal(store: Store, kind: str, why: str) -> StoreError:
    command = f"semscale index {shlex.quote(str(store.path))} --kind {kind}"
    return StoreError(f"{index_file(store.path, kind)}: {why}; `{command}` brings it up to date")


def _shards(n: int) -> str:
    return f"{n} new shard{'' if n == 1 else 's'}"


def _bytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
