"""The files of a comparison: its page made from them alone, with pictures side by side, and what they must hold."""

import hashlib
import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from compared_folders import PROMPTS, scores, write_results
from images import png
from matplotlib.figure import Figure
from report_fixture import HOSTILE, make_tables
from report_page import Page, check_outline, undrawn

from semscale.cli_compare import compare as command
from semscale.errors import StoreError, UsageError
from semscale.study.comparison.comparing import compare_runs
from semscale.study.comparison.findings import read_findings
from semscale.study.comparison.pictured import furthest, pictured
from semscale.study.rebuilding import rebuild


def pictures_of(folder, seeds):
    """Give every image of the results a file."""
    table = pq.read_table(folder / "images.parquet").to_pylist()
    for n, row in enumerate(table):
        path = folder / f"{n}.png"
        path.write_bytes(png(n))
        row |= {"uri": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        row["seed"] = row["seed"] and row["seed"] + seeds
    pq.write_table(pq.read_table(folder / "images.parquet").from_pylist(table), folder / "images.parquet")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A comparison with pictures, of runs whose tables have gone since."""
    root = tmp_path_factory.mktemp("pictured")
    prompts = (*PROMPTS[:7], HOSTILE)
    runs = [write_results(root / name, {name: scores(shift, prompts, noise=shift + 1)}) for name, shift in
            (("sdxl", 0), ("pixart", 3))]  # fmt: skip
    for run, seeds in zip(runs, (0, 1), strict=True):
        pictures_of(run, seeds)
    done = CliRunner().invoke(command, [*map(str, runs), "-o", str(root / "out"), "--quiet", "--metric", "scs"])
    assert done.exit_code == 0, done.output
    for run in runs:
        for name in ("summary.json", "groups.parquet", "images.parquet"):
            (run / name).unlink()
    return root / "out"


def test_the_page_is_made_again_from_the_files_alone(written):
    before = {path: path.read_bytes() for path in sorted(written.rglob("*")) if path.is_file()}
    shutil.rmtree(written / "figures")
    (written / "compare.html").unlink()
    assert rebuild(written) == [written / "compare.html"]
    assert {path: path.read_bytes() for path in sorted(written.rglob("*")) if path.is_file()} == before


def test_prompts_at_both_ends_are_shown_seed_by_seed(written):
    source = (written / "compare.html").read_text(encoding="utf-8")
    page = Page(source)
    section = page.section("pictures")
    found = read_findings(written)
    differences = dict(zip(found.metrics[0].prompts, found.metrics[0].values @ [-1, 1], strict=True))
    order = sorted(differences, key=differences.get, reverse=True)
    assert [each.prompt for each in found.side_by_side] == [*order[:3], *order[-3:]]
    assert re.findall(r'<span class="small name">([^<]*)</span> ([+-][\d.]+)', section) == [
        ("\u2068pixart\u2069 − \u2068sdxl\u2069", f"{differences[prompt]:+.2f}") for prompt in (*order[:3], *order[-3:])
    ]
    assert re.findall(r'<th scope="col">(seed \d+)</th>', section) == ["seed 2", "seed 3"] * 6  # of 1 to 3, and 2 to 4
    images = page.all("img")
    assert len(images) == 6 * 2 * 2 and all(image["src"].startswith("data:image/jpeg") for image in images)
    assert images[0]["alt"] == f"sdxl, {order[0]}, seed 2"
    assert page.all("article") == [] and "onerror" not in [name for _, attrs in page.elements for name in attrs]
    check_outline(source)


def test_a_picture_that_has_gone_leaves_a_frame(written, tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    shutil.copytree(written, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "comparison.json").read_text())
    told["side_by_side"][0]["models"][0]["images"][0]["uri"] = "/nowhere.png"
    (tmp_path / "out" / "comparison.json").write_text(json.dumps(told))
    rebuild(tmp_path / "out")
    assert (tmp_path / "out" / "compare.html").read_text(encoding="utf-8").count("file not found</div>") == 1


@pytest.mark.parametrize(
    ("break_it", "error", "said"),
    [
        (
            lambda out: (out / "pairs.parquet").unlink(),
            UsageError,
            "pairs.parquet: no such file; run `semscale compare",
        ),
        (lambda out: (out / "unmatched.parquet").write_bytes(b"x"), StoreError, "tables cannot be read"),
        (lambda out: (out / "comparison.json").write_text("{"), StoreError, "no JSON: Expecting property name"),
        (lambda out: (out / "comparison.json").write_text("[]"), StoreError, "not a comparison"),
        (lambda out: (out / "comparison.json").write_text('{"format": 1}'), StoreError, "of another version"),
        (lambda out: fewer(out / "pairs.parquet"), StoreError, "are of different comparisons"),
        (lambda out: (out / "comparison.json").unlink(), UsageError, "holds no results"),
    ],
)
def test_what_is_missing_or_broken_is_said(written, tmp_path, break_it, error, said):
    for name in ("comparison.json", "pairs.parquet", "unmatched.parquet"):
        shutil.copy(written / name, tmp_path)
    break_it(tmp_path)
    with pytest.raises(error, match=re.escape(said)):
        rebuild(tmp_path)


def fewer(path):
    pq.write_table(pq.read_table(path).slice(1), path)


def test_a_folder_of_a_run_and_a_comparison_gets_both_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    out = make_tables(tmp_path, n_images=2).write()
    CliRunner().invoke(command, [str(out), "-o", str(out), "--quiet", "--metric", "scs"], catch_exceptions=False)
    (out / "compare.html").unlink()
    assert rebuild(out) == [out / "report.html", out / "compare.html"]
    assert 'href="compare.html"' in (out / "report.html").read_text(encoding="utf-8")


def test_of_several_models_the_prompts_furthest_apart_are_shown_the_highest_first(tmp_path):
    models = {name: scores(shift, noise=shift + 1) for shift, name in enumerate("abc")}
    models["c"][PROMPTS[4]] += 30
    study = compare_runs(write_results(tmp_path / "run", models))
    compared = study.metrics[0]
    assert len(furthest(compared)) == 6
    shown = pictured(study)[0]
    assert (shown["prompt"], shown["models"][0]["model"]) == (PROMPTS[4], "c")


def test_of_few_prompts_none_is_shown_twice(tmp_path):
    for n in (1, 4, 6):
        folder = write_results(tmp_path / str(n), {"a": scores(0, PROMPTS[:n]), "b": scores(2, PROMPTS[:n], noise=1)})
        rows = furthest(compare_runs(folder, metrics=["scs"]).metrics[0])
        assert sorted(rows) == list(range(n))


def test_results_that_do_not_say_where_images_are_have_no_pictures(tmp_path):
    folder = write_results(tmp_path / "run", {"a": scores(), "b": scores(2, noise=1)})
    pq.write_table(pq.read_table(folder / "images.parquet").drop(["uri"]), folder / "images.parquet")
    assert pictured(compare_runs(folder, metrics=["scs"])) == []
