"""`compare.html`: each thing said once and what is drawn, figures as files, and means that a preset clamps."""

import html
import re

import numpy as np
import pytest
from click.testing import CliRunner
from compared_folders import PROMPTS, images_of, scores, write_results

from semscale.cli_compare import compare as command
from semscale.report import palette
from semscale.report.difference_plot import difference_plot
from semscale.report.svg import INK, Plot
from semscale.study.comparison.comparing import compare_runs


@pytest.fixture(autouse=True)
def no_png(monkeypatch):
    """What figures look like is for others to test, and drawing them twice takes most of the time."""
    monkeypatch.setattr(Plot, "png", lambda plot: b"")


def page_of(tmp_path, models, prompts=PROMPTS, metric="scs", **images):
    folder = write_results(tmp_path / "run", {name: scores(shift, prompts, noise=n) for n, (name, shift) in
                                              enumerate(models.items(), start=1)}, **images)  # fmt: skip
    done = CliRunner().invoke(command, [str(folder), "--metric", metric, "-o", str(tmp_path / "out"), "--quiet"])
    assert done.exit_code == 0, done.output
    return html.unescape((tmp_path / "out" / "compare.html").read_text(encoding="utf-8"))


def test_every_figure_is_a_file_that_the_page_links_to_with_its_numbers(tmp_path):
    page = page_of(tmp_path, {"a": 0, "b": 4}, metric="scs,clip-score")
    (tmp_path / "out" / "figures" / "mine.svg").touch()
    names = {"distribution-scs", "distribution-clip_score", "differences-scs-1", "differences-clip_score-1"}
    expected = {f"compare-{name}.{kind}" for name in {*names, "consistency-by-alignment"} for kind in ("svg", "png")}
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {*expected, "mine.svg"}
    assert set(re.findall(r'href="figures/([^"]+)"', page)) == expected
    numbers = page.partition('aria-label="Numbers of the figure Paired differences"')[2].partition("</table>")[0]
    assert "b − a" in numbers and re.search(r"Mean</th><td class=\"n\">\+\d\.\d\d<", numbers)
    CliRunner().invoke(command, [str(tmp_path / "run"), "--metric", "scs", "-o", str(tmp_path / "out"), "--quiet"])
    left = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert left == {"mine.svg"} | {name for name in expected if "scs" in name}


def test_the_one_ahead_is_first_in_the_table_as_in_the_sentence(tmp_path):
    page = page_of(tmp_path, {"a": 0, "b": 4})
    assert re.search(r"\u2068b\u2069 is more consistent than \u2068a\u2069: \+", page)
    assert (
        '<h3 class="name">\u2068b\u2069 − \u2068a\u2069</h3>' in page and "\u2068b\u2069 − \u2068a\u2069</th>" in page
    )
    assert re.search(r"mean difference</td><td class=\"n\"><b>\+", page)


def test_each_sentence_is_there_once_and_many_models_are_summed_up(tmp_path):
    two = page_of(tmp_path / "two", {"a": 0, "b": 4})
    assert two.count(" is more consistent than ") == 1
    page = page_of(tmp_path / "three", {"a": 0, "b": 4, "d": 12})
    assert page.count(" is more consistent than ") == 3
    header = page.partition("<main")[0]
    assert re.search(
        r"3 of 3 pairs of models differ by scs over 12 prompts; \u2068d\u2069 has the highest mean, \d", header
    )
    assert header.count('class="verdict') == 1


@pytest.mark.parametrize(("names", "lines"), [(("a", "b"), 1), (("sd steps=10 guidance", "sd steps=20 guidance"), 2)])
def test_both_sides_of_the_differences_are_named_whole_in_the_colour_of_the_text(names, lines):
    shapes = palette.marks(names)
    plot = difference_plot(np.array([-1.0, 2.0]), None, names, (shapes[names[0]], shapes[names[1]]), name="x")
    bold = [text for text in plot.figure.axes[0].texts if text.get_weight() == "bold"]
    assert [text.get_text() for text in bold] == [f"← {names[1]} higher", f"{names[0]} higher →"]
    assert {text.get_color() for text in bold} == {INK} and len({text.xyann[1] for text in bold}) == lines


@pytest.mark.parametrize(("n", "drawn"), [(3, False), (8, True)])
def test_captions_tell_of_what_is_drawn(tmp_path, n, drawn):
    page = page_of(tmp_path, {"a": 0, "b": 4}, PROMPTS[:n])
    for words in ("A curve shows", "the band is its interval"):
        assert (words in page) == drawn
    assert (
        "One point a prompt. Dashed: the mean" in page and ('<p class="small">One point a prompt.</p>' in page) != drawn
    )


def test_long_names_stay_apart_wherever_they_are_shown(tmp_path):
    names = [f"stable diffusion steps={n} guidance=7.5 sampler=ddim scheduler=karras" for n in (10, 20)]
    page = page_of(tmp_path, dict(zip(names, (0, 4), strict=True)), metric="scs,clip-score")
    for heads in re.findall(r"<thead>(.*?)</thead>", page):
        cells = re.findall(r"<th[^>]*>(.*?)</th>", heads)
        assert len(set(cells)) == len(cells)
    for table in re.findall(r'class="numbers">.*?<tbody>(.*?)</tbody>', page, re.DOTALL):
        rows = re.findall(r'<th scope="row" class="name">(.*?)</th>', table)
        assert len(set(rows)) == len(rows)


def test_means_below_zero_that_score_clamps_are_said(tmp_path):
    values = {name: scores(shift) for name, shift in (("a", 0), ("b", 4))}
    images = {name: images_of(values[name], shift=shift) for name, shift in (("a", 0), ("b", -40))}
    folder = write_results(tmp_path / "run", values, images)
    (told,) = [line for line in compare_runs(folder).warnings if "below 0," in line]
    assert re.match(r"clip-score: 1\d values of a prompt below 0, for values of single images below 0 count", told)
    assert told.endswith("`score` shows 0 for a mean below 0 (preset torchmetrics)")
    assert not any("below 0," in line for line in compare_runs(folder, metrics=["scs"]).warnings)
