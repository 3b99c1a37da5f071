"""A store to scores: every number is computed from the files of the store, group by group, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.cores import usable_cores
from semscale.metrics.alignment import Preset, clip_scores
from semscale.metrics.consistency import BLOCK, MANY, Between, Pairs, corrected, pairs
from semscale.metrics.vectors import unit_rows
from semscale.model import Array
from semscale.prefetch import ordered_map
from semscale.stats.intervals import leave_one_out_error, student_interval
from semscale.store import Store

CORES = usable_cores()
CHUNK = 1 << 20  # values of float64 embeddings a core holds at a time: 8 MiB, which stays in its cache


@dataclass(frozen=True, slots=True)
class Groups:
    """One entry a group, sorted by model and group name."""

    model: list[str | None]
    name: list[str]
    of_row: Array  # (N,) group of each embedded image
    of_failure: Array  # (F,) group of each failed input, -1 where nothing is known of it

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of a store. Similarities and the consistency score are 100 cos."""

    groups: Groups
    n: Array  # (G,) images with a valid embedding
    n_invalid: Array  # (G,) images without: failed, or an embedding of zeros or NaN
    scs: Array  # (G,) NaN for n < 2, as are the next fields; `se`, `low` and `high` for n < 3
    se: Array
    low: Array
    high: Array
    corrected: Array
    n_clamped: Array
    medoid: Array  # (G,) row of the store, -1 for n < 2
    outlier: Array
    minimum: Array
    maximum: Array
    between: dict[str | None, float]  # mean similarity between groups, by model
    row_similarity: Array  # (N,) mean clamped similarity of each image to the others of its group
    row_valid: Array  # (N,) bool
    row_has_text: Array  # (N,) bool
    clip: Array | None  # (N,) CLIP score of each image; None when the store has no texts


def score_store(store: Store, convention: Preset, *, large: bool = True) -> Scores:
    """Compute every score of a store. `convention` is the CLIP score's.

    Without `large`, groups of more than MANY images get no similarities, which take time in the square of their size.
    """
    groups = group_rows(store)
    dim = store.spec.image.dim
    text_rows = store.text_rows() if store.spec.text is not None else np.full(len(store.images), -1)
    table = _Table(groups, dim)
    score = partial(_score_chunk, store, text_rows, convention)
    for part in ordered_map(score, _chunks(groups, dim, large=large), workers=CORES, depth=2 * CORES):
        table.add(part)
    return table.finish(has_text=text_rows >= 0)


def group_rows(store: Store) -> Groups:
    """Who belongs to which group, embedded or failed."""
    columns = ["model", "group"]
    table = pa.concat_tables([store.metadata(columns), store.errors(columns)])
    models, model_of = _ranked(table.column("model"))
    names, name_of = _ranked(table.column("group"))
    code = np.where(name_of < 0, -1, (model_of + 1) * len(names) + name_of)
    present, of_item = np.unique(code, return_inverse=True)
    if len(present) and present[0] < 0:
        present, of_item = present[1:], of_item - 1
    model = [None if m < 0 else models[m] for m in (present // max(len(names), 1)) - 1]
    embedded = len(store.images)
    return Groups(model, [names[i] for i in present % max(len(names), 1)], of_item[:embedded], of_item[embedded:])


def _ranked(column: pa.ChunkedArray) -> tuple[list[str], Array]:
    """Distinct values in sorted order, and for each entry its place among them, -1 for null."""
    encoded = (
        column.combine_chunks().dictionary_encode() if len(column) else pa.array([], pa.string()).dictionary_encode()
    )
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(order)), -1
    return encoded.dictionary.take(pa.array(order)).to_pylist(), rank[encoded.indices.fill_null(-1).to_numpy()]


def _chunks(groups: Groups, dim: int, *, large: bool) -> Iterator[tuple[Array, Array]]:
    """Groups of one size at a time: (g,) group numbers and their (g, n) rows, about CHUNK values each.

    Without `large`, rows of groups of more than MANY come by the block, as (n,), and of no group.
    """
    order = np.argsort(groups.of_row, kind="stable")
    sizes = np.bincount(groups.of_row, minlength=len(groups))
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[sizes > 0]):
        same = np.flatnonzero(sizes == size)
        if size > MANY and not large:
            yield from (
                (same[:0], order[starts[g] + np.arange(at, min(at + BLOCK, size))])
                for g in same
                for at in range(0, size, BLOCK)
            )
            continue
        together = max(1, int(CHUNK // (size * max(dim, size))))
        for first in range(0, len(same), together):
            part = same[first : first + together]
            yield part, order[starts[part][:, None] + np.arange(size)]


def sums_by_group(scores: Scores, items: Array) -> tuple[Array, Array]:
    """(N,) values of embedded images, NaN for none -> (G,) sums and (G,) counts."""
    known = np.isfinite(items)
    group, size = scores.groups.of_row[known], len(scores.groups)
    totals = np.bincount(group, weights=items[known], minlength=size)
    return totals, np.bincount(group, minlength=size).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Same:
    """Groups of one size, without their invalid images."""

    members: Array  # (g,) group numbers
    rows: Array  # (g, n) rows of the store
    pairs: Pairs
    means: Array  # (g, D) mean unit vector


@dataclass(frozen=True, slots=True)
class _Part:
    """What one chunk of groups gave."""

    rows: Array  # (k,) rows of the store
    valid: Array  # (k,) bool
    clip: Array  # (k,) NaN where there is no text
    groups: list[_Same]


def _score_chunk(store: Store, text_rows: Array, convention: Preset, chunk: tuple[Array, Array]) -> _Part:
    members, rows = chunk
    flat = rows.ravel()
    vectors = store.images.take(flat)
    clip = np.full(len(flat), np.nan)
    with_text = text_rows[flat] >= 0
    if with_text.any():
        texts = store.texts.take(text_rows[flat[with_text]])
        clip[with_text] = clip_scores(vectors[with_text], texts, convention)
    units, valid = unit_rows(vectors)
    if not len(members):
        return _Part(flat, valid, clip, [])
    found = list(_by_size(members, rows, units.reshape(*rows.shape, -1), valid.reshape(rows.shape)))
    return _Part(flat, valid, clip, found)


def _by_size(members: Array, rows: Array, units: Array, valid: Array) -> Iterator[_Same]:
    """Split off each group that has an invalid image: it is of another size than the rest."""
    whole = valid.all(axis=1)
    if whole.any():
        yield _same(members[whole], rows[whole], units if whole.all() else units[whole])
    for g in np.flatnonzero(~whole & valid.any(axis=1)):
        yield _same(members[g : g + 1], rows[g : g + 1, valid[g]], units[g : g + 1, valid[g]])


def _same(members: Array, rows: Array, units: Array) -> _Same:
    return _Same(members, rows, pairs(units), units.mean(axis=1))


class _Table:
    """Fills the columns of Scores part by part."""

    def __init__(self, groups: Groups, dim: int) -> None:
        count, rows = len(groups), len(groups.of_row)
        self._groups, self._dim = groups, dim
        self._clamped = np.zeros(count, np.int64)
        self._scs, self._se, self._min, self._max = (np.full(count, np.nan) for _ in range(4))
        self._medoid, self._outlier = np.full(count, -1), np.full(count, -1)
        self._similarity, self._clip = np.full(rows, np.nan), np.full(rows, np.nan)
        self._valid = np.zeros(rows, bool)
        self._between: dict[str | None, Between] = {}

    def add(self, part: _Part) -> None:
        """Take in what one chunk gave."""
        self._valid[part.rows], self._clip[part.rows] = part.valid, part.clip
        for same in part.groups:
            self._add_same(same)

    def _add_same(self, same: _Same) -> None:
        mine, found = same.members, same.pairs
        self._similarity[same.rows] = found.rows
        self._scs[mine], self._se[mine] = found.mean, leave_one_out_error(found.rows)
        self._clamped[mine], self._min[mine], self._max[mine] = found.n_clamped, found.minimum, found.maximum
        if same.rows.shape[1] > 1:
            each = np.arange(len(mine))
            self._medoid[mine] = same.rows[each, found.rows.argmax(axis=1)]
            self._outlier[mine] = same.rows[each, found.rows.argmin(axis=1)]
        models = np.array([self._groups.model[g] or "" for g in mine])
        for name in np.unique(models):
            self._between.setdefault(str(name) or None, Between(self._dim)).add(same.means[models == name])

    def finish(self, *, has_text: Array) -> Scores:
        """The finished columns; `has_text` is (N,) bool."""
        between = {model: sums.value for model, sums in self._between.items()}
        base = np.array([between.get(model, np.nan) for model in self._groups.model], np.float64)
        n = np.bincount(self._groups.of_row[self._valid], minlength=len(self._groups)).astype(np.int64)
        low, high = student_interval(self._scs, self._se, n, (0.0, 100.0))
        return Scores(
            groups=self._groups, n=n, n_invalid=self._invalid(), scs=self._scs, se=self._se, low=low, high=high,
            corrected=corrected(self._scs, base), n_clamped=self._clamped, medoid=self._medoid, outlier=self._outlier,
            minimum=self._min, maximum=self._max, between=between, row_similarity=self._similarity,
            row_valid=self._valid, row_has_text=has_text, clip=self._clip if has_text.any() else None,
        )  # fmt: skip

    def _invalid(self) -> Array:
        unusable = np.concatenate([self._groups.of_row[~self._valid], self._groups.of_failure])
        return np.bincount(unusable[unusable >= 0], minlength=len(self._groups)).astype(np.int64)
