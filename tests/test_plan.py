import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semscale import plan
from semscale.errors import UsageError
from semscale.model import Shard
from semscale.plan import KeyIndex, cut, from_column, remaining, runs


@given(st.integers(0, 500), st.integers(1, 64), st.integers(0, 1000), st.integers(0, 50))
def test_cut_covers_every_position_once(count, size, start, first):
    shards = cut(count, size, start=start, first_index=first)
    assert [p for s in shards for p in range(s.start, s.stop)] == list(range(start, start + count))
    assert [s.index for s in shards] == list(range(first, first + len(shards)))
    assert all(s.count == size for s in shards[:-1])
    assert all(0 < s.count <= size for s in shards)


@given(st.integers(0, 300), st.integers(1, 64))
def test_the_plan_column_gives_the_same_shards_back(count, size):
    shards = cut(count, size)
    assert from_column([s.index for s in shards for _ in range(s.count)]) == shards


def test_growth_leaves_old_shards_alone():
    first = cut(10, 4)
    later = cut(3, 4, start=10, first_index=len(first))
    assert from_column([s.index for s in first + later for _ in range(s.count)]) == first + later
    assert later == [Shard(3, 10, 13)]


def test_remaining():
    assert remaining(cut(10, 4), {0, 2}) == [Shard(1, 4, 8)]


@given(st.lists(st.integers(0, 60), unique=True))
def test_runs_are_the_slices_that_rising_indices_are_made_of(indices):
    indices.sort()
    slices = list(runs(np.array(indices, np.int64)))
    assert [i for low, high in slices for i in range(low, high)] == indices
    assert all(one[1] < other[0] for one, other in itertools.pairwise(slices))


class Listing(list):
    def slice(self, start, stop):
        return list(self[start:stop])


@given(st.lists(st.text(max_size=4), unique=True), st.lists(st.text(max_size=4)))
def test_keys_are_found_where_they_are_and_others_are_not(listed, asked):
    index = KeyIndex(Listing(listed).slice, len(listed))
    expected = [listed.index(key) if key in listed else -1 for key in listed + asked]
    assert index.find(listed + asked).tolist() == expected
    assert len(index) == len(listed)


@given(st.lists(st.text(max_size=4), unique=True), st.lists(st.text(max_size=4)))
def test_keys_of_one_hash_are_told_apart(listed, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_hashes", lambda keys: np.array([len(key) for key in keys], np.int64))
        index = KeyIndex(Listing(listed).slice, len(listed))
        expected = [listed.index(key) if key in listed else -1 for key in asked + listed]
        assert index.find(asked + listed).tolist() == expected


def test_a_key_index_works_block_by_block(monkeypatch):
    monkeypatch.setattr(plan, "BLOCK", 7)
    keys = [f"key {n}" for n in range(100)]
    index = KeyIndex(Listing(keys).slice, len(keys))
    assert index.find(["key 99", "key 3", "key 4", "none", "key 0"]).tolist() == [99, 3, 4, -1, 0]


def test_a_shard_size_below_one_is_refused():
    with pytest.raises(UsageError, match="shard size 0"):
        cut(5, 0)
