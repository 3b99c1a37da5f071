"""The consistency of the images of shared seeds alone, from the embeddings that a run keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import StoreError, UsageError
from semscale.measures.entry import encoding
from semscale.metrics.consistency import scs
from semscale.model import Array
from semscale.store import Store
from semscale.study.comparison.joining import Items, shared_seeds
from semscale.study.comparison.matching import Prompts
from semscale.study.comparison.sides import Side


def common_consistency(name: str, sides: Sequence[Side], prompts: Prompts) -> Array:
    """(P, S) scores of the joined prompts over the images of seeds that all models have; NaN for fewer than two.

    `name` is the score's in summary.json: scs, or scs@ENCODER. Raises UsageError when a run kept no embeddings of its
    encoder, or no prompt has two shared seeds.
    """
    stores = [_store(side, side.results.entries.get(name, {})) for side in sides]
    found = [_rows(store, side, prompts, n) for n, (store, side) in enumerate(zip(stores, sides, strict=True))]
    items = Items(
        *(np.concatenate([getattr(each, field) for each, _ in found]) for field in ("prompt", "seed", "side"))
    )
    rows, shared = np.concatenate([rows for _, rows in found]), shared_seeds(items, len(sides))
    items, rows = items.only(shared), rows[shared]
    order = np.lexsort((rows, items.seed, items.side, items.prompt))
    cell = (items.prompt * len(sides) + items.side)[order]
    ends = np.searchsorted(cell, np.arange(len(prompts) * len(sides) + 1))
    values = np.full(len(ends) - 1, np.nan)
    several = np.flatnonzero(np.diff(ends) > 1)
    if not len(several):
        many = "one seed of a prompt at most" if len(items.seed) else "no seed of any prompt"
        raise UsageError(f"--common-seeds: {many} is in all models, and scs needs two; leave --common-seeds out")
    for place in several:
        mine = rows[order[ends[place] : ends[place + 1]]]
        values[place] = scs(stores[place % len(sides)].images.take(mine))
    return values.reshape(len(prompts), len(sides))


def _store(side: Side, entry: Mapping[str, Any]) -> Store:
    """The store of the encoder that a score was made with."""
    folder = side.results.folder / "stores"
    for path in sorted(folder.glob("*/store.json")):
        store = Store(path.parent)
        if dataclasses.asdict(encoding(store.spec)) == entry.get("encoder"):
            return store
    raise UsageError(f"{folder}: no embeddings of the encoder behind scs; score again, or leave out --common-seeds")


def _rows(store: Store, side: Side, prompts: Prompts, number: int) -> tuple[Items, Array]:
    """The images of one model that have a seed, and their rows in its store."""
    names = side.groups["group"].take(pa.array(prompts.joined.rows[:, number])).combine_chunks()
    table = store.metadata(["model", "group", "seed"])
    model = table["model"]
    mine = pc.is_null(model) if side.model is None else pc.fill_null(pc.equal(model, side.model), False)
    prompt = pc.index_in(table["group"], value_set=names)
    chosen = pc.and_(pc.and_(mine, pc.is_valid(prompt)), pc.is_valid(table["seed"])).to_numpy()
    if len(table) != len(store.images):
        raise StoreError(f"{store.path}: {len(table)} descriptions of {len(store.images)} embeddings; score again")
    rows = np.flatnonzero(chosen)
    seeds = table["seed"].cast(pa.int64()).fill_null(0).to_numpy()[rows]
    places = prompt.fill_null(-1).to_numpy().astype(np.int64)[rows]
    return Items(places, seeds, np.full(len(rows), number)), rows
