"""`semscale bench --compare`: what counts as a change, what is warned of, and files that are none."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import rich.console

from semscale.errors import UsageError
from semscale_bench import rows
from semscale_bench.comparing import FASTER, SAME, SLOWER, compare, lines, table, values
from semscale_bench.measure import Timing

MACHINE = {"cpu": "one", "gpu": None, "cores": 2, "memory_bytes": 1, "packages": {"torch": "2.6", "numpy": "2.0"}}


def row(name="semscale", seconds=(1.0, 1.0, 1.0), *, data="jpeg", check=None, units=100, weights="-"):
    return rows.Row("decode", name, data, "images", Timing(name, units, seconds), check, weights)


def write(path, *made, machine=MACHINE, command="semscale bench decode --out x.json", regime="in memory"):
    """As `semscale bench --out` writes it."""
    found = rows.values([rows.Outcome("decode", regime, list(made))])
    path.write_text(json.dumps({**found, "machine": machine, "commit": "abc", "command": command}) + "\n")
    return path


@pytest.fixture
def pair(tmp_path):
    def make(before, after, **other):
        return compare(write(tmp_path / "a.json", *before), write(tmp_path / "b.json", *after, **other))

    return make


class TestNoise:
    @pytest.mark.parametrize(
        ("after", "verdict"),
        [(0.90, FASTER), (0.96, FASTER), (0.98, SAME), (1.0, SAME), (1.02, SAME), (1.04, SLOWER), (2.0, SLOWER)],
    )
    def test_quiet_rows_change_beyond_three_percent(self, pair, after, verdict):
        (change,) = pair([row()], [row(seconds=(after,) * 3)]).changes
        assert change.verdict == verdict and change.ratio == pytest.approx(1 / after) and change.noise == 0.03

    @pytest.mark.parametrize("noisy", ["before", "after"])
    def test_the_larger_spread_counts(self, pair, noisy):
        spread, plain = (0.9, 1.0, 1.2), (1.2, 1.2, 1.2)
        before, after = (spread, plain) if noisy == "before" else (plain, spread)
        (change,) = pair([row(seconds=before)], [row(seconds=after)]).changes
        assert change.noise == pytest.approx(0.3) and change.verdict == SAME

    def test_beyond_its_own_spread_it_counts(self, pair):
        found = pair([row(seconds=(0.9, 1.0, 1.2))], [row(seconds=(1.3, 1.4, 1.4))])
        assert found.changes[0].verdict == SLOWER and found.slower == found.changes

    def test_swapped_files_swap_the_verdict(self, pair):
        for seconds in (0.5, 0.8, 0.97, 0.9709, 1.0):
            one = pair([row()], [row(seconds=(seconds,) * 3)]).changes[0].verdict
            other = pair([row(seconds=(seconds,) * 3)], [row()]).changes[0].verdict
            assert {FASTER: SLOWER, SAME: SAME}[one] == other

    def test_rates_count_and_not_the_length_of_a_go(self, pair):
        (change,) = pair([row()], [row(units=200, seconds=(2.0, 2.0))]).changes
        assert change.ratio == 1.0


class TestRows:
    def test_they_match_by_name_data_and_weights(self, pair):
        found = pair(
            [row(), row(data="png"), row(weights="random")], [row(weights="given"), row(data="png"), row("Pillow")]
        )
        assert [change.key for change in found.changes] == [("decode", "semscale", "png", "-")]
        assert [key[1:] for key in found.only[0]] == [("semscale", "jpeg", "-"), ("semscale", "jpeg", "random")]
        assert [key[1:] for key in found.only[1]] == [("semscale", "jpeg", "given"), ("Pillow", "jpeg", "-")]
        said = lines(found)
        assert "only in a.json: decode, semscale, jpeg, random" in said
        assert said[-1] == f"1 rows in both: 0 {FASTER}, 0 {SLOWER}, 1 {SAME}"

    def test_nothing_in_common(self, pair):
        assert lines(pair([row("a")], [row("b")]))[-1].startswith("0 rows in both")

    def test_the_table_shows_names_as_they_are(self, pair):
        console = rich.console.Console(width=200, record=True, file=io.StringIO())
        console.print(table(pair([row(data="[red]mine[/]")], [row(seconds=(2.0,), data="[red]mine[/]")])))
        (line,) = console.export_text().splitlines()[1:]
        assert "[red]mine[/]" in line and "0.50x" in line and SLOWER in line

    def test_values_are_json(self, pair):
        found = json.loads(json.dumps(values(pair([row()], [row(seconds=(0.5,)), row("new")])), allow_nan=False))
        assert found["rows"][0]["verdict"] == FASTER and found["rows"][0]["rates"] == [100.0, 200.0]
        assert [key["name"] for key in found["only"][1]] == ["new"] and found["only"][0] == []


class TestWarnings:
    def test_equal_conditions_give_none(self, pair):
        assert pair([row()], [row()], command="semscale bench decode --out another.json").warnings == ()
        assert pair([row()], [row()], command="semscale bench decode --out=another.json").warnings == ()

    @pytest.mark.parametrize(
        ("other", "word"),
        [
            ({"machine": MACHINE | {"cpu": "two"}}, "other processors: a ratio between two machines says nothing"),
            ({"machine": MACHINE | {"cores": 4, "gpu": {"name": "H200"}}}, "other GPUs and numbers of cores"),
            ({"machine": MACHINE | {"packages": {"torch": "2.7", "numpy": "2.0"}}}, "other versions of torch:"),
            ({"machine": None}, "b.json does not say on which machine"),
            ({"regime": "from disk"}, "decode, semscale, jpeg: measured in another way, 'in memory' and 'from disk'"),
            ({"command": "semscale bench decode --seconds 9"}, "other commands: 'semscale bench decode' and"),
            ({"command": "semscale bench 'decode"}, "other commands"),
        ],
    )
    def test_what_differs_is_told(self, pair, other, word):
        (warning,) = pair([row()], [row()], **other).warnings
        assert word in warning

    def test_a_wrong_output_is_told(self, pair):
        wrong = row(check=rows.Check("difference", float("nan"), 1.0))
        (warning,) = pair([row()], [wrong]).warnings
        assert "wrong in b.json" in warning


ROW = rows.values([rows.Outcome("decode", "r", [row()])])["rows"][0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no JSON"),
        ("\n \n", "no JSON"),
        ("case decode", "no JSON"),
        ('{"case": "decode", "rows": [', "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "another layout"),
        ("null", "another layout"),
        ('{"regime": "x", "unit": "groups", "timings": []}', "another layout"),  # as it was written before
        ('{"rows": [{"regime": "embed", "images": 2000}], "machine": {}}', "another layout"),
        ('{"case": "decode", "rows": {}}', "another layout"),
        ('{"case": "decode", "rows": [7]}', "row 0"),
        ('{"case": "decode", "rows": [{"case": "decode"}]}', "row 0: lacks 'name'"),
        (json.dumps({"case": "decode", "rows": [ROW, ROW]}), "row 1: decode, semscale, jpeg is there twice"),
        *(
            (json.dumps({"case": "decode", "rows": [ROW | {"rate": rate}]}), "row 0: rate")
            for rate in (0, -1, None, "9")
        ),
        ('{"case": "decode", "rows": [' + json.dumps(ROW).replace("100.0", "NaN") + "]}", "row 0: rate nan"),
        (json.dumps({"case": "decode", "rows": [ROW | {"spread": -0.1}]}), "row 0: spread"),
        (json.dumps({"case": "decode", "rows": [ROW | {"data": ["jpeg"]}]}), "row 0: data is no text"),
        (json.dumps({"case": "decode", "rows": [ROW | {"check": 5}]}), "row 0"),
    ],
)
def test_other_files_are_refused_by_name_with_a_cure(text, word, tmp_path):
    good, bad = write(tmp_path / "good.json", row()), tmp_path / "bad.json"
    bad.write_text(text)
    for files in ((good, bad), (bad, good)):
        with pytest.raises(UsageError) as refusal:
            compare(*files)
        assert "bad.json: " in str(refusal.value) and word in str(refusal.value) and "bench --out" in str(refusal.value)


def test_no_file_at_all(tmp_path):
    good = write(tmp_path / "good.json", row())
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, word in (
        (tmp_path / "none.json", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "binary", "UTF-8"),
    ):
        with pytest.raises(UsageError, match=word):
            compare(good, path)


def test_the_last_line_of_what_was_printed_counts(tmp_path):
    printed = write(tmp_path / "log.txt", row())
    printed.write_text("case  per second\ndecode  100\n" + printed.read_text() + "\n\n")
    assert len(compare(printed, printed).changes) == 1


def test_files_of_the_repository_are_compared_or_refused():
    for path in sorted((Path(__file__).parents[1] / "bench" / "results").glob("*.json")):
        try:
            assert all(change.ratio == 1 for change in compare(path, path).changes)
        except UsageError as error:
            assert str(path) in str(error)
