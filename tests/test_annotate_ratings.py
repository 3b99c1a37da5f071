"""Orders are by chance, balanced and repeatable; files of ratings survive what happens to them."""

import json
from collections import Counter

import pytest
from annotating import open_session, write_generators

from semscale.errors import StoreError, UsageError
from semscale.study.agreement.ratings import read_ratings
from semscale.study.annotate import ratings
from semscale.study.annotate.order import turns
from semscale.study.annotate.ratings import (
    Rated,
    RatingsFile,
    Undone,
    clean_name,
    identity,
    read_events,
    slug,
    standing,
)
from semscale.study.annotate.session import Answer, StaleError

ITEMS = [f"item{n}" for n in range(21)]


def answer(state, choice="left", **changes):
    values = {"rater": state.rater, "item": state.shown.item, "position": state.position, "seconds": 1.5}
    return Answer(**{**values, "choice": choice, **changes})


def event(item, choice="left", time="2026-01-01T00:00:00+00:00"):
    return Rated("Ann", item, 0, "a", "b", choice, "a", 1.0, time, {"left": ["x"], "right": ["y"]})


@pytest.fixture
def folders(tmp_path):
    return write_generators(tmp_path)


def test_an_order_is_repeatable_and_each_rater_has_another():
    orders = {rater: turns(ITEMS, rater=rater, seed=0) for rater in ("ann", "bob", "cid")}
    assert turns(ITEMS[::-1], rater="ann", seed=0) == orders["ann"]  # the order of the list has no part in it
    assert len({tuple(turn.item for turn in order) for order in orders.values()}) == 3
    assert turns(ITEMS, rater="ann", seed=1) != orders["ann"]
    assert [turn.item for turn in orders["ann"]] != ITEMS
    for order in orders.values():
        assert sorted(turn.item for turn in order) == sorted(ITEMS)


@pytest.mark.parametrize("n", [1, 2, 7, 20, 21])
def test_left_and_right_are_balanced_for_every_rater(n):
    lefts = [sum(turn.left for turn in turns(ITEMS[:n], rater=f"rater {r}", seed=0)) for r in range(40)]
    assert set(lefts) <= {n // 2, n - n // 2}
    if n % 2:
        assert len(set(lefts)) == 2  # chance decides whose side the odd one out is


def test_places_and_sides_are_by_chance():
    orders = [turns(ITEMS[:4], rater=str(r), seed=0) for r in range(1200)]
    firsts = Counter(order[0].item for order in orders)
    sides = Counter((turn.item, turn.left) for order in orders for turn in order)
    assert all(240 < count < 360 for count in firsts.values())  # 300 expected, 4 standard deviations are 60
    assert all(530 < count < 670 for count in sides.values())  # 600, 4 are 69
    together = Counter((order[0].left, order[1].left) for order in orders)
    assert together[0, 0] < together[0, 1]  # drawn without replacement, as a balanced order is


def test_only_standing_ratings_count():
    events = [event("x"), event("y"), Undone("Ann", "y", "t"), event("y", "right"), event("z"), Undone("Ann", "z", "t")]
    found = standing(events)
    assert list(found) == ["x", "y"]
    assert found["y"].choice == "right"


def test_events_survive_the_file(tmp_path):
    file = RatingsFile(tmp_path / "ratings" / "ann.jsonl")
    for each in (event("ü"), Undone("Ann", "ü", "t"), event("y")):
        file.append(each)
    again = RatingsFile(tmp_path / "ratings" / "ann.jsonl")
    assert again.events == file.events == [event("ü"), Undone("Ann", "ü", "t"), event("y")]


def test_a_torn_line_is_cut_off_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "ann.jsonl"
    RatingsFile(path).append(event("x"))
    whole = path.read_bytes()
    for kept in (1, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole + whole[:kept])
        assert read_events(path) == ([event("x")], kept)
        file = RatingsFile(path)
        assert file.was_torn
        assert path.read_bytes() == whole
    file.append(event("y"))
    assert [each.item for each in RatingsFile(path).events] == ["x", "y"]


def test_a_last_line_that_lacks_its_end_alone_counts_and_the_next_begins_on_its_own(tmp_path):
    path = tmp_path / "ann.jsonl"
    RatingsFile(path).append(event("x"))
    path.write_bytes(path.read_bytes()[:-1])
    file = RatingsFile(path)
    assert file.events == [event("x")] and not file.was_torn
    file.append(event("y"))
    file.append(event("z"))
    assert path.read_bytes().count(b"\n") == 3
    assert [each.item for each in RatingsFile(path).events] == ["x", "y", "z"]


def test_a_damaged_line_in_between_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "ann.jsonl"
    path.write_bytes(b'{"event": "rated"}\n')
    with pytest.raises(StoreError, match=r"ann\.jsonl: line 1 is no event"):
        RatingsFile(path)


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "ann.jsonl"
    file = RatingsFile(path)
    file.append(event("x"))
    before, real = path.read_bytes(), ratings.os.fsync
    fails = iter([True, False])

    def fsync(descriptor):
        if next(fails):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(ratings.os, "fsync", fsync)
    with pytest.raises(StoreError, match="disk is full"):
        file.append(event("y"))
    assert path.read_bytes() == before
    assert len(file.events) == 1


def test_raters_with_names_alike_have_files_of_their_own():
    names = ["Ann B", "ann-b", "Ann.B", "Änn B", "李", "王", "🦊", "a/../b", "x" * 80]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(each.isascii() and "/" not in each and not each.startswith(".") and len(each) < 50 for each in slugs)
    assert slug("Ann B") == slug("  ann   b ".strip().replace("   ", " "))
    assert identity("Ann B") == identity("ann  B ")


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "x" * 81, "a\x1b[2J", "\ud800"])
def test_names_that_cannot_be_are_refused(name):
    with pytest.raises(UsageError):
        clean_name(name)


def test_a_session_is_resumed_where_it_was(folders, tmp_path):
    session = open_session(folders, tmp_path / "out")
    first = session.state("Ann")
    second = session.rate(answer(first))
    assert (first.position, second.position, second.total) == (0, 1, 3)
    again = open_session(folders, tmp_path / "out")
    assert again.ratings() == {"Ann": 1}
    resumed = again.state("ann ")  # the same person
    assert (resumed.rater, resumed.position, resumed.shown.item) == ("Ann", 1, second.shown.item)
    assert again.rate(answer(again.rate(answer(resumed)), "right")).shown is None


def test_what_is_recorded_is_what_was_shown(folders, tmp_path):
    session = open_session(folders, tmp_path / "out")
    state = session.state("Ann")
    expected = []
    while state.shown:
        left = [session.picture(picture).data for picture in state.shown.left]
        expected.append((state.shown.prompt, left))
        state = session.rate(answer(state, "right", seconds=2.25))
    (file,) = (tmp_path / "out/ratings").iterdir()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    roots = {folder.name: folder for folder in folders}
    for position, (told, (prompt, left)) in enumerate(zip(events, expected, strict=True)):
        assert [(roots[told["left"]] / name).read_bytes() for name in told["files"]["left"]] == left
        assert all(name.startswith(f"{prompt}/") for name in told["files"]["right"])
        assert (told["event"], told["position"], told["seconds"]) == ("rated", position, 2.25)
        assert told["model"] == told["right"] != told["left"]
    assert {told["left"] for told in events} == set(roots)


def test_ids_of_pictures_say_nothing(folders, tmp_path):
    one, two = (open_session(folders, tmp_path / "out").state("Ann").shown for _ in range(2))
    assert one.item == two.item
    assert not set(one.left + one.right) & set(two.left + two.right)  # nor do they stay


def test_undo_takes_back_the_last_and_shows_it_again(folders, tmp_path):
    session = open_session(folders, tmp_path / "out")
    first = session.state("Ann")
    second = session.rate(answer(first))
    session.rate(answer(second))
    assert session.undo("Ann", 2).shown.item == second.shown.item
    with pytest.raises(StaleError):
        session.undo("Ann", 2)  # a double click
    assert session.undo("Ann", 1).shown.item == first.shown.item
    with pytest.raises(UsageError, match="no rating"):
        session.undo("Ann", 0)
    assert open_session(folders, tmp_path / "out").state("Ann").position == 0


def test_a_choice_counts_once_and_only_for_what_is_shown(folders, tmp_path):
    session = open_session(folders, tmp_path / "out")
    state = session.state("Ann")
    given = answer(state)
    after = session.rate(given)
    with pytest.raises(StaleError):
        session.rate(given)
    with pytest.raises(StaleError):
        session.rate(answer(after, item=state.shown.item))
    while after.shown:
        after = session.rate(answer(after))
    with pytest.raises(StaleError):
        session.rate(answer(state, position=3))
    assert session.ratings() == {"Ann": 3}


def test_agreement_reads_what_raters_said(folders, tmp_path):
    session = open_session(folders, tmp_path / "out")
    for name, choice in (("Ann", "left"), ("Bob", "right")):
        state = session.state(name)
        while state.shown:
            state = session.rate(answer(state, choice))
    session.undo("Bob", 3)
    read = read_ratings(tmp_path / "out")
    assert read.raters == ("Ann", "Bob")
    assert Counter(rating.rater for rating in read.ratings) == {"Ann": 3, "Bob": 2}
    assert (read.n_undone, read.n_torn) == (1, 0)
