"""Pairs of similar images, and the nearest neighbours of every image, from stores to one Parquet file.

Both are written block by block as they are found, and go on where a killed run stopped. A table of pairs holds each
unordered pair once, key_a < key_b (between two stores key_a is of the first), and no image with itself. A table of
neighbours is directed: the k rows of an image are its own list, and a pair is in it once from each side whose list it
is on. Neither depends on the order of a store: images are compared in the order of their keys. Lists are in that order;
pairs come block by block, and are to be sorted where their order matters.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from semscale.errors import UsageError
from semscale.keyed import Keyed, identity
from semscale.model import Array, Progress
from semscale.parts import Parts, resumable
from semscale.search import Groups, Pairs, Tuning, pairs_above, top_k
from semscale.search.blocks import count_pairs, spans
from semscale.search.forecast import forecast
from semscale.search.selected import Selected, neighbours, neighbours_among
from semscale.search.tiles import DEFAULT

MAX_PAIRS = 50_000_000
WHOLE = 131_072  # images up to which neighbours are found in one pass, twice as fast, and in minutes
SPAN = 32_768  # images beyond that whose neighbours make a block
LISTED = 1 << 23  # neighbours of a block at most

FOUND = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("similarity", pa.float64())])
LISTS = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("rank", pa.int32()), ("similarity", pa.float64())])
PAIRS = pa.schema([("key_a", pa.string()), ("key_b", pa.string()), ("similarity", pa.float64())])
NEIGHBOURS = pa.schema(
    [("key", pa.string()), ("neighbour", pa.string()), ("rank", pa.int32()), ("similarity", pa.float64())]
)
Tell = Callable[[Progress], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared with what."""

    left: Keyed
    right: Keyed | None = None  # None: the images of `left` among themselves
    mode: Literal["within", "across"] | None = None  # of the groups of `left`; None: groups do not matter

    def __post_init__(self) -> None:
        if self.right is not None and self.mode is not None:
            raise UsageError("groups between two stores: leave out --within and --across, or --between")

    @property
    def columns(self) -> Keyed:
        """The side that partners are from."""
        return self.left if self.right is None else self.right

    @property
    def other(self) -> Selected | None:
        """Vectors of the second store."""
        return None if self.right is None else self.right.vectors

    def groups(self) -> Groups | None:
        """The groups of `left`, where they matter."""
        return None if self.mode is None else Groups(self.mode, self.left.groups())

    def possible(self) -> int:
        """How many pairs there are, whatever their similarity."""
        groups = self.groups()
        everything = count_pairs(len(self.left), None if self.right is None else len(self.right))
        if groups is None:
            return everything
        sizes = np.unique(groups.rows, return_counts=True)[1].astype(np.int64)
        within = int((sizes * (sizes - 1) // 2).sum())
        return within if groups.mode == "within" else everything - within


@dataclass(frozen=True, slots=True)
class Written:
    """What a join wrote."""

    rows: int
    blocks: int
    resumed: int  # blocks that an earlier run had finished


@dataclass(frozen=True, slots=True)
class _State:
    """What decides every row of a table, and how it is cut into blocks."""

    format: int
    threshold: float | None
    top_k: int | None
    groups: str | None
    block: int  # images
    store: str  # digest of what it holds
    between: str | None

    def schema(self, columns: pa.Schema) -> pa.Schema:
        """The columns, with this as the file's metadata."""
        return columns.with_metadata({"semscale": json.dumps(asdict(self))})


def write_pairs(
    out: Path,
    sides: Sides,
    threshold: float,
    *,
    max_pairs: int = MAX_PAIRS,
    tuning: Tuning = DEFAULT,
    on_progress: Tell = lambda _: None,
    say: Say = lambda _: None,
) -> Written:
    """Write every pair with a similarity of `threshold` or more: key_a, key_b, similarity.

    Raises UsageError when a forecast or the count itself says that there are more than `max_pairs`; what was found is
    kept then, and the same call with a larger maximum goes on. See `parts.resumable` for the others.
    """
    state = _state(sides, threshold=threshold, top_k=None, block=tuning.panel)
    with resumable(out, asdict(state)) as parts:
        if not parts.done:
            refuse_flood(sides, threshold, max_pairs, say)
        found = pairs_above(
            sides.left.vectors, threshold, other=sides.other, groups=sides.groups(), tuning=tuning, first=parts.done
        )
        limited = within_limit(found, max_pairs, already=parts.rows())
        tables = ((pairs.block, pa.table([pairs.a, pairs.b, pairs.similarity], schema=FOUND)) for pairs in limited)
        resumed = _write(parts, tables, FOUND, partial(_tell, on_progress, tuning.panel, len(sides.left)))
        return _finish(parts, out, resumed, state.schema(PAIRS), partial(_named, sides, state.schema(PAIRS)))


def write_neighbours(
    out: Path,
    sides: Sides,
    k: int,
    *,
    max_pairs: int = MAX_PAIRS,
    tuning: Tuning = DEFAULT,
    on_progress: Tell = lambda _: None,
) -> Written:
    """Write the k most similar images of each: key, neighbour, rank from 1 on, similarity; ties by key.

    Raises UsageError for k below 1 and for more than `max_pairs` rows.
    """
    if k < 1:
        raise UsageError(f"the {k} nearest; give at least 1")
    n = len(sides.left)
    if n * min(k, len(sides.columns)) > max_pairs:
        raise UsageError(f"the {k} nearest of {n} images are over --max-pairs {max_pairs}; give a lower k, or raise it")
    block = n if sides.right is None and n <= WHOLE else max(1, min(SPAN, LISTED // k))
    state = _state(sides, threshold=None, top_k=k, block=block)
    with resumable(out, asdict(state)) as parts:
        tables = _lists(sides, k, block, tuning, first=parts.done)
        resumed = _write(parts, tables, LISTS, partial(_tell, on_progress, block, n))
        return _finish(parts, out, resumed, state.schema(NEIGHBOURS), partial(_named, sides, state.schema(NEIGHBOURS)))


def refuse_flood(sides: Sides, threshold: float, max_pairs: int, say: Say) -> None:
    """Raise UsageError, naming a threshold that would fit, when a sample says that there are more than `max_pairs`.

    Nothing is sampled where there cannot be as many.
    """
    if sides.possible() <= max_pairs:
        return
    found = forecast(sides.left.vectors, threshold, max_pairs, other=sides.other, groups=sides.groups())
    told = f"about {found.pairs:.3g} pairs ({found.interval.low:.3g} to {found.interval.high:.3g}, from a sample)"
    if found.interval.low <= max_pairs:
        say(f"{told}, at most {max_pairs} allowed")
        return
    remedy = "" if found.fitting is None else f"--threshold {found.fitting:g} should fit; or "
    raise UsageError(f"threshold {threshold:g}: {told}, over --max-pairs {max_pairs}; {remedy}raise --max-pairs")


def within_limit(found: Iterator[Pairs], max_pairs: int, *, already: int = 0) -> Iterator[Pairs]:
    """Pass pairs on. Raises UsageError when they, and those found already, are more than `max_pairs`."""
    count = already
    for pairs in found:
        count += len(pairs.a)
        if count > max_pairs:
            raise UsageError(
                f"more than --max-pairs {max_pairs} pairs; raise it and run again, which goes on from the last "
                f"finished block, or give a higher --threshold and another -o"
            )
        yield pairs


def _state(sides: Sides, *, threshold: float | None, top_k: int | None, block: int) -> _State:
    between = None if sides.right is None else identity(sides.right.store)
    return _State(1, threshold, top_k, sides.mode, block, identity(sides.left.store), between)


def _lists(sides: Sides, k: int, block: int, tuning: Tuning, *, first: int) -> Iterator[tuple[int, pa.Table]]:
    """Blocks of neighbours; each block asks about some images, so that a killed run loses one."""
    vectors, groups = sides.left.vectors, sides.groups()
    for number, span in list(enumerate(spans(range(len(sides.left)), max(1, block))))[first:]:
        rows = np.arange(span.start, span.stop)
        if sides.right is not None:
            yield number, _listed(rows, *neighbours(sides.right.vectors, Selected(vectors, rows), k, tuning=tuning))
        elif len(rows) < len(sides.left):
            yield number, _listed(rows, *neighbours_among(vectors, rows, k, groups=groups, tuning=tuning))
        else:
            for part in top_k(vectors, k, groups=groups, tuning=tuning):
                yield number, _listed(np.arange(part.rows.start, part.rows.stop), part.ids, part.similarity)


def _listed(rows: Array, ids: Array, similarity: Array) -> pa.Table:
    line, rank = np.nonzero(ids >= 0)
    columns = [rows[line], ids[line, rank], (rank + 1).astype(np.int32), similarity[line, rank]]
    return pa.table(columns, schema=LISTS)


def _write(parts: Parts, tables: Iterator[tuple[int, pa.Table]], schema: pa.Schema, tell: Callable[[int], None]) -> int:
    """Write what is left; return how many blocks were there."""
    resumed = parts.done
    tell(resumed)
    for number, pieces in itertools.groupby(tables, key=lambda piece: piece[0]):
        parts.write(number, (table for _, table in pieces), schema)
        tell(number + 1)
    return resumed


def _tell(on_progress: Tell, block: int, n: int, done: int) -> None:
    on_progress(Progress(min(done * block, n), 0, n))


def _finish(parts: Parts, out: Path, resumed: int, schema: pa.Schema, named: Callable[[pa.Table], pa.Table]) -> Written:
    parts.merge(out, schema, named)
    return Written(parts.rows(), parts.done, resumed)


def _named(sides: Sides, schema: pa.Schema, found: pa.Table) -> pa.Table:
    """Rows of numbers as rows of keys."""
    a = sides.left.keys.take(found.column("a").combine_chunks()).cast(pa.string())
    b = sides.columns.keys.take(found.column("b").combine_chunks()).cast(pa.string())
    return pa.table([a, b, *found.columns[2:]], schema=schema)
