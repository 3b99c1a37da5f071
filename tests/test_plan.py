import pytest
from hypothesis import given
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.model import Shard
from semscale.plan import cut, from_column, remaining, unplanned


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


def test_unplanned_and_remaining():
    assert unplanned(["a", "b", "c", "d"], ["c", "a"]) == [1, 3]
    assert remaining(cut(10, 4), {0, 2}) == [Shard(1, 4, 8)]


def test_a_shard_size_below_one_is_refused():
    with pytest.raises(UsageError, match="shard size 0"):
        cut(5, 0)
