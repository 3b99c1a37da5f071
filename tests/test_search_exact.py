import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import PRECISIONS, every_looker, joined, nearest, same, stored  # noqa: F401 - a fixture

from semscale.errors import UsageError
from semscale.search import EQUAL, FLOAT32, Groups, Tuning, pairs_above, reference, top_k
from semscale.search.looking_cpu import FloatLooker
from semscale.store import Rows

pytestmark = [
    pytest.mark.usefixtures("every_looker"),
    pytest.mark.filterwarnings("ignore:overflow encountered in multiply"),  # of the hostile rows
]
tunings = st.builds(
    Tuning,
    products=st.sampled_from(PRECISIONS),
    tile=st.sampled_from([1, 9, 16, 33, 100]),
    panel=st.sampled_from([7, 30, 64, 100]),
    pairs=st.integers(1, 50),
)
ordinary = settings(max_examples=40, deadline=None)


def clusters(n, dim=16, seed=0, spread=0.3):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(n // 8, 1), dim))
    return (centres[rng.integers(0, len(centres), n)] + spread * rng.standard_normal((n, dim))).astype(np.float32)


@given(stored(), st.sampled_from([-1.0, -0.2, 0.0, 0.5, 0.9, 1.0]), tunings)
@ordinary
def test_pairs_are_those_of_the_brute_force_to_the_last_bit(rows, threshold, tuning):
    same(joined(rows, threshold, tuning=tuning), reference.pairs_above(rows, threshold))


@given(stored(), st.integers(0, 70), tunings)
@ordinary
def test_neighbours_are_those_of_the_brute_force_to_the_last_bit(rows, k, tuning):
    same(nearest(rows, k, tuning=tuning), reference.top_k(rows, k))


@given(st.data(), st.integers(1, 20), st.sampled_from([0.0, 0.5, 1.0]), tunings)
@ordinary
def test_between_two_sets(data, dim, threshold, tuning):
    left, right = data.draw(stored(30, dim)), data.draw(stored(30, dim))
    found = joined(left, threshold, other=right, tuning=tuning)
    same(found, reference.pairs_above(left, threshold, other=right))
    b, a, similarity = joined(right, threshold, other=left, tuning=tuning)
    order = np.lexsort((b, a))
    same(found, (a[order], b[order], similarity[order]))
    k = data.draw(st.integers(0, 35))
    same(nearest(left, k, queries=right, tuning=tuning), reference.top_k(left, k, queries=right))


@given(stored(), st.sampled_from(["within", "across"]), st.integers(1, 12), tunings, st.integers(0, 99))
@ordinary
def test_within_and_across_groups(rows, mode, n_groups, tuning, seed):
    rng = np.random.default_rng(seed)
    groups = Groups(mode, rng.integers(0, n_groups, len(rows)))
    same(joined(rows, 0.3, groups=groups, tuning=tuning), reference.pairs_above(rows, 0.3, groups=groups))
    same(nearest(rows, 4, groups=groups, tuning=tuning), reference.top_k(rows, 4, groups=groups))
    between = Groups(mode, groups.rows, rng.integers(0, n_groups, 20))
    other = rng.standard_normal((20, rows.shape[1])).astype(np.float32)
    expected = reference.pairs_above(rows, 0.1, other=other, groups=between)
    same(joined(rows, 0.1, other=other, groups=between, tuning=tuning), expected)
    expected = reference.top_k(rows, 4, queries=other, groups=between)
    same(nearest(rows, 4, queries=other, groups=between, tuning=tuning), expected)


@pytest.mark.parametrize("products", PRECISIONS, ids=str)
def test_a_threshold_that_is_a_similarity_includes_it_and_the_next_number_does_not(products):
    rows = clusters(80)
    similarities = np.sort(reference.pairs_above(rows, -1.0)[2])
    for threshold in similarities[:: len(similarities) // 12]:
        above = np.nextafter(threshold, 2.0)
        counts = [len(joined(rows, float(t), tuning=Tuning(products, tile=32))[0]) for t in (threshold, above)]
        assert counts == [(similarities >= threshold).sum(), (similarities > threshold).sum()]


def test_pairs_that_float32_puts_on_the_wrong_side():
    rows = clusters(400, dim=512, spread=1.0)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    reduced = units @ units.T
    a, b, exact = reference.pairs_above(rows, -1.0)
    for threshold in np.quantile(exact, [0.9, 0.99, 0.999]):
        near = exact[np.argsort(np.abs(exact - threshold))[:2]].mean()  # between two similarities that occur
        wrong = (reduced[a, b] >= exact) != (exact >= near)
        assert wrong.any()
        same(joined(rows, float(near)), reference.pairs_above(rows, float(near)))
    rounds_up = np.flatnonzero(reduced[a, b].astype(np.float64) > exact)[:5]
    for place in rounds_up:  # a plain float32 join would take these
        threshold = float(np.nextafter(exact[place], 2.0))
        assert float(reduced[a[place], b[place]]) >= threshold
        found = joined(rows, threshold)
        assert (a[place], b[place]) not in set(zip(found[0].tolist(), found[1].tolist(), strict=True))


def test_a_threshold_of_one_is_equality_within_rounding():
    base = np.random.default_rng(0).standard_normal(64)
    aside = np.random.default_rng(1).standard_normal(64)
    aside -= base * (aside @ base) / (base @ base)
    aside *= np.linalg.norm(base) / np.linalg.norm(aside)

    def turned(gap):  # by the angle whose cosine is 1 - gap
        return (1 - gap) * base + np.sqrt(1 - (1 - gap) ** 2) * aside

    rows = np.array([base, base, 3 * base, turned(EQUAL / 2), turned(2 * EQUAL)]).astype(np.float32)
    a, b, similarity = joined(rows, 1.0)
    assert {(0, 1), (0, 2), (0, 3)} <= set(zip(a.tolist(), b.tolist(), strict=True))
    assert (0, 4) not in set(zip(a.tolist(), b.tolist(), strict=True))
    assert similarity[0] == 1.0  # equal rows are exactly 1
    assert similarity.min() >= 1 - EQUAL
    same(joined(rows, 1 - EQUAL / 3), (a, b, similarity))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("products", PRECISIONS, ids=str)
def test_results_do_not_depend_on_threads(products, workers):
    rows, tuning = clusters(300), Tuning(products, tile=40, panel=170, workers=workers)
    same(joined(rows, 0.6, tuning=tuning), reference.pairs_above(rows, 0.6))
    same(nearest(rows, 7, tuning=tuning), reference.top_k(rows, 7))


@pytest.mark.parametrize("tile", [64, 1024])
def test_thousands_of_equal_rows_stay_bounded_and_go_by_row_number(tile):
    rows = np.tile(np.random.default_rng(0).standard_normal(8).astype(np.float32), (1500, 1))
    ids, similarity = nearest(rows, 3, tuning=Tuning(tile=tile))
    assert (similarity == 1.0).all()
    assert ids[0].tolist() == [1, 2, 3] and ids[1].tolist() == [0, 2, 3]
    assert (ids[3:] == [0, 1, 2]).all()


@pytest.mark.parametrize("mode", ["within", "across"])
def test_equal_rows_go_by_row_number_also_when_groups_lie_scattered(mode):
    rows = np.ones((300, 4), np.float32)
    groups = Groups(mode, np.random.default_rng(0).integers(0, 3, 300))
    found = nearest(rows, 2, groups=groups, tuning=Tuning(tile=16, panel=64))
    same(found, reference.top_k(rows, 2, groups=groups))


def test_thousands_of_nearly_equal_rows():
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal(8) + 1e-6 * rng.standard_normal((600, 8))).astype(np.float32)
    for products in PRECISIONS:
        same(nearest(rows, 3, tuning=Tuning(products, tile=128)), reference.top_k(rows, 3))


def test_rows_that_come_ever_closer():
    """Each tile is better than all before it, so that no floor helps."""
    angle = np.linspace(1.5, 0.0, 500)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    query = np.array([[1.0, 0.0]], np.float32)
    same(nearest(rows, 5, queries=query, tuning=Tuning(tile=64)), reference.top_k(rows, 5, queries=query))


def test_no_result_holds_more_pairs_than_asked_and_each_block_ends_once():
    rows = clusters(200)
    found = list(pairs_above(rows, -1.0, tuning=Tuning(tile=32, panel=64, pairs=100)))
    assert max(len(pairs.a) for pairs in found) == 100
    assert sum(len(pairs.a) for pairs in found) == 200 * 199 // 2
    assert [pairs.block for pairs in found if pairs.last] == [0, 1, 2, 3]
    assert [pairs.block for pairs in found] == sorted(pairs.block for pairs in found)


def test_resuming_at_a_block_gives_what_was_left():
    rows = clusters(200)
    tuning = Tuning(tile=32, panel=64, pairs=100)
    whole = list(pairs_above(rows, 0.5, tuning=tuning))
    rest = list(pairs_above(rows, 0.5, tuning=tuning, first=2))
    left = [pairs for pairs in whole if pairs.block >= 2]
    assert len(left) == len(rest)
    for before, after in zip(left, rest, strict=True):
        same((before.a, before.b, before.similarity), (after.a, after.b, after.similarity))


def test_each_block_is_heard_of_even_when_groups_leave_it_empty():
    rows = clusters(10)
    found = list(pairs_above(rows, -1.0, groups=Groups("within", np.arange(10)), tuning=Tuning(panel=2)))
    assert [(pairs.block, len(pairs.a), pairs.last) for pairs in found] == [(i, 0, True) for i in range(5)]


def test_a_store_is_read_in_slices_and_a_float16_store_as_it_is_stored():
    rows = clusters(300).astype(np.float16)
    shards = Rows([rows[:100], rows[100:101], rows[101:]], 16)
    asked = []

    class Watched:
        shape = shards.shape

        def take(self, wanted):
            asked.append(len(wanted))
            return shards.take(wanted)

    tuning = Tuning(tile=32, panel=64)
    same(joined(Watched(), 0.7, tuning=tuning), reference.pairs_above(rows.astype(np.float32), 0.7))
    assert max(asked) < 2048 + 1


def test_a_block_goes_before_the_next_is_made(monkeypatch):
    """A block is the largest thing in memory."""
    panels, alive = [], []
    left = FloatLooker.left

    def watched(looking, units):
        alive.append(sum(panel() is not None for panel in panels))
        panels.append(weakref.ref(units))
        return left(looking, units)

    monkeypatch.setattr(FloatLooker, "left", watched)
    monkeypatch.setattr(FloatLooker, "right", left)
    tuning = Tuning(FLOAT32, tile=16, panel=50, workers=1)
    joined(clusters(200), 0.5, tuning=tuning)
    nearest(clusters(200), 5, tuning=tuning)
    assert alive == [0] * 8


def test_errors_say_what_to_do():
    rows = clusters(5)
    with pytest.raises(UsageError, match=r"threshold of 1\.5; similarities are from -1 to 1"):
        pairs_above(rows, 1.5)
    with pytest.raises(UsageError, match="threshold of nan"):
        pairs_above(rows, float("nan"))
    with pytest.raises(UsageError, match="k of -1; give at least 0"):
        top_k(rows, -1)
    with pytest.raises(UsageError, match=r"array of float64 with the shape .5, 16.; give"):
        pairs_above(rows.astype(np.float64), 0.5)
    with pytest.raises(UsageError, match="rows of 16 numbers and rows of 4"):
        pairs_above(rows, 0.5, other=rows[:, :4])
    with pytest.raises(UsageError, match="one number for each row"):
        pairs_above(rows, 0.5, groups=Groups("within", np.arange(4)))
    with pytest.raises(UsageError, match="`columns`"):
        pairs_above(rows, 0.5, other=rows, groups=Groups("within", np.arange(5)))
    with pytest.raises(UsageError, match="unknown mode 'inside'"):
        Groups("inside", np.arange(5))
    with pytest.raises(UsageError, match="tile of 0"):
        Tuning(tile=0)
