"""Metrics of pairs of images, a source and what an edit made of it, averaged over pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import UsageError
from semscale.measures.given import Given
from semscale.measures.measure import OfItems
from semscale.measures.pairs_table import PairTable
from semscale.measures.rows import some_rows
from semscale.metrics.directional import TAU, directional_cosines, image_similarities
from semscale.metrics.vectors import unit_rows
from semscale.model import Array
from semscale.store import Store

BLOCK = 4096  # pairs whose embeddings are in memory at once


def rows_of(store: Store, keys: list[str]) -> Array:
    """(k,) rows of the store that hold some images; -1 where an image gave no embedding."""
    known = store.metadata(["key"]).column(0).combine_chunks()
    return pc.index_in(pa.array(keys, pa.string()), value_set=known).fill_null(-1).to_numpy().astype(np.int64)


def directional(given: Given, _: str) -> OfItems:
    """The cosine of each edit of an image and that of its text; texts from the table, else those of the images."""
    table, source, edited = _sides(given)
    texts, counted = _texts(given, table, source, edited)
    values, valid = np.full(len(table), np.nan), np.zeros(len(table), bool)
    for at in range(0, len(table), BLOCK):
        part = slice(at, at + BLOCK)
        four = (_vectors(given, source[part]), _vectors(given, edited[part]), *(side(part) for side in texts))
        values[part] = directional_cosines(*four)
        valid[part] = np.logical_and.reduce([unit_rows(one)[1] for one in four])
    undefined = int((valid & np.isnan(values)).sum())
    params = {"tau": TAU, "n_undefined": undefined, **counted}
    return _of_pairs(given, edited, values, (-1.0, 1.0), int((~valid).sum()), params)


def similarity(given: Given, _: str) -> OfItems:
    """100 cos of the two images of each pair, nothing clamped."""
    table, source, edited = _sides(given)
    values = np.full(len(table), np.nan)
    for at in range(0, len(table), BLOCK):
        part = slice(at, at + BLOCK)
        values[part] = image_similarities(_vectors(given, source[part]), _vectors(given, edited[part]))
    return _of_pairs(given, edited, values, (-100.0, 100.0), int(np.isnan(values).sum()), {"scale": 100.0})


def pixels(name: str, bounds: tuple[float, float]) -> Callable[[Given, str], OfItems]:
    """A metric of the pixels of both images; identical ones have no finite PSNR: left out of its mean, and counted."""

    def compute(given: Given, preset: str) -> OfItems:
        _, _, edited = _sides(given)
        assert given.pair_pixels is not None, "given wherever pairs are"
        values = given.pair_pixels.values(name, preset)
        identical = np.isinf(values)
        params = dict(given.pair_pixels.made_by(name, preset))
        params |= {"n_identical": int(identical.sum())} if name == "psnr" else {}
        missing = int(np.isnan(values).sum())
        return _of_pairs(given, edited, np.where(identical, np.nan, values), bounds, missing, params)

    return compute


def _sides(given: Given) -> tuple[PairTable, Array, Array]:
    assert given.pairs is not None, "checked before anything was embedded"
    return given.pairs, rows_of(given.store, given.pairs.source), rows_of(given.store, given.pairs.edited)


def _vectors(given: Given, rows: Array) -> Array:
    """(k, D) embeddings, NaN where an image gave none."""
    found = some_rows(given.store, np.maximum(rows, 0))[:] if len(given.store.images) else np.empty((0, 1))
    return np.where((rows >= 0)[:, None], found, np.nan)


def _texts(
    given: Given, table: PairTable, source: Array, edited: Array
) -> tuple[list[Callable[[slice], Array]], dict[str, int]]:
    """What gives the embeddings of the texts of some pairs, source and edited; how many of the table's were cut."""
    if table.texts is not None:
        distinct = tuple(dict.fromkeys([*table.texts[0], *table.texts[1]]))
        (vectors, cut), place = given.encode_texts(distinct), {text: row for row, text in enumerate(distinct)}
        sides = [np.array([place[text] for text in side]) for side in table.texts]
        return [lambda part, side=side: vectors[side[part]] for side in sides], {"n_truncated": int(cut.sum())}
    text_rows, texts = given.store.text_rows(), given.store.texts
    if not len(texts):
        raise UsageError(f"{table.path}: has no texts, nor have the images; add source_text and edited_text")

    def of_images(rows: Array, part: slice) -> Array:
        mine = np.where(rows[part] >= 0, text_rows[np.maximum(rows[part], 0)], -1)
        return np.where((mine >= 0)[:, None], texts.take(np.maximum(mine, 0)), np.nan)

    return [lambda part, rows=rows: of_images(rows, part) for rows in (source, edited)], {}


def _of_pairs(
    given: Given, edited: Array, values: Array, bounds: tuple[float, float], n_invalid: int, params: dict[str, object]
) -> OfItems:
    """Pairs belong to the group and the model of the edited image; those whose edited image failed to a group of their
    own, for they have no value."""
    embedded = edited >= 0
    rows = np.maximum(edited, 0)
    if not len(given.groups.of_row):
        return OfItems(values, np.zeros(len(values), np.int64), np.full(len(values), None), "pair", bounds, n_invalid)
    group = np.where(embedded, given.groups.of_row[rows], -1)
    model = np.where(embedded, given.models[rows], None)
    return OfItems(values, group, model, "pair", bounds, n_invalid, params)
