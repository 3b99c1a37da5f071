"""What a store plans of a source, and what of it has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from semscale import plan
from semscale.errors import UsageError
from semscale.model import Array, Shard, Source
from semscale.settings import Settings
from semscale.store import Store


def index_of(source: Source) -> plan.KeyIndex:
    """What finds the items of a source by their keys."""
    return plan.KeyIndex(source.keys, len(source))


def extend_plan(store: Store, source: Source, index: plan.KeyIndex, settings: Settings) -> None:
    """Plan what the source holds and the store does not know yet, up to `limit` items in all."""
    known, last = np.zeros(len(index), bool), -1
    for block in store.plan_blocks(["key", "shard"]):
        found = index.find(block.column("key").to_pylist())
        known[found[found >= 0]] = True
        last = block.column("shard")[-1].as_py()
    new = np.flatnonzero(~known)
    if settings.limit is not None:
        if settings.limit < store.n_planned:
            raise UsageError(
                f"limit {settings.limit}: {store.path} already holds {store.n_planned}; choose another folder"
            )
        new = new[: settings.limit - store.n_planned]
    if len(new):
        store.append_plan(_planned(source, new, settings.shard_size, last + 1))


def _planned(
    source: Source, new: Array, shard_size: int, first: int
) -> Iterator[tuple[list[str], list[str], list[int]]]:
    """Keys, uris and shard numbers of new items, in blocks."""
    for start in range(0, len(new), plan.BLOCK):
        block = new[start : start + plan.BLOCK]
        keys = [key for low, high in plan.runs(block) for key in source.keys(low, high)]
        uris = [uri for low, high in plan.runs(block) for uri in source.uris(low, high)]
        yield keys, uris, [first + place // shard_size for place in range(start, start + len(block))]


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of inputs since they were embedded."""

    changed: int  # no longer what they were: embedded again
    retried: int  # could not be reached, or were too large: tried again
    vanished: int  # no longer there: their embeddings stay

    def __add__(self, later: Changes) -> Changes:
        """These and what a later look found."""
        return Changes(self.changed + later.changed, self.retried + later.retried, later.vanished)


def discard_changed(store: Store, source: Source, index: plan.KeyIndex, settings: Settings) -> Changes:
    """Set the finished shards aside in which an input is no longer what it was, or may be read now.

    What vanished keeps its embedding: it was there when it was scored. A limit of pixels that was asked for gives
    inputs that were too large another chance.
    """
    retry = frozenset() if settings.max_pixels is None else _too_large(store)
    changed = retried = vanished = 0
    for shard in store.finished():
        if not settings.owns(shard):
            continue
        known = store.fingerprints(shard)
        places = index.find(list(known)).tolist()
        again = [
            key in retry or not old
            for place, (key, old) in zip(places, known.items(), strict=True)
            if place >= 0 and (key in retry or source.fingerprint(place) != old)
        ]
        if again:
            store.set_aside(shard)
        changed, retried = changed + again.count(False), retried + again.count(True)
        vanished += places.count(-1)
    return Changes(changed, retried, vanished)


def _too_large(store: Store) -> frozenset[str]:
    errors = store.errors(["key", "code"])
    return frozenset(errors.filter(pc.equal(errors.column("code"), "too-large")).column("key").to_pylist())


def shards(store: Store) -> list[Shard]:
    """Every shard that is planned."""
    columns = (block.column("shard").to_numpy() for block in store.plan_blocks(["shard"]))
    return plan.from_column(np.concatenate([np.empty(0, np.int32), *columns]))


def unfinished(store: Store) -> list[Shard]:
    """The planned shards that are still to be embedded."""
    return plan.remaining(shards(store), store.finished())


def places(
    store: Store, index: plan.KeyIndex, wanted: Mapping[int, Shard]
) -> Iterator[tuple[Shard, int, str, str, int]]:
    """Shard, position in the plan, key, uri and index in the source of every item of the wanted shards."""
    position = 0
    for block in store.plan_blocks(["key", "uri", "shard"]):
        mine = np.flatnonzero(np.isin(block.column("shard").to_numpy(), list(wanted)))
        keys, uris, owners = (column.to_pylist() for column in block.take(mine).columns)
        found = index.find(keys).tolist()
        for place, key, uri, owner, at in zip(mine.tolist(), keys, uris, owners, found, strict=True):
            yield wanted[owner], position + place, key, uri, at
        position += len(block)
