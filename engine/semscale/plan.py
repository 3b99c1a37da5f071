"""Which items make which shard: pure functions over numbers and keys.

A plan is append-only. Shards that exist never change; keys that appear later become new shards at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence

from semscale.errors import UsageError
from semscale.model import Shard


def cut(count: int, shard_size: int, *, start: int = 0, first_index: int = 0) -> list[Shard]:
    """Cut positions [start, start + count) of the plan into shards of `shard_size` items; the last may be shorter."""
    if shard_size < 1:
        raise UsageError(f"shard size {shard_size}: must be at least 1")
    edges = [*range(start, start + count, shard_size), start + count]
    return [Shard(first_index + i, low, high) for i, (low, high) in enumerate(itertools.pairwise(edges))]


def from_column(shard_of_item: Sequence[int]) -> list[Shard]:
    """Rebuild the shards from the plan's `shard` column, whose values rise from 0 without a gap."""
    shards: list[Shard] = []
    for position, index in enumerate(shard_of_item):
        if shards and shards[-1].index == index:
            shards[-1] = Shard(index, shards[-1].start, position + 1)
        else:
            assert index == len(shards), f"plan: shard {index} where {len(shards)} was expected"
            shards.append(Shard(index, position, position + 1))
    return shards


def unplanned(keys: Iterable[str], planned: Collection[str]) -> list[int]:
    """Indices of the keys that no shard holds yet, in order."""
    known = frozenset(planned)
    return [index for index, key in enumerate(keys) if key not in known]


def remaining(shards: Iterable[Shard], done: Collection[int]) -> list[Shard]:
    """The shards that are not finished."""
    finished = frozenset(done)
    return [shard for shard in shards if shard.index not in finished]
