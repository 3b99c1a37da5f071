"""The report in words: what it says of other runs than the usual one. Nothing is drawn."""

import json
import re

import pytest
from matplotlib.figure import Figure
from report_fixture import group_row, image_row, make_tables, summary_of
from report_page import report_of, set_at, undrawn

from semscale.report.format import REPLACEMENT, clean
from semscale.report.svg import label


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    return make_tables(tmp_path, n_images=2)


def test_every_range_is_that_of_its_convention(small):
    assert "the middle one of the images; −100 to 100, higher is better" in report_of(small).words()
    small.summary["scores"]["clip-score"]["params"] = {"name": "raw", "scale": 1, "clamp": "none"}
    assert "averaged over images. −1 to 1, higher is better" in report_of(small).words()
    small.summary["scores"]["clip-score"]["params"] = {"name": "hessel2021", "scale": 2.5, "clamp": "item"}
    assert "averaged over images. 0 to 2.5, higher is better" in report_of(small).words()


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
        (("scores", "scs", "n"), 1, "Only one group could be averaged: there is no interval between groups"),
    ],
)
def test_what_weakens_the_numbers_is_said(small, place, value, says):
    for quiet in (("n_failed",), ("n_invalid",), ("scores", "scs", "n_excluded")):
        set_at(small.summary, quiet, 0)
    assert "Before you trust" not in report_of(small).words()
    set_at(small.summary, place, value)
    assert f"Before you trust these numbers {says}" in report_of(small).words()


def test_undefined_numbers_are_dashes(small):
    small.groups[:] = [group_row(None, "one", [], scs=None), group_row(None, "two", [], scs=None)]
    small.images[:] = [image_row("one/0.png", None, "one"), image_row("two/0.png", None, "two")]
    small.summary.update(summary_of(small.groups, small.images), images_per_second=None)
    page = report_of(small)
    assert not re.search(r"\b(nan|NaN|None(?![.:])|null|inf)\b", page.words())
    assert "– no interval: too few groups to tell" in page.words() and "– images/s" in page.words()
    assert "None: no group has two valid images." in page.words() and "2 groups with fewer than two" in page.words()
    assert "nan" not in page.section("groups")


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
    assert len(page.all("svg", "plot")) == 4 and len(page.all("article")) == 1
    assert "Text encoder" not in page.words() and "CLIP score" not in page.section("groups")


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


def test_missing_pictures_do_not_stop_the_page(small):
    for row in small.images:
        row["uri"] = "/nowhere/" + row["key"]
    page = report_of(small)
    assert not page.all("img") and page.words().count("file not found") == 48


def test_many_models_are_cut_and_said_so(small):
    small.groups[:] = [group_row(f"m{i:02}", f"g{j}", [], scs=50.0 + i / 4 + j) for i in range(60) for j in range(2)]
    small.summary.update(summary_of(small.groups, small.images))
    words = report_of(small).words()
    assert words.count("The first 12 of 60 models, the best first.") == 4 and "The best 50 of 60 models" in words


def test_no_failures_is_said(small):
    small.images[:] = [row for row in small.images if row["status"] == "ok"]
    small.summary.update(summary_of(small.groups, small.images))
    assert "None. Every image found was scored." in report_of(small).words()


def test_not_a_number_in_json_is_undefined(small):
    small.summary["scores"]["scs"]["median"] = float("nan")
    assert "NaN" in json.dumps(small.summary)
    assert "Median – the middle one" in report_of(small).words()


def test_what_turns_the_direction_of_writing_is_shown_as_a_mark():
    assert clean("a\u202eb\u2066c") == f"a{REPLACEMENT}b{REPLACEMENT}c"


def test_a_label_of_wide_letters_is_cut_to_the_width_of_its_room():
    assert label("il" * 17) == "il" * 17
    wide = label("W" * 34)
    assert wide.endswith("…") and len(wide) < 28
