"""The report: what it says, what it must never say, and that no input can break it."""

import base64
import hashlib
import io
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image
from report_fixture import HOSTILE, MODELS, make_tables
from report_page import check_outline, report_of

from semscale.report.html import compose

BESIDE = ("figures/", "groups.csv", "groups.parquet", "images.parquet")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return make_tables(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(tables):
    return report_of(tables)


def test_hostile_text_stays_text(page):
    assert HOSTILE in page.words()
    assert len(page.all("script")) == 1
    assert "alert(" not in page.scripts[0]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert all(attrs["src"].startswith("data:image/jpeg;base64,") for attrs in page.all("img"))
    assert page.all("b") and "<b>copy</b>" in page.words()


def test_headings_are_in_order_and_the_first_link_leads_to_the_content(page):
    check_outline(page.source)


def test_the_page_needs_nothing_else(page):
    links = [attrs[name] for _, attrs in page.elements for name in ("href", "src", "xlink:href") if name in attrs]
    assert links and all(link.startswith(("#", "data:image/jpeg", *BESIDE)) for link in links)
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    assert "@import" not in page.source and not re.search(r"url\((?!#)", page.source)


def test_only_the_page_s_own_script_may_run(page):
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_plots_have_words_and_their_own_ids(page):
    plots = page.all("svg", "plot")
    assert len(plots) == 7  # two of intervals, two of distributions, two of differences, one scatter
    assert all(plot["role"] == "img" and len(plot["aria-label"]) > 30 for plot in plots)
    assert all(MODELS[2] in plot["aria-label"] for plot in plots)  # the best, which is in every pair
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    used = {attrs["xlink:href"][1:] for _, attrs in page.elements if "xlink:href" in attrs}
    used |= set(re.findall(r"url\(#([^)]+)\)", page.source))
    assert used and used <= set(ids)


def test_plots_are_drawn_as_paths_in_the_colour_of_the_page(page):
    for body in re.findall(r'<svg class="plot"[^>]*>(.*?)</svg>', page.source, re.DOTALL):
        tree = ElementTree.fromstring(f'<svg xmlns:xlink="x">{body}</svg>')
        assert not tree.findall(".//text") and tree.findall(".//path")
        assert "currentColor" in body and "<!--" not in body and "metadata" not in body


def test_same_files_same_bytes(tables, page):
    assert compose(tables.out)[0] == page.source


def test_the_user_s_plot_settings_neither_change_the_page_nor_are_changed(tables, page):
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 30, "axes.facecolor": "red"}):
        assert compose(tables.out)[0] == page.source
        assert matplotlib.rcParams["font.size"] == 30


def test_headline_values_and_intervals(tables, page):
    scs = tables.summary["scores"]["scs"]
    words = page.words()
    assert f"{scs['value']:.2f} 95 % interval {scs['low']:.2f} to {scs['high']:.2f} · 12 groups" in words
    assert f"{scs['corrected']:.2f}" in words and "Student t over groups" in words
    for model, part in scs["by_model"].items():
        assert f"{model} {part['value']:.2f} {part['low']:.2f} to {part['high']:.2f}" in words
    assert "scores 100. Read SCS together with the CLIP score" in words


def test_models_come_best_first(page):
    scores = page.section("scores")
    places = [scores.index(f"</span>&nbsp;{name}</span>") for name in ("$\\frac{1}$ 模型", "pixart &amp; co", "sdxl")]
    assert places == sorted(places)


def test_best_and_worst_are_the_ends_of_the_ranking(tables, page):
    best, worst = page.section("extremes").split("Least consistent")
    used = sorted(row["scs"] for row in tables.groups if row["scs"] == row["scs"])
    found = [re.findall(r'<div class="score">([\d.]+)</div>', part) for part in (best, worst)]
    assert found == [[f"{v:.2f}" for v in used[:-7:-1]], [f"{v:.2f}" for v in used[:6]]]


def test_each_panel_shows_eight_pictures_with_both_roles_marked(page):
    for panel in page.section("extremes").split('<div class="panel">')[1:]:
        assert panel.count("<figure>") == 8
        badges = re.findall(r'<span class="badge (\w+)">(\w+)</span>', panel)
        assert badges == [("medoid", "medoid"), ("outlier", "outlier")]
        assert panel.index('badge medoid"') < panel.index('badge outlier"')
        assert "/0.png" in panel.split("<figure>")[1] and "/10.png" in panel.split("<figure>")[8]


def test_pictures_say_their_size_and_content(page):
    pictures = page.all("img")
    assert len(pictures) == 12 * 8 + 4 * 3 * 6  # both ends, and four prompts by three models
    for attrs in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(attrs["src"].split(",")[1])))
        assert picture.format == "JPEG" and picture.size == (int(attrs["width"]), int(attrs["height"]))
        assert len(attrs["alt"]) > 10


def test_rows_sort_by_number_and_undefined_ones_stay_at_an_end(page):
    orders = re.findall(r'data-order="([^"]*)"', page.section("groups"))
    assert orders and all(np.isfinite(float(v)) or v == "-inf" for v in orders)
    assert [attrs.get("scope") for attrs in page.all("th")].count("col") >= 8


def test_failures_by_reason_with_examples(page):
    words = re.sub(r"<[^>]*>", " ", page.section("failures"))
    assert re.search(r"truncated\s+7\s", words) and re.search(r"invalid-embedding\s+1\s", words)
    assert words.count("broken/") == 5 and "&lt;b&gt;copy&lt;/b&gt;" in words


def test_provenance_is_complete(tables, page):
    words = page.words()
    made = tables.summary["provenance"]
    for part in (made["command"], "2026-11-21 10:00:00 UTC", "3.11.7", "a processor", "torch 2.13.0", "onnx", "fp32"):
        assert part in words
    assert "filter = bicubic" in words and "batch_size = 32" in words and "0123456789ab " in words
    assert {"0123456789abcdef" * 4} == {a["title"] for a in page.all("td") if "title" in a}
    assert re.search(r"encode\s+10.00 s", words) and 'style="width:25.0%"' in page.source
