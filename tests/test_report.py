"""The report: what it says, what it must never say, and that no input can break it."""

import base64
import hashlib
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from report_fixture import GROUP_TYPES, GROUPS, HOSTILE, MODELS, group_row, image_row, make_tables, summary_of

from semscale.errors import StoreError, UsageError
from semscale.report import write_report
from semscale.report.density import bounded_density
from semscale.report.format import duration, number, plural, shorten, span, tail
from semscale.report.groups import best_and_worst, read_groups
from semscale.report.images import Member, members_of
from semscale.report.palette import COLOURS, marks
from semscale.report.thumbs import LONGEST_SIDE, thumbnail

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The elements of a page, its visible text, and whether its tags nest."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements, self.text, self.scripts, self.open = [], [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        place = self.open[-1] if self.open else ""
        if place == "script":
            self.scripts.append(data)
        elif place != "style":
            self.text.append(data)

    def words(self):
        return " ".join(" ".join(self.text).split())

    def all(self, tag, css=""):
        return [attrs for name, attrs in self.elements if name == tag and css in (attrs.get("class") or "")]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return make_tables(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(tables):
    return Page(write_report(tables.write()))


@pytest.fixture
def small(tmp_path):
    return make_tables(tmp_path, n_images=2)


def section(page, name):
    return page.source.split(f'<section id="{name}">')[1].split("</section>")[0]


def report_of(tables):
    return Page(write_report(tables.write()))


def test_hostile_text_stays_text(page):
    assert HOSTILE in page.words()
    assert len(page.all("script")) == 1
    assert "alert(" not in page.scripts[0]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert all(attrs["src"].startswith("data:image/jpeg;base64,") for attrs in page.all("img"))
    assert page.all("b") and "<b>copy</b>" in page.words()


def test_the_page_needs_nothing_else(page):
    links = [attrs[name] for _, attrs in page.elements for name in ("href", "src", "xlink:href") if name in attrs]
    assert links and all(link.startswith(("#", "data:image/jpeg")) for link in links)
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    assert "@import" not in page.source and not re.search(r"url\((?!#)", page.source)


def test_only_the_page_s_own_script_may_run(page):
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_plots_have_words_and_their_own_ids(page):
    plots = page.all("svg", "plot")
    assert len(plots) == 5  # two of intervals, two of distributions, one scatter
    assert all(plot["role"] == "img" and len(plot["aria-label"]) > 30 for plot in plots)
    assert all(MODELS[2] in plot["aria-label"] for plot in plots)
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
    assert write_report(tables.out).read_text(encoding="utf-8") == page.source


def test_the_user_s_plot_settings_neither_change_the_page_nor_are_changed(tables, page):
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 30, "axes.facecolor": "red"}):
        assert write_report(tables.out).read_text(encoding="utf-8") == page.source
        assert matplotlib.rcParams["font.size"] == 30


def test_headline_values_and_intervals(tables, page):
    scs = tables.summary["scores"]["scs"]
    words = page.words()
    assert f"{scs['value']:.2f} 95 % interval {scs['low']:.2f} to {scs['high']:.2f} · 12 groups" in words
    assert f"{scs['corrected']:.2f}" in words and "Student t over groups" in words
    for model, part in scs["by_model"].items():
        assert f"{model} {part['value']:.2f} {part['low']:.2f} to {part['high']:.2f}" in words
    assert "scores 100. Read SCS together with the CLIP score" in words


def test_every_range_is_that_of_its_convention(small):
    assert "the middle one of the images; −100 to 100, higher is better" in report_of(small).words()
    small.summary["scores"]["clip-score"]["params"] = {"name": "raw", "scale": 1, "clamp": "none"}
    assert "averaged over images. −1 to 1, higher is better" in report_of(small).words()
    small.summary["scores"]["clip-score"]["params"] = {"name": "hessel2021", "scale": 2.5, "clamp": "item"}
    assert "averaged over images. 0 to 2.5, higher is better" in report_of(small).words()


def test_models_come_best_first(page):
    scores = section(page, "scores")
    places = [scores.index(f"</span> {name}</span>") for name in ("$\\frac{1}$ 模型", "pixart &amp; co", "sdxl")]
    assert places == sorted(places)


def test_encoder_note_is_a_banner(small):
    assert "mean nothing for other images" not in report_of(small).words()
    small.summary["models"]["image"]["note"] = "demo encoder: drawn scenes only"
    loud = report_of(small)
    assert "demo encoder: drawn scenes only Scores of this encoder mean nothing for other images" in loud.words()
    assert [attrs for attrs in loud.all("div", "banner") if attrs["role"] == "alert"]


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("n_truncated_texts",), 3, "3 texts longer than the encoder reads"),
        (("n_invalid",), 1, "1 embedding of zero length"),
        (("n_failed",), 2, "2 inputs of"),
        (("scores", "scs", "n_clamped"), 4, "4 pairs of images with a similarity below 0"),
        (("scores", "scs", "n_excluded"), 1, "1 group with fewer than two valid images: not in the mean"),
        (("scores", "scs", "n"), 1, "Only 1 group averaged: there is no interval between groups"),
    ],
)
def test_what_weakens_the_numbers_is_said(small, place, value, says):
    for quiet in (("n_failed",), ("n_invalid",), ("scores", "scs", "n_excluded")):
        set_at(small.summary, quiet, 0)
    assert "Before you trust" not in report_of(small).words()
    set_at(small.summary, place, value)
    assert f"Before you trust these numbers {says}" in report_of(small).words()


def set_at(values, place, value):
    for name in place[:-1]:
        values = values[name]
    values[place[-1]] = value


def test_undefined_numbers_are_dashes(small):
    small.groups[:] = [group_row(None, "one", [], scs=None), group_row(None, "two", [], scs=None)]
    small.images[:] = [image_row("one/0.png", None, "one"), image_row("two/0.png", None, "two")]
    small.summary.update(summary_of(small.groups, small.images), images_per_second=None)
    page = report_of(small)
    assert not re.search(r"\b(nan|NaN|None(?![.:])|null|inf)\b", page.words())
    assert "– no interval: too few groups to tell" in page.words() and "– images/s" in page.words()
    assert "None: no group has two valid images." in page.words() and "2 groups with fewer than two" in page.words()
    assert "nan" not in section(page, "groups")


def test_an_empty_run_has_a_report(small):
    small.groups.clear()
    small.images.clear()
    small.summary.update(summary_of([], []), scores={})
    words = report_of(small).words()
    assert "No score could be computed." in words and "None. Every image found was scored." not in words
    assert "None. No image was found." in words


def test_without_texts_nothing_speaks_of_a_clip_score_value(small):
    for row in small.groups:
        del row["clip_score"]
    del small.summary["scores"]["clip-score"]
    small.summary["models"]["text"] = None
    page = report_of(small)
    assert len(page.all("svg", "plot")) == 2 and len(page.all("article")) == 1
    assert "Text encoder" not in page.words() and "CLIP score" not in section(page, "groups")


def test_images_of_no_named_model(small):
    for row in small.groups + small.images:
        row["model"] = None
    small.groups[:] = [small.groups[0] | {"group": f"g{i}", "scs": 80.0 + i} for i in range(6)]
    small.summary.update(summary_of(small.groups, small.images))
    assert small.summary["scores"]["scs"]["by_model"] == {}
    page = report_of(small)
    assert len(page.all("svg", "plot")) == 3
    assert "no model named: median 82.50" in page.all("svg", "plot")[0]["aria-label"]


def test_a_broken_name_cannot_break_the_page(small):
    small.summary["source"] = "/data/\udcff\x00\x1b[31m"
    assert "/data/\ufffd\ufffd\ufffd[31m" in report_of(small).words()


def test_best_and_worst_are_the_ends_of_the_ranking(tables, page):
    best, worst = section(page, "extremes").split("Least consistent")
    used = sorted(row["scs"] for row in tables.groups if row["scs"] == row["scs"])
    found = [re.findall(r'<div class="score">([\d.]+)</div>', part) for part in (best, worst)]
    assert found == [[f"{v:.2f}" for v in used[:-7:-1]], [f"{v:.2f}" for v in used[:6]]]


def test_each_panel_shows_eight_pictures_with_both_roles_marked(page):
    for panel in section(page, "extremes").split('<div class="panel">')[1:]:
        assert panel.count("<figure>") == 8
        badges = re.findall(r'<span class="badge (\w+)">(\w+)</span>', panel)
        assert badges == [("medoid", "medoid"), ("outlier", "outlier")]
        assert panel.index('badge medoid"') < panel.index('badge outlier"')
        assert "/0.png" in panel.split("<figure>")[1] and "/10.png" in panel.split("<figure>")[8]


def test_pictures_say_their_size_and_content(page):
    pictures = page.all("img")
    assert len(pictures) == 12 * 8
    for attrs in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(attrs["src"].split(",")[1])))
        assert picture.format == "JPEG" and picture.size == (int(attrs["width"]), int(attrs["height"]))
        assert attrs["loading"] == "lazy" and "group" in attrs["alt"]


@pytest.mark.parametrize("n_groups", [0, 1, 2, 3, 11, 12, 13])
def test_no_group_is_both_best_and_worst(tmp_path, n_groups):
    write_groups(tmp_path, np.arange(float(n_groups)))
    best, worst = best_and_worst(read_groups(tmp_path / "groups.parquet").sort_by("scs"), 6)
    assert len(best) + len(worst) == min(n_groups, 12)
    assert not {g.group for g in best} & {g.group for g in worst}
    assert [g.scs for g in best] == sorted((g.scs for g in best), reverse=True)


def write_groups(out, scs):
    n = len(scs)
    row = group_row("m", "g", [], scs=50.0)
    columns = {name: pa.array([row[name]] * n, kind) for name, kind in GROUP_TYPES.items()}
    columns |= {"scs": pa.array(scs), "group": pa.array([f"a prompt with number {i}" for i in range(n)])}
    columns |= {"model": pa.array([f"model {i % 3}" for i in range(n)]), "n": pa.array(np.full(n, 20))}
    pq.write_table(pa.table(columns), out / "groups.parquet")


def test_members_of_a_large_group_are_spread_over_it(tmp_path):
    n = 5000
    rows = pa.table({"group": ["g"] * n, "model": ["a", "b"] * (n // 2), "key": [str(i) for i in range(n)]})
    rows = rows.append_column("uri", rows["key"]).append_column("status", pa.array(["ok"] * (n - 2) + ["failed"] * 2))
    rows = rows.append_column("sha256", rows["key"])
    rows = rows.append_column("group_similarity", pa.array(np.arange(n, 0, -1)))
    pq.write_table(rows, tmp_path / "images.parquet", row_group_size=700)
    write_groups(tmp_path, np.ones(2))
    group, other = best_and_worst(read_groups(tmp_path / "groups.parquet"), 1)[0][0], "b"
    wanted = [replace(group, "a", "4002", "3000"), replace(group, other, None, None)]
    first, second = members_of(tmp_path / "images.parquet", wanted, limit=8)
    assert [m.key for m in first] == ["4002", "0", *spread(first), "3000"] and len(first) == len(second) == 8
    gaps = np.diff([int(m.key) for m in second])
    assert all(int(m.key) % 2 == 1 for m in second) and gaps.min() > 650 and gaps.max() < 780


def replace(group, model, medoid, outlier):
    fields = {name: getattr(group, name) for name in group.__slots__}
    return type(group)(
        **fields | {"group": "g", "model": model, "n": 2499, "medoid_key": medoid, "outlier_key": outlier}
    )


def spread(members):
    middle = [m.key for m in members[2:-1]]
    assert middle == sorted(middle, key=int) and len(set(middle)) == len(middle)
    return middle


def member(path, sha256=None):
    found = sha256 or hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Member(key="k", uri=str(path), sha256=found, group_similarity=1.0)


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged(tmp_path):
    Image.new("RGB", (400, 100), (200, 30, 30)).save(tmp_path / "wide.png")
    Image.new("RGB", (7, 5), (200, 30, 30)).save(tmp_path / "tiny.png")
    wide, tiny = thumbnail(member(tmp_path / "wide.png")), thumbnail(member(tmp_path / "tiny.png"))
    assert (wide.width, wide.height) == (LONGEST_SIDE, LONGEST_SIDE // 4) and (tiny.width, tiny.height) == (7, 5)
    pixel = Image.open(io.BytesIO(base64.b64decode(wide.src.split(",")[1]))).getpixel((60, 15))
    assert np.abs(np.array(pixel) - (200, 30, 30)).max() < 12


@pytest.mark.parametrize("uri", ["/nowhere/a.png", "https://example.org/a.png", "bad\0name", "x" * 5000, ""])
def test_a_picture_that_is_not_there_is_a_placeholder(uri):
    found = thumbnail(member(uri, "0" * 64))
    assert found.src == "" and found.missing in {"file not found", "file cannot be read", "a remote file"}


def test_a_picture_that_changed_is_a_placeholder(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert thumbnail(member(tmp_path / "broken.png")).missing == "file cannot be shown"
    Image.new("RGB", (30, 20)).save(tmp_path / "other.png")
    assert thumbnail(member(tmp_path / "other.png", "0" * 64)).missing == "file changed since"
    assert thumbnail(member(tmp_path / "other.png")).missing == ""


def test_a_picture_whose_name_is_not_utf8_is_opened_by_its_file_uri(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9 %41.png")
    Image.new("RGB", (30, 20)).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert thumbnail(member(f"file://{tmp_path}/caf%E9%20%2541.png", sha256)).missing == ""
    assert thumbnail(member(f"file://{tmp_path}/caf%E9.png", sha256)).missing == "file not found"


def test_missing_pictures_do_not_stop_the_page(small):
    for row in small.images:
        row["uri"] = "/nowhere/" + row["key"]
    page = report_of(small)
    assert not page.all("img") and page.words().count("file not found") == 24


def test_a_hundred_thousand_groups_make_a_small_page(small):
    small.write()
    scs = np.random.default_rng(3).normal(85, 12, 100_000).clip(0, 100)
    write_groups(small.out, scs)
    page = Page(write_report(small.out))
    assert len(page.source) < 3_000_000
    assert "500 of 100,000 averaged groups" in page.words() and "The rest are in groups.parquet." in page.words()
    body = section(page, "groups").split("<tbody>")[1].split("</tbody>")[0]
    shown = [float(v) for v in re.findall(r'<td class="n" data-order="[^"]*">([\d.]+)</td>', body)[1::5]]
    assert body.count("<tr>") == 500 and shown == sorted(shown)
    assert "A random 1,500 of 100,000 groups." in page.words()


def test_many_models_are_cut_and_said_so(small):
    small.groups[:] = [group_row(f"m{i:02}", f"g{j}", [], scs=50.0 + i / 4 + j) for i in range(60) for j in range(2)]
    small.summary.update(summary_of(small.groups, small.images))
    words = report_of(small).words()
    assert words.count("The first 12 of 60 models, the best first.") == 4 and "The best 50 of 60 models" in words


def test_rows_sort_by_number_and_undefined_ones_stay_at_an_end(page):
    orders = re.findall(r'data-order="([^"]*)"', section(page, "groups"))
    assert orders and all(np.isfinite(float(v)) or v == "-inf" for v in orders)
    assert [attrs.get("scope") for attrs in page.all("th")].count("col") >= 8


def test_failures_by_reason_with_examples(page):
    words = re.sub(r"<[^>]*>", " ", section(page, "failures"))
    assert re.search(r"truncated\s+7\s", words) and re.search(r"invalid-embedding\s+1\s", words)
    assert words.count("broken/") == 5 and "&lt;b&gt;copy&lt;/b&gt;" in words


def test_no_failures_is_said(small):
    small.images[:] = [row for row in small.images if row["status"] == "ok"]
    small.summary.update(summary_of(small.groups, small.images))
    assert "None. Every image found was scored." in report_of(small).words()


def test_provenance_is_complete(tables, page):
    words = page.words()
    made = tables.summary["provenance"]
    for part in (made["command"], "2026-11-21 10:00:00 UTC", "3.11.7", "a processor", "torch 2.13.0", "onnx", "fp32"):
        assert part in words
    assert "filter = bicubic" in words and "batch_size = 32" in words and "0123456789ab " in words
    assert {"0123456789abcdef" * 4} == {a["title"] for a in page.all("td") if "title" in a}
    assert re.search(r"encode\s+10.00 s", words) and 'style="width:25.0%"' in page.source


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


def test_not_a_number_in_json_is_undefined(small):
    small.summary["scores"]["scs"]["median"] = float("nan")
    assert "NaN" in json.dumps(small.summary)
    assert "Median – the middle one" in report_of(small).words()


@pytest.mark.parametrize(
    "values", [[100.0] * 9, [99.0, 100.0, 100.0, 98.0], [0.0, 100.0], [50.0], list(np.linspace(90, 100, 500))]
)
def test_a_density_is_whole_and_inside_its_bounds(values):
    centres, density = bounded_density(np.array(values), low=0.0, high=100.0)
    assert centres.min() > 0 and centres.max() < 100 and density.min() >= 0
    assert density.sum() * (centres[1] - centres[0]) == pytest.approx(1.0)


def test_a_density_is_reflected_at_its_bound():
    centres, density = bounded_density(np.linspace(80, 100, 4000), low=0.0, high=100.0)
    assert density[-1] == pytest.approx(1 / 20, rel=0.02)  # an unreflected kernel gives half of it
    assert np.interp(90.0, centres, density) == pytest.approx(1 / 20, rel=0.02)


def test_every_model_has_its_own_mark():
    found = marks(["b", None, "a", *(f"m{i}" for i in range(60))])
    assert len({(m.colour, m.glyph) for m in found.values()}) == 63
    assert list(found)[-1] is None and found["a"].colour == COLOURS[0]


def test_numbers_as_text():
    assert [number(v) for v in (1234.5, -0.5, -0.001, None, float("nan"), float("inf"))] == [
        "1,234.50",
        "−0.50",
        "0.00",
        "–",
        "–",
        "–",
    ]
    assert span(1, 2) == "1.00 to 2.00" and span(None, 2) == span(1, float("nan")) == "–"
    assert [plural(n, "group") for n in (0, 1, 2000)] == ["0 groups", "1 group", "2,000 groups"]
    assert [duration(s) for s in (0.5, 59.999, 200, 7500)] == ["0.50 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]
    assert shorten(GROUPS[3]) == "four lines and 🦊"
    assert shorten("a" * 300, 10) == "aaaaaaaaa…" and tail("folder/" * 9 + "7.png", 10) == "…der/7.png"


def test_a_reduced_precision_is_said_with_its_limits():
    from semscale.report.tables import _gate_words

    limits = {"centred_min": 0.96, "overlap": 0.93, "score_change": 1.0}
    told = {"tower": "image", "candidate": "onnx int8", "n": 128, "limits": limits}
    words = _gate_words({**told, "centred_min": 0.99778, "overlap": 0.98203, "score_change": 0.1825})
    assert words == (
        "image, onnx int8, 128 probes: centred cosine at least 0.9978 (limit 0.96), 98.2% of the ten nearest "
        "neighbours kept (93%), a group's score changed by at most 0.18 of 100 (1)"
    )
    assert "onnx int8" in _gate_words(told)  # a summary of another version is shown as it is


def test_why_an_image_that_is_no_file_here_is_not_shown(tmp_path):
    from semscale.report.thumbs import _elsewhere

    (tmp_path / "a.tar").touch()
    assert _elsewhere(f"{tmp_path}/a.tar#m/1.png") == "inside an archive"
    assert _elsewhere("s3://bucket/a.tar#1.png") == "inside an archive"
    assert _elsewhere("s3://bucket/1.png") == "a remote file"
    assert _elsewhere(f"{tmp_path}/gone#1.png") == ""
