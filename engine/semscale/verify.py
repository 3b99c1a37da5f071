"""Is a store what was written? Every file against its checksum, its counts, and the plan.

Damage becomes a row of the answer, never an exception. A finished shard that is damaged can be mended: it is discarded,
and the next run embeds it again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semscale import paths
from semscale.errors import StoreError
from semscale.files import sha256
from semscale.locks import exclusive
from semscale.model import Array
from semscale.paths import DAMAGE, KINDS, checksums, listed, name_of, summary
from semscale.store_spec import StoreSpec, read_spec
from semscale.tables import ERRORS, METADATA, PLAN

UNRECORDED = "no checksum recorded"
FOR_GOOD = "this cannot be mended: embed again into a new folder"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a store."""

    file: str  # relative to the store
    what: str
    mended: bool = False  # its shard was discarded; the next run embeds it again


@dataclass(frozen=True, slots=True)
class Verification:
    """What a store held when it was read, and everything that is wrong with it."""

    problems: list[Problem]
    n_shards: int  # planned
    n_finished: int
    n_items: int  # planned
    n_ok: int  # vectors of the finished shards
    n_failed: int  # rows of their errors tables


@dataclass(frozen=True, slots=True)
class _Listing:
    """What the plan says."""

    problems: list[Problem]
    n_shards: int
    n_items: int

    @property
    def sound(self) -> bool:
        """Whether shards can be checked against it."""
        return not _damage(self.problems)


@dataclass(frozen=True, slots=True)
class _Contents:
    """A shard's files as read: absent ones empty, unreadable ones None."""

    metadata: pa.Table | None  # key, text_row
    errors: pa.Table | None  # key
    img_emb: Array | None
    text_emb: Array | None


def verify(store_path: str | Path, *, mend: bool = False) -> Verification:
    """Check everything that a store holds against its checksums, its counts and its plan.

    With `mend`, damaged finished shards and shards that the plan does not have are discarded; that takes the exclusive
    lock, so no run may be writing. A missing checksum is not damage where the store was begun without any.
    Raises StoreError where there is no store at all, or nothing can be discarded; damage itself never raises.
    """
    root = Path(store_path)
    if not _is_store(root):
        raise StoreError(f"{root}: not a store (no store.json)")
    with exclusive(root) if mend else nullcontext():
        spec, wrong_spec = _check_spec(root)
        listing = _check_plan(root)
        by_shard, n_ok, n_failed = _check_shards(root, spec, listing)
        problems = [*wrong_spec, *listing.problems, *_unknown_files(root)]
        done = paths.finished(root)
        for index, found in by_shard.items():
            problems += _mended(root, index, found) if mend else found
    return Verification(problems, listing.n_shards, len(done), listing.n_items, n_ok, n_failed)


def stores_in(path: str | Path) -> list[Path]:
    """The store at `path`, or those in the results of `semscale score`. Raises StoreError where there is none."""
    root = Path(path)
    found = [root] if _is_store(root) else sorted(filter(_is_store, (root / "stores").glob("*")))
    if not found:
        raise StoreError(f"{root}: not a store (no store.json), nor results with stores in them")
    return found


def _is_store(root: Path) -> bool:
    """Whether this is a store, perhaps one that has lost its store.json."""
    return (root / "store.json").exists() or bool(paths.plan_parts(root) or paths.finished(root))


# -- bytes ------------------------------------------------------------------------------------------------------------


def _check_bytes(root: Path, of: str, present: Sequence[str]) -> Iterator[Problem]:
    """Compare the files of a store, of one plan part or of one shard with their checksums."""
    file = checksums(root, of)
    try:
        recorded = listed(file)
    except FileNotFoundError:
        yield Problem(f"checksums/{file.name}", UNRECORDED)
        return
    except (OSError, ValueError) as error:
        yield Problem(f"checksums/{file.name}", f"not a list of checksums ({summary(error)})")
        return
    for name in sorted({*recorded, *present}):
        if name not in present:
            yield Problem(name, "missing")
        elif name not in recorded:
            yield Problem(name, UNRECORDED)
        else:
            yield from _check_digest(root, name, recorded[name])


def _check_digest(root: Path, name: str, recorded: str) -> Iterator[Problem]:
    try:
        if sha256(root / name) != recorded:
            yield Problem(name, "damaged: its bytes do not have the checksum that was recorded")
    except OSError as error:
        yield Problem(name, f"cannot be read ({summary(error)})")


# -- specification and plan -------------------------------------------------------------------------------------------


def _check_spec(root: Path) -> tuple[StoreSpec | None, list[Problem]]:
    exists = (root / "store.json").exists()
    problems = list(_check_bytes(root, "store", ["store.json"] if exists else []))
    spec = None
    try:
        spec = read_spec(root / "store.json")
    except StoreError as error:
        if not any(problem.file == "store.json" for problem in problems):
            problems.append(Problem("store.json", summary(error) if exists else "missing"))
    return spec, [_for_good(problem) for problem in problems]


def _for_good(problem: Problem) -> Problem:
    return replace(problem, what=f"{problem.what}; {FOR_GOOD}") if _damage([problem]) else problem


def _damage(problems: Sequence[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.what != UNRECORDED]


def _check_plan(root: Path) -> _Listing:
    parts = paths.plan_parts(root)
    n_parts = max(parts, default=-1) + 1
    problems = [Problem(_part(number), "missing") for number in range(n_parts) if number not in parts]
    n_items, last = 0, -1
    for number, part in parts.items():
        wrong = list(_check_bytes(root, f"plan-{number:05d}", [_part(number)]))
        try:
            for block in [] if _damage(wrong) else _blocks(part):
                shards = block.column("shard").to_numpy()
                wrong += [] if _damage([*problems, *wrong]) else _check_order(_part(number), shards, last)
                n_items, last = n_items + len(shards), int(shards[-1])
        except DAMAGE as error:
            wrong.append(Problem(_part(number), f"cannot be read ({summary(error)})"))
        problems += wrong
    if not _damage(problems):
        problems += _lost_parts(root, n_parts, last + 1)
    return _Listing([_for_good(problem) for problem in problems], last + 1, n_items)


def _part(number: int) -> str:
    return f"plan/part-{number:05d}.parquet"


def _check_order(part: str, shards: Array, last: int) -> Iterator[Problem]:
    steps = np.diff(shards, prepend=last)
    for wrong in np.flatnonzero((steps < 0) | (steps > 1))[:1]:
        yield Problem(part, f"shard {shards[wrong]} where {shards[wrong] - steps[wrong] + 1} was expected")


def _lost_parts(root: Path, n_parts: int, n_shards: int) -> list[Problem]:
    """Parts at the end that shards speak of; a checksum alone is what a run leaves that died while it was planning."""
    if not _beyond(root, n_shards):
        return []
    recorded = [int(file.stem.rpartition("-")[2]) for file in (root / "checksums").glob("plan-[0-9]*.sha256")]
    lost = sorted(number for number in recorded if number >= n_parts) or ([0] if n_parts == 0 else [])
    return [Problem(_part(number), "missing") for number in lost]


def _beyond(root: Path, n_shards: int) -> dict[int, list[str]]:
    """The files of shards that the plan does not have."""
    found: dict[int, list[str]] = {}
    for kind in KINDS:
        for index in paths.numbered(root, kind):
            if index >= n_shards:
                found.setdefault(index, []).append(name_of(kind, index))
    return found


def _blocks(part: Path) -> Iterator[pa.Table]:
    wanted = pa.schema([PLAN.field("key"), PLAN.field("shard")])
    with pq.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=wanted.names).select(wanted.names).cast(wanted)


def _keys_by_shard(root: Path) -> Iterator[tuple[int, pa.Array]]:
    """Each planned shard and its keys, in plan order, from a plan that is sound."""
    blocks = itertools.chain.from_iterable(map(_blocks, paths.plan_parts(root).values()))
    pieces = itertools.chain.from_iterable(map(_slices, blocks))
    for index, of_shard in itertools.groupby(pieces, key=lambda piece: piece[0]):
        yield index, pa.concat_arrays([chunk for _, keys in of_shard for chunk in keys.chunks])


def _slices(block: pa.Table) -> Iterator[tuple[int, pa.ChunkedArray]]:
    shards = block.column("shard").to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(shards)]
    for start, stop in itertools.pairwise(edges):
        yield int(shards[start]), block.column("key").slice(start, stop - start)


# -- shards -----------------------------------------------------------------------------------------------------------


def _check_shards(root: Path, spec: StoreSpec | None, listing: _Listing) -> tuple[dict[int, list[Problem]], int, int]:
    """The problems of each shard that has some, and how many vectors and failures all finished ones hold."""
    finished = paths.finished(root)
    among = frozenset(finished)
    planned = _keys_by_shard(root) if listing.sound else ((index, None) for index in finished)
    found: dict[int, list[Problem]] = {}
    n_ok = n_failed = 0
    for index, keys in planned:
        if index in among:
            found[index], ok, failed = _check_shard(root, spec, index, keys)
            n_ok, n_failed = n_ok + ok, n_failed + failed
        elif checksums(root, f"{index:05d}").exists():  # written just before the errors file
            said = "missing: it was deleted, or a run died while it finished this shard; run again to embed the shard"
            found[index] = [Problem(name_of("errors", index), said)]
    if listing.sound:
        for index, names in _beyond(root, listing.n_shards).items():
            found[index] = [Problem(name, f"stray: shard {index} is not in the plan") for name in names]
    return {index: problems for index, problems in found.items() if problems}, n_ok, n_failed


def _check_shard(
    root: Path, spec: StoreSpec | None, index: int, keys: pa.Array | None
) -> tuple[list[Problem], int, int]:
    present = [name_of(kind, index) for kind in KINDS if (root / name_of(kind, index)).exists()]
    problems = list(_check_bytes(root, f"{index:05d}", present))
    contents, unreadable = _read(root, index, {problem.file for problem in _damage(problems)})
    problems += unreadable
    problems += _check_vectors(spec, index, contents)
    if contents.metadata is not None and contents.errors is not None and keys is not None:
        problems += _check_keys(index, keys, contents.metadata.column("key"), contents.errors.column("key"))
    vectors = contents.metadata if contents.img_emb is None else contents.img_emb
    return problems, *(0 if rows is None else len(rows) for rows in (vectors, contents.errors))


def _read(root: Path, index: int, damaged: set[str]) -> tuple[_Contents, list[Problem]]:
    problems: list[Problem] = []

    def read(kind: str) -> Any:
        name = name_of(kind, index)
        try:
            return None if name in damaged else _rows(root / name, kind)
        except DAMAGE as error:
            problems.append(Problem(name, f"cannot be read ({summary(error)})"))
            return None

    return _Contents(**{kind: read(kind) for kind in KINDS}), problems


def _rows(file: Path, kind: str) -> Any:
    schema = {"metadata": METADATA, "errors": ERRORS}.get(kind)
    if schema is None:
        rows = np.lib.format.open_memmap(file, mode="r") if file.exists() else np.empty((0, 0))
        if rows.ndim != 2:
            raise ValueError(f"shape {rows.shape}")
        return rows
    wanted = pa.schema([field for field in schema if field.name in ("key", "text_row")])
    return pq.read_table(file, columns=wanted.names).cast(wanted) if file.exists() else wanted.empty_table()


def _check_vectors(spec: StoreSpec | None, index: int, found: _Contents) -> Iterator[Problem]:
    for kind, rows in (("img_emb", found.img_emb), ("text_emb", found.text_emb)):
        if spec is not None and rows is not None and len(rows):
            got, wanted = f"{rows.dtype} x {rows.shape[1]}", f"{spec.dtype} x {spec.image.dim}"
            if got != wanted:
                yield Problem(name_of(kind, index), f"rows of {got} where store.json says {wanted}")
    if found.metadata is None:
        return
    if found.img_emb is not None and len(found.img_emb) != len(found.metadata):
        what = f"{len(found.img_emb)} vectors for {len(found.metadata)} rows of metadata"
        yield Problem(name_of("img_emb", index), what)
    texts = found.metadata.column("text_row").drop_null().to_numpy()
    if found.text_emb is not None and len(texts) and not 0 <= texts.min() <= texts.max() < len(found.text_emb):
        what = f"text_row from {texts.min()} to {texts.max()} for {len(found.text_emb)} texts"
        yield Problem(name_of("metadata", index), what)


def _check_keys(index: int, keys: pa.Array, embedded: pa.ChunkedArray, failed: pa.ChunkedArray) -> Iterator[Problem]:
    """Both tables together must hold the planned keys exactly, each in the order of the plan."""
    if len(embedded) + len(failed) != len(keys):
        what = f"{len(embedded)} vectors and {len(failed)} failures for {len(keys)} planned inputs"
        yield Problem(name_of("errors", index), what)
        return
    places = []
    for kind, column in (("metadata", embedded), ("errors", failed)):
        places.append(pc.index_in(column, value_set=keys).fill_null(-1).to_numpy())
        if (np.diff(places[-1], prepend=-1) < 1).any():
            yield Problem(name_of(kind, index), "its keys are not those of the plan, in the order of the plan")
            return
    if len(np.unique(np.concatenate(places))) != len(keys):
        yield Problem(name_of("errors", index), "a planned key is in both tables, and another in neither")


def _unknown_files(root: Path) -> Iterator[Problem]:
    for kind in KINDS:
        known = set(paths.numbered(root, kind).values())
        for file in sorted(set((root / kind).glob("[!.]*")) - known):
            yield Problem(f"{kind}/{file.name}", "not a file of a store; move it elsewhere")


def _mended(root: Path, index: int, problems: list[Problem]) -> list[Problem]:
    begun_without = not checksums(root, "store").exists()
    if begun_without and not _damage(problems):
        return problems
    paths.discard_shard(root, index)
    return [replace(problem, mended=True) for problem in problems]
