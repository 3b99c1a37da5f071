"""Groups of near-copies in a store, which of each to keep, and `dedup.parquet`.

1. Images with equal vectors are one from here on, so that thousands of black images cost what one does.
2. Pairs of the others at the threshold become connected components, as they are found: memory does not grow with them.
3. With complete linkage each component is split into groups in which every pair reaches the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semscale.errors import UsageError
from semscale.files import replacing
from semscale.joins import MAX_PAIRS, Say, Sides, Tell, refuse_flood, within_limit
from semscale.keyed import Keyed
from semscale.model import Array, Progress
from semscale.moves import Copy
from semscale.search import Tuning, pairs_above
from semscale.search.duplicates import Components, best_of, first_equal, split
from semscale.search.recheck import cosines
from semscale.search.selected import Selected
from semscale.search.sides import open_side
from semscale.search.tiles import DEFAULT

LINKAGES = ("single", "complete")
KEEPS = ("largest", "first")
TABLE = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("group_id", pa.int64()),
        ("kept", pa.bool_()),
        ("similarity", pa.float64()),  # to the one that is kept; 1 for itself
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a group, and which of it is kept."""

    threshold: float
    linkage: Literal["single", "complete"] = "single"
    keep: Literal["largest", "first"] = "largest"  # the most pixels and then the first key, or the first key

    def __post_init__(self) -> None:
        for name, value, known in (("linkage", self.linkage, LINKAGES), ("keep", self.keep, KEEPS)):
            if value not in known:
                raise UsageError(f"unknown {name} {value!r}; choose from {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Copies:
    """The M images of all groups of two or more, by group and then key, as positions in the order of keys."""

    rows: Array  # (M,)
    groups: Array  # (M,) 0, 1, 2 ... in the order of their first keys
    kept: Array  # (M,) the row that is kept of each one's group
    similarity: Array  # (M,) to that row
    n_invalid: int  # images without a valid vector, which are in no group

    @property
    def n_groups(self) -> int:
        """Groups of two or more."""
        return int(self.groups[-1]) + 1 if len(self.groups) else 0

    @property
    def surplus(self) -> Array:
        """(M,) bool: those that are not kept."""
        return self.rows != self.kept


def find_copies(
    images: Keyed,
    rules: Rules,
    *,
    max_pairs: int = MAX_PAIRS,
    tuning: Tuning = DEFAULT,
    on_progress: Tell = lambda _: None,
    say: Say = lambda _: None,
) -> Copies:
    """Find all groups of near-copies.

    Raises UsageError when more than `max_pairs` pairs of different vectors reach the threshold, or complete linkage has
    a component that it cannot hold.
    """
    if not -1.0 <= rules.threshold <= 1.0:
        raise UsageError(f"a threshold of {rules.threshold}; similarities are from -1 to 1")
    side = open_side(images.vectors)
    first = first_equal(images.vectors, side.ids)
    distinct = np.unique(first)
    refuse_flood(Sides(_only(images, distinct)), rules.threshold, max_pairs, say)
    labels = _labels(Selected(images.vectors, distinct), rules, max_pairs, tuning, on_progress)
    groups = distinct[labels[np.searchsorted(distinct, first)]]
    shared = np.bincount(groups, minlength=1)[groups] > 1 if len(groups) else np.zeros(0, bool)
    members, groups, positions = side.ids[shared], groups[shared], np.flatnonzero(shared)
    kept = best_of(groups, _worth(images, rules, members))
    similarity = cosines(side, positions, side, positions[kept])
    order = np.lexsort((members, groups))
    numbers = np.unique(groups, return_inverse=True)[1]
    invalid = len(images) - len(side.ids)
    return Copies(members[order], numbers[order], members[kept][order], similarity[order], invalid)


def _only(images: Keyed, rows: Array) -> Keyed:
    return Keyed(images.store, images.keys.take(pa.array(rows)), images.order[rows])


def _labels(vectors: Selected, rules: Rules, max_pairs: int, tuning: Tuning, on_progress: Tell) -> Array:
    """(N,) the first row of each one's group."""
    n = vectors.shape[0]
    components = Components(n)
    for found in within_limit(pairs_above(vectors, rules.threshold, tuning=tuning), max_pairs):
        components.add(found.a, found.b)
        if found.last:
            on_progress(Progress(min((found.block + 1) * tuning.panel, n), 0, n))
    if rules.linkage == "single":
        return components.labels
    return split(vectors, components.labels, rules.threshold, tuning=tuning)


def _worth(images: Keyed, rules: Rules, rows: Array) -> Array:
    """(k,) rows -> (k,) pixels, 0 where nobody knows; all alike where the first key is kept."""
    if rules.keep == "first":
        return np.zeros(len(rows), np.int64)
    sizes = images.metadata(rows, "width", "height")
    pixels = pc.multiply(sizes.column("width").cast(pa.int64()), sizes.column("height").cast(pa.int64()))
    return pc.fill_null(pixels, 0).to_numpy()


def table_of(images: Keyed, copies: Copies, rules: Rules) -> pa.Table:
    """A row for each image of a group of two or more, with why it is kept or not."""
    surplus = copies.surplus
    ahead = _worth(images, rules, copies.rows) < _worth(images, rules, copies.kept)  # the kept one is larger
    tied = np.zeros(copies.n_groups, bool)
    tied[copies.groups[surplus & ~ahead]] = True
    reasons = np.where(ahead, "fewer pixels", "later key")
    if rules.keep == "largest":
        reasons = np.where(surplus & ~ahead, "as many pixels, later key", reasons)
    won = "first key" if rules.keep == "first" else "most pixels"
    kept = np.where(tied[copies.groups] & (rules.keep == "largest"), "most pixels, first key", won)
    columns = [
        images.keys.take(pa.array(copies.rows)).cast(pa.string()),
        images.metadata(copies.rows, "uri").column(0),
        copies.groups,
        ~surplus,
        copies.similarity,
        pa.array(np.where(surplus, reasons, kept).tolist(), pa.string()),
    ]
    return pa.table(columns, schema=TABLE)


def write_copies(out: Path, table: pa.Table) -> None:
    """Write dedup.parquet. Raises StoreError."""
    with replacing(out) as temporary:
        pq.write_table(table, temporary)


def to_move(images: Keyed, copies: Copies) -> list[Copy]:
    """What is not kept, with what is kept of it, as `moves` takes it."""
    surplus = copies.surplus
    moved, kept = (images.metadata(rows[surplus], "uri", "sha256").to_pydict() for rows in (copies.rows, copies.kept))
    keys = images.keys.take(pa.array(copies.rows[surplus])).to_pylist()
    rows = zip(keys, moved["uri"], moved["sha256"], kept["uri"], kept["sha256"], strict=True)
    return [Copy(*row) for row in rows]
