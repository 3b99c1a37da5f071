"""The files of an agreement: its page made from them alone, with pictures, and what they must hold."""

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from agreement_folders import MODELS, scores, study
from click.testing import CliRunner
from matplotlib.figure import Figure
from report_fixture import HOSTILE
from report_page import undrawn

from semscale.cli_agreement import agreement
from semscale.cli_report import report
from semscale.errors import StoreError, UsageError
from semscale.study.agreement.agreeing import agree
from semscale.study.agreement.files import write_agreement
from semscale.study.agreement.findings import read_findings
from semscale.study.agreement.words import of_metric, of_raters
from semscale.study.rebuilding import rebuild

A, B = MODELS
NAMES = ("agreement.json", "items.parquet", "agreement.html")
ANSWERS = {"Ann": "aabb-aab", "Bob": "ab-b-abb", "Cem": "aabbb-ab"}
PROMPTS = [HOSTILE, "line\nbreak", *(f"prompt {n}" for n in range(2, 7)), "not \udce4 UTF-8"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of files, with a metric and pictures and without, of ratings and scores that have gone since."""
    root = tmp_path_factory.mktemp("agreement")
    study(root / "ratings", ANSWERS, PROMPTS)
    values = {p: {A: 90.0 + n, B: 93.0} for n, p in enumerate([*PROMPTS[:7], "not rated"])}
    run = scores(root / "run", values, pictures=True)
    found = agree(root / "ratings", scores=[run]), agree(root / "ratings")
    for name, options in (("with", ["--scores", run]), ("without", [])):
        ask = [root / "ratings", *options, "-o", root / name, "--quiet"]
        done = CliRunner().invoke(agreement, [*map(str, ask)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    shutil.rmtree(root / "ratings")
    for path in run.glob("*.*"):
        path.unlink()
    return root, found


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["with", "without"])
def test_the_page_is_made_again_from_the_files_alone(made, name):
    out = made[0] / name
    before = contents(out)
    (out / "agreement.html").unlink()
    done = CliRunner().invoke(report, [str(out)], catch_exceptions=False)
    assert done.output == f"{out / 'agreement.html'}\n"
    assert contents(out) == before and set(before) == set(NAMES)
    shown = (out / "agreement.html").read_text(encoding="utf-8")
    assert shown.count("data:image/jpeg") == (0 if name == "without" else 2 * 2 * shown.count('<div class="panel">'))
    assert ("Disagreements" in shown) is (name == "with")


def test_the_files_say_of_the_figures_what_was_found(made):
    root, both = made
    for name, found in zip(("with", "without"), both, strict=True):
        again = read_findings(root / name)
        assert list(of_raters(again)) == list(of_raters(found))
        assert (again.n_items, again.n_ratings, again.n_raters) == (8, 20, 3) == (found.n_items, 20, found.n_raters)
        assert again.items.counts.tolist() == found.counts.tolist()
        assert again.raters == found.raters and again.cohen == found.cohen
    metric, again = both[0].metric, read_findings(root / "with").metric
    assert list(of_metric(again)) == list(of_metric(metric)) and again.chooses == metric.chooses
    assert [each.prompt for each in again.unmatched] == ["not ? UTF-8", "not rated"]
    assert again.n_apart == len(again.apart) == len(both[0].disagreements) == 3


def test_a_picture_that_has_gone_leaves_a_frame(made, tmp_path):
    shutil.copytree(made[0] / "with", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "agreement.json").read_text(encoding="utf-8"))
    told["metric"]["disagreements"][0]["images"][A][0]["uri"] = "/nowhere.png"
    (tmp_path / "out" / "agreement.json").write_text(json.dumps(told), encoding="utf-8")
    rebuild(tmp_path / "out")
    assert (tmp_path / "out" / "agreement.html").read_text(encoding="utf-8").count("file not found</div>") == 1


def test_a_folder_of_a_run_and_an_agreement_gets_both_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    study(tmp_path / "ratings", ANSWERS, PROMPTS)
    out = scores(tmp_path / "run", {prompt: {A: 90.0, B: 91.0} for prompt in PROMPTS[:7]})
    write_agreement(out, agree(tmp_path / "ratings", scores=[out]), {})
    before = (out / "agreement.html").read_bytes()
    (out / "agreement.html").unlink()
    assert rebuild(out) == [out / "report.html", out / "agreement.html"]
    assert (out / "agreement.html").read_bytes() == before
    assert 'href="agreement.html"' in (out / "report.html").read_text(encoding="utf-8")


def changed(**said):
    def change(out):
        told = json.loads((out / "agreement.json").read_text(encoding="utf-8"))
        (out / "agreement.json").write_text(json.dumps({**told, **said}), encoding="utf-8")

    return change


def fewer(out):
    pq.write_table(pq.read_table(out / "items.parquet").slice(1), out / "items.parquet")


def of_another_metric(out):
    table = pq.read_table(out / "items.parquet")
    at = table.schema.get_field_index("metric")
    pq.write_table(table.set_column(at, "metric", [["clip-score"] * len(table)]), out / "items.parquet")


@pytest.mark.parametrize(
    ("break_it", "error", "said"),
    [
        (lambda out: (out / "items.parquet").unlink(), UsageError, "items.parquet: no such file; run `semscale agreem"),
        (lambda out: (out / "items.parquet").write_bytes(b"x"), StoreError, "items.parquet: cannot be read"),
        (lambda out: pq.write_table(pa.table({"a": [1]}), out / "items.parquet"), StoreError, "table of rated items"),
        (
            lambda out: (out / "agreement.json").write_text("{"),
            StoreError,
            "agreement.json: not an agreement of raters",
        ),
        (lambda out: (out / "agreement.json").write_text("[" * 99_999), StoreError, "nested too deeply"),
        (lambda out: (out / "agreement.json").write_bytes(b"\xff"), StoreError, "not UTF-8"),
        (lambda out: (out / "agreement.json").write_text("[]"), StoreError, "a part of it is of the wrong kind"),
        (lambda out: (out / "agreement.json").write_text('{"format": 1}'), StoreError, "lacks 'cohen_kappa'"),
        (changed(format=2), StoreError, "of another version of semscale; run `semscale agreement` again"),
        (changed(left={}), StoreError, "lacks 'value'"),
        (changed(seconds_median="long"), StoreError, "a part of it is of the wrong kind"),
        (changed(models=[A, B, "third"]), StoreError, "agreement.json: not an agreement of raters"),
        (changed(models=[B, A]), StoreError, "are of different agreements"),
        (changed(n_ratings=19), StoreError, "are of different agreements"),
        (changed(metric=None), StoreError, "are of different agreements"),
        (fewer, StoreError, "are of different agreements"),
        (of_another_metric, StoreError, "are of different agreements"),
        (lambda out: (out / "agreement.json").unlink(), UsageError, "holds no results; give a folder"),
    ],
)
def test_what_is_missing_or_broken_is_said(made, tmp_path, break_it, error, said):
    for name in NAMES:
        shutil.copy(made[0] / "with" / name, tmp_path)
    break_it(tmp_path)
    page = (tmp_path / "agreement.html").read_bytes()
    with pytest.raises(error, match=re.escape(said)):
        rebuild(tmp_path)
    assert (tmp_path / "agreement.html").read_bytes() == page
