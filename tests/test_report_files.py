"""The files of a report: the page, its figures, every group as CSV, and what other commands left beside them."""

import csv
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from PIL import Image
from report_fixture import HOSTILE, make_tables, write_groups
from report_page import Page, report_of, undrawn

from semscale.errors import StoreError, UsageError
from semscale.report import write_report

FIGURES = {"interval-scs", "interval-clip-score", "distribution-scs", "distribution-clip-score"}
FIGURES |= {"consistency-by-alignment", "differences-scs-1", "differences-scs-2"}


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    return make_tables(tmp_path, n_images=2)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    tables = make_tables(tmp_path_factory.mktemp("written"), n_images=2)
    write_report(tables.write())
    return tables


def test_every_figure_is_an_svg_and_a_png_that_the_page_links_to(written):
    page = Page((written.out / "report.html").read_text(encoding="utf-8"))
    files = {path.name for path in (written.out / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}
    linked = {attrs["href"] for attrs in page.all("a") if attrs["href"].startswith("figures/")}
    assert linked == {f"figures/{name}" for name in files}
    for name in FIGURES:
        svg = (written.out / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert (
            svg.startswith("<?xml") and 'fill="#ffffff"' in svg and "currentColor" not in svg and "<dc:date" not in svg
        )
        picture = Image.open(written.out / "figures" / f"{name}.png")
        assert picture.width == 780 and picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_the_same_files_give_the_same_figures(written):
    before = {path: path.read_bytes() for path in (written.out / "figures").iterdir()}
    write_report(written.out)
    assert {path: path.read_bytes() for path in (written.out / "figures").iterdir()} == before


def test_figures_of_an_earlier_report_go_and_other_files_stay(small):
    folder = small.write() / "figures"
    folder.mkdir()
    for name in ("sweep-steps-scs.svg", "sensitivity.png", "mine.svg", "distribution-scs.txt"):
        (folder / name).touch()
    write_report(small.out)
    left = {path.name for path in folder.iterdir()} - {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}
    assert left == {"mine.svg", "distribution-scs.txt"}


def test_every_group_is_in_the_csv(written):
    with (written.out / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(written.out / "groups.parquet").to_pylist()
    assert [row["group"] for row in rows] == [row["group"] for row in table] and HOSTILE in {r["group"] for r in rows}
    assert [row["scs"] for row in rows if row["n"] == "1"] == [""]  # not "nan"
    assert [float(row["scs"]) for row in rows if row["scs"]] == [row["scs"] for row in table if row["n"] > 1]


def test_of_many_groups_both_ends_are_listed(small):
    small.write()
    write_groups(small.out, np.random.default_rng(3).normal(85, 12, 5_000).clip(0, 100))
    write_report(small.out)
    page = Page((small.out / "report.html").read_text(encoding="utf-8"))
    assert len(page.source) < 1_000_000
    assert "1,000 of 5,000 averaged groups, the least consistent first: both ends of the ranking." in page.words()
    body = page.section("groups").split("<tbody>")[1].split("</tbody>")[0]
    shown = [float(v) for v in re.findall(r'<td class="n" data-order="[^"]*">([\d.]+)</td>', body)[1::5]]
    scs = sorted(round(v, 2) for v in pq.read_table(small.out / "groups.parquet")["scs"].to_pylist())
    assert shown == scs[:500] + scs[-500:]
    assert "A random 1,500 of 5,000 groups." in page.words()
    assert len((small.out / "groups.csv").read_text().splitlines()) == 5_001


@pytest.mark.parametrize("name", ["summary.json", "groups.parquet", "images.parquet"])
def test_a_missing_file_is_named_and_the_old_report_stays(small, name):
    before = write_report(small.write()).read_bytes()
    (small.out / name).unlink()
    with pytest.raises(UsageError, match=re.escape(name)):
        write_report(small.out)
    (small.out / name).write_bytes(b"{ not what it should be")
    with pytest.raises(StoreError, match=re.escape(name)):
        write_report(small.out)
    assert (small.out / "report.html").read_bytes() == before
    assert sorted(p.name for p in small.out.iterdir() if "report" in p.name) == ["report.html"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 2}', '{"format": 1, "n_found": "many"}'])
def test_another_summary_is_refused(small, content):
    small.write()
    (small.out / "summary.json").write_text(content)
    with pytest.raises(StoreError, match="score again"):
        write_report(small.out)


def test_a_table_without_scores_is_refused(small):
    small.write()
    table = pq.read_table(small.out / "groups.parquet")
    pq.write_table(table.drop_columns(["scs"]), small.out / "groups.parquet")
    with pytest.raises(StoreError, match="has no column scs"):
        write_report(small.out)


def test_verdicts_of_other_commands_are_told_and_linked(small):
    out = small.write()
    assert "Human agreement" not in report_of(small).words()
    told = {"question": HOSTILE, "headline": ["3 raters: alpha 0.74", "scs agrees on 19"], "warnings": ["few raters"]}
    (out / "agreement.json").write_text(json.dumps(told))
    pairs = [{"sentence": "a is more consistent than b"}, {"sentence": "no difference shown"}]
    (out / "comparison.json").write_text(json.dumps({"warnings": [], "metrics": {"scs": {"pairs": pairs}}}))
    (out / "compare.html").touch()
    page = report_of(small)
    assert f"{HOSTILE} 3 raters: alpha 0.74 scs agrees on 19 few raters" in page.words()
    assert "a is more consistent than b no difference shown Every prompt, and paired tests" in page.words()
    links = {attrs["href"] for attrs in page.all("a")}
    assert {"agreement.json", "compare.html", "#agreement"} <= links and "agreement.html" not in links


@pytest.mark.parametrize("content", ["[]", "{", '{"headline": 3, "warnings": []}', "\udcff"])
def test_files_of_these_names_that_are_something_else_are_none(small, content):
    before = report_of(small).source
    for name in ("agreement.json", "comparison.json", "plan.json", "sensitivity.json"):
        (small.out / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    assert report_of(small).source == before
