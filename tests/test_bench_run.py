"""`semscale bench`: which cases run, what is told of each, and the exit status."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from semscale.errors import UsageError
from semscale_bench import run
from semscale_bench.cases import CASES
from semscale_bench.measure import Timing, measure
from semscale_bench.rows import Check, Outcome, Row


@pytest.fixture
def asked(monkeypatch):
    """Cases that measure nothing; the plans that they were given, by name."""
    plans = {}

    def run_case(name, plan):
        plans[name] = plan
        if name == "peers":
            raise UsageError("no peers here")
        worst = float("nan") if name == "scs" else 0.5
        checked = Row(
            name, "ours", "png", "images", Timing("ours", 10, (1.0, 2.0, 4.0), 5_000_000), Check("off by", worst, 1.0)
        )
        return Outcome(name, f"the regime of {name}", [checked], [f"{name} is said"], ["absent: why"])

    monkeypatch.setattr(run, "run_case", run_case)
    return plans


def bench(*arguments):
    return CliRunner().invoke(run.bench, list(arguments))


def last(result):
    return json.loads(result.stdout.splitlines()[-1])


def test_every_quick_case_runs_unless_some_are_named(asked):
    assert bench().exit_code == 1  # of the wrong one
    assert list(asked) == [name for name, case in CASES.items() if case.quick]


def test_cases_run_in_order_with_options_before_and_behind_them(asked, tmp_path):
    out = tmp_path / "new" / "found.json"
    result = bench("--repeats", "7", "store", "decode", "store", "--data", str(tmp_path), "--out", str(out))
    assert result.exit_code == 0, result.output
    assert list(asked) == ["store", "decode"]
    assert all((plan.repeats, plan.data, plan.model) == (7, tmp_path, "B/32") for plan in asked.values())
    assert json.loads(out.read_text()) == last(result)


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(asked, tmp_path):
    (tmp_path / "file").write_text("")
    told = bench("decode", "--out", str(tmp_path / "file" / "found.json"))
    assert told.exit_code == 2 and "found.json: cannot be written (" in told.stderr
    assert not asked
    assert bench("decode", "scs", "--out", str(tmp_path / "kept.json")).exit_code == 1  # measured, and told
    assert (tmp_path / "kept.json").exists()


def test_the_line_holds_rows_machine_commit_and_command(asked):
    line = last(bench("decode", "encode"))
    assert {"case", "rows", "machine", "commit", "command"} <= set(line)
    assert line["case"] == "decode encode"
    (decode, encode) = line["rows"]
    assert (decode["case"], encode["case"], decode["rate"], decode["spread"]) == ("decode", "encode", 5.0, 1.5)
    assert decode["seconds"] == [1.0, 2.0, 4.0] and decode["peak_bytes"] == 5_000_000
    assert decode["check"] == {"what": "off by", "worst": 0.5, "limit": 1.0, "passed": True}
    assert line["sentences"]["decode"] == ["decode is said"] and line["not_run"]["encode"] == ["absent: why"]


def test_people_see_rate_spread_check_and_words(asked):
    told = bench("decode").stdout
    for part in (
        "the regime of decode",
        "5.0 images",
        "150%",
        "off by 5.0e-01",
        "decode is said",
        "not run: absent: why",
    ):
        assert part in told


def test_a_wrong_output_is_an_error_and_nan_is_wrong(asked):
    result = bench("decode", "scs")
    assert result.exit_code == 1
    assert "scs, ours, png: off by is nan, above 1.0e+00" in result.stderr
    assert last(result)["rows"][1]["check"] == {"what": "off by", "worst": None, "limit": 1.0, "passed": False}


def test_a_case_that_cannot_run_does_not_end_the_others(asked):
    result = bench("peers", "decode")
    assert result.exit_code == 1
    assert list(asked) == ["peers", "decode"]
    assert "not run: no peers here" in result.stdout
    assert [row["case"] for row in last(result)["rows"]] == ["decode"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "no case 'nothing'; there are roofs, decode"),
        (["decode", "--batch-sizes", "1,,2"], "with commas between them"),
        (["decode", "--data", "not-there"], "does not exist"),
        (["decode", "--compare", "a"], "requires 2 arguments"),
    ],
)
def test_what_makes_no_sense_is_refused(asked, arguments, told):
    result = bench(*arguments)
    assert (result.exit_code, asked) == (2, {})
    assert told in result.stderr


def test_a_study_named_alone_has_options_of_its_own(asked):
    assert "--images" in bench("pairs", "--help").stdout
    assert bench("pairs", "decode", "--seconds", "0").exit_code == 0
    assert list(asked) == ["pairs", "decode"]
    assert bench("memory", "--seconds=1").exit_code == 0  # which the study does not know
    assert "memory" in asked


def test_help_names_every_case():
    told = " ".join(bench("--help").stdout.split())
    for name, case in CASES.items():
        assert f"{name} {case.summary}" in told


def test_rounds_go_on_until_enough_time_has_passed(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr("semscale_bench.measure.time.perf_counter", lambda: float(next(ticks)))
    timed = measure({"a": lambda: 1, "b": lambda: 1}, repeats=2, seconds=4.0)  # every go takes a second
    assert timed["a"].seconds == timed["b"].seconds == (1.0,) * 4
    assert len(measure({"a": lambda: 1}, repeats=6, seconds=4.0)["a"].seconds) == 6


def test_a_contestant_does_the_same_in_every_round():
    runs = []
    timed = measure({"a": lambda: runs.append(1) or 2}, repeats=2, seconds=1e-6)
    assert len(timed["a"].seconds) >= 2 and len(runs) == len(timed["a"].seconds) + 1
    assert measure({"a": lambda: 1}, repeats=3)["a"].peak_bytes > 1_000_000
    with pytest.raises(AssertionError, match="another number of items"):
        measure({"a": lambda: runs.append(1) or len(runs)}, repeats=1)
