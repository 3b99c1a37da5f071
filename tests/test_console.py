"""Progress as people see it."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import rich.console

from semscale import console
from semscale.console import Console, _Rate
from semscale.model import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_a_rate_counts_what_was_done_since_it_was_first_asked(clock):
    rate = _Rate()
    assert rate(120) is None  # of an earlier run, or of this one in an unknown time
    clock[0] += 2
    assert rate(120) is None
    clock[0] += 2
    assert rate(150) == 15  # since 120 was last all there was
    clock[0] += 2
    assert rate(160) == 10


def test_a_rate_begins_again_with_the_next_round_of_a_followed_source(clock):
    rate = _Rate()
    rate(0)
    clock[0] += 1
    assert rate(10) == 10
    clock[0] += 100
    assert rate(0) is None
    clock[0] += 1
    assert rate(5) == 5


def test_lines_say_no_rate_where_nothing_was_done_in_this_run(clock, capsys):
    with Console(quiet=False).progress() as tell:
        tell(Progress(120, 0, 120))
    assert capsys.readouterr().err == "120/120 images, 0 failed\n"


def test_lines_say_how_fast_and_how_long(clock, capsys):
    with Console(quiet=False).progress() as tell:
        tell(Progress(0, 0, 120))
        clock[0] += console.LINE_EVERY
        tell(Progress(40, 3, 120))
    assert capsys.readouterr().err == "40/120 images, 4 images/s, 3 failed, 20 s left\n"


@pytest.mark.parametrize("results", [True, False])
def test_a_line_said_beside_a_bar_goes_above_it_where_both_are_on_one_terminal(capsys, results):
    shown = Console(quiet=False)
    screen = io.StringIO()
    shown._err = rich.console.Console(file=screen, force_terminal=True, soft_wrap=True)
    shown._out = rich.console.Console(force_terminal=results, soft_wrap=True)
    with shown.progress() as tell:
        tell(Progress(1, 0, 2))
        shown.say("flat index")
    shown.say("done")
    said = capsys.readouterr().out
    assert ("flat index" in screen.getvalue()) == results == ("flat index" not in said)
    assert "done" in said and "1/2" in screen.getvalue()


def test_names_of_models_cannot_write_to_the_terminal(capsys):
    part = {"value": 1.0, "low": None, "high": None, "n": 1, "per": "image"}
    entry = {**part, "by_model": {"m\x1b[31mred\u202e\x07": part}}
    names = (
        "n_ok",
        "n_failed",
        "n_found",
        "n_groups",
        "n_ignored",
        "n_strays",
        "n_changed",
        "n_retried",
        "n_reused",
        "n_vanished",
    )
    about = {**dict.fromkeys(names, 0), "layout": "metadata", "models": {"image": {"note": ""}}}
    Console(quiet=False).scores(SimpleNamespace(summary={**about, "scores": {"scs": entry}}, out=Path("out")))
    shown = capsys.readouterr().out
    assert "red" in shown
    assert not {"\x1b", "\u202e", "\x07"} & set(shown)
