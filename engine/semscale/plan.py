"""Which items make which shard: pure functions over numbers and keys.

A plan is append-only. Shards that exist never change; keys that appear later become new shards at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array, Shard

BLOCK = 8192  # keys held as Python objects at a time


def cut(count: int, shard_size: int, *, start: int = 0, first_index: int = 0) -> list[Shard]:
    """Cut positions [start, start + count) of the plan into shards of `shard_size` items; the last may be shorter."""
    if shard_size < 1:
        raise UsageError(f"shard size {shard_size}: must be at least 1")
    edges = [*range(start, start + count, shard_size), start + count]
    return [Shard(first_index + i, low, high) for i, (low, high) in enumerate(itertools.pairwise(edges))]


def from_column(shard_of_item: Sequence[int] | Array) -> list[Shard]:
    """Rebuild the shards from the plan's `shard` column (N,), whose values rise from 0 without a gap."""
    column = np.asarray(shard_of_item, np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    found = column[starts].tolist()
    assert found == list(range(len(starts))), f"plan: shards {found[:9]} ... where 0, 1, 2 ... were expected"
    return [
        Shard(index, low, high) for index, (low, high) in enumerate(itertools.pairwise([*starts.tolist(), len(column)]))
    ]


def remaining(shards: Iterable[Shard], done: Collection[int]) -> list[Shard]:
    """The shards that are not finished."""
    finished = frozenset(done)
    return [shard for shard in shards if shard.index not in finished]


def runs(indices: Array) -> Iterator[tuple[int, int]]:
    """(k,) rising indices -> the slices [start, stop) they are made of."""
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    for run in np.split(indices, breaks):
        if len(run):
            yield int(run[0]), int(run[-1]) + 1


class KeyIndex:
    """Finds the place of keys in a listing of millions, in 12 bytes a key; the keys stay where they are.

    `keys(start, stop)` gives a slice of the listing. Keys are found by their hash and then compared, so that two keys
    of one hash are told apart.
    """

    def __init__(self, keys: Callable[[int, int], list[str]], count: int) -> None:
        self._keys = keys
        hashes = np.empty(count, np.int64)
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            hashes[start:stop] = _hashes(keys(start, stop))
        self._order = np.argsort(hashes).astype(np.uint32)
        hashes.sort()
        self._hashes = hashes

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, keys: Sequence[str]) -> Array:
        """(k,) int64: the index of each key, or -1 where the listing does not have it."""
        hashes = _hashes(keys)
        first = np.searchsorted(self._hashes, hashes, side="left")
        last = np.searchsorted(self._hashes, hashes, side="right")
        found = np.full(len(keys), -1, np.int64)
        found[first < last] = self._order[first[first < last]]
        for place in np.flatnonzero(found >= 0)[self._wrong(keys, found)]:
            candidates = self._order[first[place] : last[place]].tolist()
            same = [index for index in candidates if self._keys(index, index + 1)[0] == keys[place]]
            found[place] = same[0] if same else -1
        return found

    def _wrong(self, keys: Sequence[str], found: Array) -> Array:
        """Which of the indices found lead to another key of the same hash, as a mask over the found ones."""
        places = np.flatnonzero(found >= 0)
        indices = found[places]
        wrong = np.zeros(len(places), bool)
        breaks = np.flatnonzero(np.diff(indices) != 1) + 1
        for run in np.split(np.arange(len(places)), breaks):
            if len(run):
                there = self._keys(int(indices[run[0]]), int(indices[run[-1]]) + 1)
                wrong[run] = [key != keys[place] for key, place in zip(there, places[run].tolist(), strict=True)]
        return wrong


def _hashes(keys: Sequence[str]) -> Array:
    """(k,) int64. Python's own hash of strings: keyed, so that nobody can make names that collide."""
    return np.fromiter(map(hash, keys), np.int64, len(keys))
