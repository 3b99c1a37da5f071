import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.search import blocks
from semscale.search.tiles import Tuning, open_join


def pairs_of(plan, *, symmetric):
    """Every pair of a plan, as often as it occurs."""
    return [(i, j) for block in plan for i in block.rows for j in block.columns if not symmetric or i < j]


@given(st.integers(0, 40), st.integers(1, 45))
def test_each_unordered_pair_is_in_exactly_one_block(n, panel):
    found = pairs_of(blocks.plan(n, blocks.triangle(n), panel=panel), symmetric=True)
    assert sorted(found) == [(i, j) for i in range(n) for j in range(i + 1, n)]
    assert len(found) == blocks.count_pairs(n)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 25))
def test_a_rectangle_holds_every_pair_once(n, m, panel):
    found = pairs_of(blocks.plan(n, blocks.rectangle(m), panel=panel), symmetric=False)
    assert sorted(found) == [(i, j) for i in range(n) for j in range(m)]
    assert len(found) == blocks.count_pairs(n, m)


@given(st.integers(0, 40), st.integers(1, 45))
def test_spans_cover_a_range_in_order(n, size):
    cut = blocks.spans(range(7, 7 + n), size)
    assert [i for span in cut for i in span] == list(range(7, 7 + n))
    assert all(len(span) <= size for span in cut)


@given(
    st.lists(st.integers(0, 6), max_size=30).map(sorted),
    st.lists(st.integers(0, 6), max_size=30).map(sorted),
    st.integers(1, 9),
)
@settings(deadline=None)
def test_inside_leaves_no_pair_of_one_group_out(rows, columns, panel):
    reach = blocks.inside(np.array(rows, int), np.array(columns, int), blocks.rectangle(len(columns)))
    found = pairs_of(blocks.plan(len(rows), reach, panel=panel), symmetric=False)
    wanted = {(i, j) for i, a in enumerate(rows) for j, b in enumerate(columns) if a == b}
    assert wanted <= set(found)
    assert len(found) == len(set(found))


def test_within_groups_the_work_grows_with_n_and_not_with_its_square():
    def work(n):
        groups = np.arange(n) // 20
        plan = blocks.plan(n, blocks.inside(groups, groups, blocks.triangle(n)), panel=100)
        return sum(len(block.rows) * len(block.columns) for block in plan)

    assert work(20_000) == 10 * work(2_000)


def test_the_plan_of_a_join_depends_on_valid_rows_and_the_panel_alone():
    rows = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    rows[3] = 0
    plans = [open_join(rows, None, None).plan(Tuning(panel=20, tile=tile, pairs=tile)) for tile in (1, 7, 30)]
    assert plans[0] == plans[1] == plans[2]
    assert [(block.rows, block.columns) for block in plans[0]] == [
        (range(0, 20), range(0, 49)),
        (range(20, 40), range(20, 49)),
        (range(40, 49), range(40, 49)),
    ]
