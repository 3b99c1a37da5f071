"""Reading a folder of ratings: what counts, what is left out and counted, what is refused."""

import json

import pytest
from agreement_folders import MODELS, events, rated, study, task, undone

from semscale.errors import StoreError, UsageError
from semscale.study.agreement.ratings import read_ratings


def test_the_last_rating_that_was_not_undone_counts(tmp_path):
    task(tmp_path, ["one", "two", "three", "four"])
    a, b = MODELS
    said = [rated("Ann", 0, a), rated("Ann", 0, b)]  # changed
    said += [rated("Ann", 1, a), undone("Ann", 1)]  # taken back
    said += [rated("Ann", 2, a), undone("Ann", 2), rated("Ann", 2, b)]  # taken back and given again
    said += [undone("Ann", 3)]  # nothing to take back
    events(tmp_path, "Ann", said)
    found = read_ratings(tmp_path)
    assert [(each.item, each.model) for each in found.ratings] == [("i0", b), ("i2", b)]
    assert (found.n_undone, found.n_replaced, found.n_torn) == (2, 1, 0)
    assert found.task.items[0].seeds == (3, 7)


@pytest.mark.parametrize("kept", [14, -1, None])
def test_half_a_last_line_is_left_out_and_counted_and_a_whole_one_counts(tmp_path, kept):
    task(tmp_path, ["one", "two"])
    torn = json.dumps(rated("Ann", 1, MODELS[0]))[:kept]
    events(tmp_path, "Ann", [rated("Ann", 0, MODELS[0])], torn=torn)
    found = read_ratings(tmp_path)
    expected = (["i0", "i1"], 0) if kept is None else (["i0"], 1)
    assert ([each.item for each in found.ratings], found.n_torn) == expected


def test_a_file_of_nothing_but_a_torn_line_has_no_rater(tmp_path):
    task(tmp_path, ["one"])
    events(tmp_path, "Ann", [], torn="{")
    found = read_ratings(tmp_path)
    assert (found.raters, found.n_torn) == ((), 1)


def test_raters_are_told_apart_by_name_whatever_its_case(tmp_path):
    task(tmp_path, ["one", "two"])
    events(tmp_path, "ann", [rated("Ann", 0, MODELS[0]), rated("ANN ", 1, MODELS[1])])
    found = read_ratings(tmp_path)
    assert found.raters == ("Ann",) and {each.rater for each in found.ratings} == {"Ann"}


def change(**values):
    return {**rated("Ann", 0, MODELS[0]), **values}


BAD_EVENTS = {
    "blank": (change(choice=""), "choice is ''"),
    "neither side": (change(choice="both"), "a choice is left or right"),
    "not where it was": (change(model=MODELS[1]), "is not where 'pixart' was"),
    "unknown model": (change(left="dalle", model="dalle"), "rates 'dalle' against 'pixart'.*SDXL and pixart"),
    "against itself": (change(right=MODELS[0]), "rates 'SDXL' against 'SDXL'"),
    "unknown item": (change(item="i9"), "item 'i9' is not in task.json"),
    "unknown event": (change(event="skipped"), "unknown event 'skipped'"),
    "no rater": (change(rater=None), "rater is None"),
    "time below 0": (change(seconds=-1), "seconds -1"),
    "time that is none": (change(seconds="2"), "seconds '2'"),
    "another rater": (change(rater="Bob"), "of rater 'Bob'; a file holds one rater"),
}


@pytest.mark.parametrize(("event", "message"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_a_wrong_event_is_refused_with_its_line(tmp_path, event, message):
    task(tmp_path, ["one", "two"])
    events(tmp_path, "Ann", [rated("Ann", 1, MODELS[0]), event])
    with pytest.raises(StoreError, match=f"ann.jsonl, line 2: .*{message}"):
        read_ratings(tmp_path)


@pytest.mark.parametrize("line", ["{", "[1]", "\x00", "", "[" * 100_000])
def test_a_broken_line_before_the_last_is_refused(tmp_path, line):
    task(tmp_path, ["one"])
    events(tmp_path, "Ann", [], torn=f"{line}\n{json.dumps(rated('Ann', 0, MODELS[0]))}\n")
    with pytest.raises(StoreError, match=r"ann\.jsonl, line 1: not an event"):
        read_ratings(tmp_path)


def test_a_rater_in_two_files_is_refused(tmp_path):
    task(tmp_path, ["one"])
    for name in ("ann", "ann-copy"):
        events(tmp_path, name, [rated("Ann", 0, MODELS[0])])
    with pytest.raises(StoreError, match=r"ann\.jsonl, line 1: of rater 'Ann'; .* a rater has one file"):
        read_ratings(tmp_path)


BAD_TASKS = {
    "another version": ({"format": 2}, StoreError, "another version"),
    "one model": ({"models": ["SDXL"]}, StoreError, "two different models"),
    "twice one model": ({"models": ["SDXL", "SDXL"]}, StoreError, "two different models"),
    "no items": ({"items": None}, StoreError, "not a task"),
    "an id twice": ({"items": [{"item": "i0", "prompt": p, "seeds": []} for p in "ab"]}, StoreError, "the same id"),
}


@pytest.mark.parametrize(("values", "kind", "message"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_a_wrong_task_is_refused(tmp_path, values, kind, message):
    study(tmp_path, {"Ann": "ab"})
    file = tmp_path / "task.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    with pytest.raises(kind, match=f"task.json: .*{message}"):
        read_ratings(tmp_path)


def test_a_folder_of_something_else_says_what_to_give(tmp_path):
    with pytest.raises(UsageError, match="no such folder; give the one that `semscale annotate` wrote"):
        read_ratings(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"task\.json: no such file"):
        read_ratings(tmp_path)


def test_what_annotate_writes_is_read(tmp_path):
    """Its own classes write the file; the two modules share nothing but the format."""
    ratings = pytest.importorskip("semscale.study.annotate.ratings", reason="annotate is not there")
    task(tmp_path, ["one", "two"])
    file = ratings.RatingsFile(tmp_path / "ratings" / f"{ratings.slug('Ann Ö')}.jsonl")
    for item in (0, 1):
        values = {name: value for name, value in rated("Ann Ö", item, MODELS[0]).items() if name != "event"}
        file.append(ratings.Rated(**values))
    file.append(ratings.Undone("Ann Ö", "i0", "2026-11-21T10:00:02+00:00"))
    found = read_ratings(tmp_path)
    assert [(each.rater, each.item) for each in found.ratings] == [("Ann Ö", "i1")]
    assert found.n_undone == 1
