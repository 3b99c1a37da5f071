"""What a report says of several models: sweeps, side by side, and how many images a prompt needs; and in a notebook."""

import copy
import dataclasses
import json
import pickle
import re
from math import nan
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from report_fixture import HOSTILE, MODELS, group_row, make_tables, summary_of
from report_page import report_of, undrawn

import semscale
from semscale.model import BAR, LABEL, Interval, Score
from semscale.report.groups import averaged, read_groups, widest
from semscale.report.sensitivity import read_sensitivity
from semscale.report.side_by_side import grids
from semscale.report.summary import Estimate
from semscale.report.sweeps import settings_of, sweeps
from semscale.run import Run
from semscale.sensitivity import write_sensitivity

FIGURE = re.compile("<figure.*?</figure>", re.DOTALL)


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    return make_tables(tmp_path, n_images=3)


def estimate(value):
    return Estimate(value, value - 1, value + 1, 0.95, "", 9, 90, value, 1.0, nan, 0, 0, 0, 9, ())


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("sdxl steps=10 guidance=5", ("sdxl", {"steps": "10", "guidance": "5"})),
        ("my model v2 size=512x768", ("my model v2", {"size": "512x768"})),
        ("steps=10", ("steps=10", {})),
        ("sdxl steps=10 of old", ("sdxl steps=10 of old", {})),
        ("sdxl seed=3", ("sdxl seed=3", {})),
    ],
)
def test_settings_are_read_from_labels(label, found):
    assert settings_of(label) == found


def test_a_curve_holds_all_other_settings():
    labels = [f"sd steps={steps} guidance={g}" for steps in (50, 10, 20) for g in ("5", "default")]
    values = {label: estimate(50.0 + place) for place, label in enumerate(labels)}
    values |= {"sd steps=90 guidance=5": estimate(nan), "other steps=10": estimate(1.0), "sd": estimate(2.0)}
    found = sweeps(values)
    assert list(found) == ["steps"]  # of guidance only one value is a number
    assert [(curve.label, curve.places) for curve in found["steps"]] == [
        ("sd guidance=5", (10.0, 20.0, 50.0)),
        ("sd guidance=default", (10.0, 20.0, 50.0)),
    ]
    assert [e.value for e in found["steps"][0].estimates] == [52.0, 54.0, 50.0]


def test_sweeps_have_figures_and_numbers(small):
    labels = [f"{name} size={size}" for name in ("sd", "xl") for size in (64, 128, 96)]
    small.groups[:] = [group_row(m, f"g{i}", [], scs=60.0 + 3 * i) for m in labels for i in range(3)]
    small.summary.update(summary_of(small.groups, small.images))
    page = report_of(small)
    said = "SCS by size, pixels, with intervals. sd: 63.00 at 64, 63.00 at 128; xl:"
    assert [plot["aria-label"].startswith(said) for plot in page.all("svg", "plot")].count(True) == 1
    lines = re.findall(r'<th scope="row" class="name">(\w+)</th><td class="n">(\d+)</td>', page.section("sweeps"))
    assert lines[:6] == [(name, size) for name in ("sd", "xl") for size in ("64", "96", "128")]
    assert "figures/sweep-size-scs.png" in page.section("sweeps")
    assert "Sweeps" not in report_of(make_again(small)).words()


def make_again(tables):
    return make_tables(tables.out.parent, n_images=3)


def test_prompts_side_by_side_are_those_that_differ_most(small):
    values = (50.0, 90.0, 70.0, 20.0, 95.0, 90.5, 71.0, 20.0, 80.0, 91.0, 75.0, 20.0)
    for row, scs in zip(small.groups, values, strict=False):  # the last group has none
        row["scs"] = scs
    small.write()
    found = widest(averaged(read_groups(small.out / "groups.parquet")), 3)
    assert [[group.scs for group in groups] for groups in found] == [[95.0, 80.0, 50.0], [75, 71, 70], [91, 90.5, 90]]
    shown = grids(small.out / "images.parquet", found)
    assert [grid.gap for grid in shown] == ["45.00", "5.00", "1.00"]
    assert [row.model for row in shown[0].rows] == [MODELS[1], MODELS[2], MODELS[0]]


def test_a_column_is_one_seed_that_all_models_have(small):
    for row in small.images:
        if row["model"] == MODELS[0] and row["seed"] is not None:
            row["seed"] += 1
    small.write()
    prompt = widest(averaged(read_groups(small.out / "groups.parquet")), 1)
    grid = grids(small.out / "images.parquet", prompt)[0]
    assert grid.columns == ("seed 1", "seed 2") and grid.paired
    assert all(len(row.shots) == 2 for row in grid.rows)
    assert grid.rows[0].shots[1].alt.endswith("seed 2") and grid.rows[0].shots[1].thumb.src
    for row in small.images:
        row["seed"] = None
    small.write()
    grid = grids(small.out / "images.parquet", prompt)[0]
    assert grid.columns == ("image 1", "image 2", "image 3") and not grid.paired
    assert "These models have no seeds in common" in report_of(small).words()


def test_of_many_models_both_ends_are_shown(small):
    small.groups[:] = [group_row(f"m{i}", HOSTILE, [], scs=50.0 + i) for i in range(9)]
    small.write()
    grid = grids(small.out / "images.parquet", widest(averaged(read_groups(small.out / "groups.parquet")), 9))[0]
    assert [row.model for row in grid.rows] == ["m8", "m7", "m6", "m2", "m1", "m0"] and grid.n_models == 9
    small.groups[:] = [group_row("m", "alone", [], scs=50.0), group_row(None, "unnamed", [], scs=50.0)]
    assert "Models side by side" not in report_of(small).words()


def plan(**changed):
    error = {"median_error": 1.0, "high_error": 2.0, "worst_prompt": None, "within": 0.25, "basis": "subsets"}
    needs = {"n": 45, "for_mean": 8, "for_worst_prompt": None}
    return {
        "precision": 1.0,
        "unit": "percent of the score",
        "confidence": 0.95,
        "n_prompts": 16,
        "smallest_pilot": 10,
        "largest_pilot": 12,
        "recommended": {**needs, "basis": "extrapolated"},
        "by_model": [{"model": "a model of another run", "n_prompts": 16, **needs}],
        "sizes": [{"n": 5, **error}, {"n": 10, **error, "high_error": 1.0, "basis": "extrapolated"}],
        "rare_mode": {"share": 0.05, "chance_unseen": 0.6},
        **changed,
    }


def test_how_many_images_a_prompt_needs(small):
    out = small.write()
    (out / "sensitivity.json").write_text(json.dumps(plan()))
    page = report_of(small)
    assert "45 With 45 images a prompt, 95 % of the scores of a prompt are within 1 % of the truth." in page.words()
    assert "more than half of the 10 images" in page.words() and "a model of another run 16 45 8 –" in page.words()
    assert "5 1.00 2.00 – 25 % drawn 10 1.00 1.00 – 25 % extrapolated" in page.words()
    said = "95% are within 2.00 at 5 images and 1.00 at 10 images."
    assert [plot["aria-label"].endswith(said) for plot in page.all("svg", "plot")].count(True) == 1
    far = plan()["recommended"] | {"n": 101}
    (out / "plan.json").write_text(json.dumps(plan(n_prompts=99, recommended=far)))
    assert read_sensitivity(out).answer.endswith(
        "within 1 % of the truth: a guess, from 10 images of the smallest prompt."
    )
    assert read_sensitivity(out).n_prompts == 99  # what was asked for goes first


def test_without_any_error_there_is_an_answer_and_no_curve(small):
    nothing = {"median_error": 0.0, "high_error": 0.0, "worst_prompt": 0.0, "within": 1.0, "basis": "subsets"}
    (small.write() / "sensitivity.json").write_text(json.dumps(plan(sizes=[{"n": 5, **nothing}])))
    page = report_of(small)
    assert "Recommended" in page.words() and "Error by images of a prompt" not in page.words()


def test_a_run_and_a_score_draw_the_same_in_a_notebook(tmp_path):
    tables = make_tables(tmp_path, n_images=2)
    tables.write()
    shown = Run(tables.out, tables.summary)._repr_html_()
    assert "<script" not in shown and "onerror" not in shown.replace("&gt;", "").split("<svg")[0]
    assert shown.count('<svg class="plot"') == 2 and 'role="img"' in shown and "currentColor" in shown
    value = f"<td>{tables.summary['scores']['scs']['value']:.2f}</td>"
    assert value in shown and shown.index("pixart &amp; co") < shown.index("sdxl")
    score = Score(*values_of(Run(tables.out, tables.summary).scores["scs"]))._repr_html_()
    assert score.count("<tr>") == 2 and value in score and score.split("<tr>")[1].startswith("<th>score</th>")
    ElementTree.fromstring(score)
    drawn = re.findall("<svg width.*?</svg>", shown)
    assert drawn[-1] and drawn[3] == re.search("<svg width.*?</svg>", score)[0]  # after those of the three models
    place, value = re.search(r'd="M([\d.]+) 2v14"', drawn[3]), tables.summary["scores"]["scs"]["value"]
    assert float(place[1]) == pytest.approx(LABEL + BAR * value / 100, abs=0.06)


def values_of(score):
    return [getattr(score, field.name) for field in dataclasses.fields(Score)]


def test_a_score_of_a_run_draws_its_own_density(tmp_path):
    tables = make_tables(tmp_path, n_images=2)
    run = Run(tables.write(), tables.summary)
    shown = [FIGURE.findall(run.scores[name]._repr_html_()) for name in ("scs", "clip-score")]
    assert [len(figures) for figures in shown] == [1, 1] and FIGURE.findall(run._repr_html_()) == shown[0] + shown[1]
    score, plain = run.scores["scs"], Score(*values_of(run.scores["scs"]))
    assert score._repr_html_().startswith(plain._repr_html_()) and "<script" not in score._repr_html_()
    assert FIGURE.findall(plain._repr_html_()) == []
    copies = [copy.deepcopy(score), pickle.loads(pickle.dumps(score)), dataclasses.replace(score)]
    assert [each._repr_html_() for each in copies] == [score._repr_html_()] * 3
    for name in ("summary.json", "groups.parquet"):
        (run.out / name).unlink()
        assert score._repr_html_() == plain._repr_html_()


def test_a_score_of_a_run_is_a_score_as_any_other(tmp_path):
    tables = make_tables(tmp_path, n_images=2)
    score, other = (Run(tmp_path / place, tables.summary).scores["scs"] for place in ("run", "other"))
    plain = Score(*values_of(score))
    assert score == plain == score == other and repr(score) == repr(plain) and repr(plain).startswith("Score(metric=")
    further = dataclasses.replace(score, n=score.n + 1)
    assert further != score and further != plain and plain != further and score != "scs"
    assert hash(dataclasses.replace(score, params=())) == hash(dataclasses.replace(plain, params=()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.n = 1


def test_a_notebook_shows_a_run_without_files_and_a_score_without_a_value(tmp_path):
    assert Run(tmp_path, {"scores": {}})._repr_html_().startswith("<table>")
    score = Score("<b>", float("nan"), 3, None, None, {})
    assert score._repr_html_().count("<td>–</td>") == 2 and "&lt;b&gt;" in score._repr_html_()
    assert "<svg" not in score._repr_html_()
    inside = Score("s", 2.0, 3, Interval(1.0, 3.0, 0.95, "t"), True, {})._repr_html_()
    assert "1.000 to 3.000" in inside and f'd="M{LABEL:.1f} 9H{LABEL + BAR:.1f}"' in inside


def test_a_run_finds_how_many_images_it_needs(tmp_path, model, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    noise = np.random.default_rng(5).integers(0, 256, (2, 10, 8, 8, 3), dtype=np.uint8)
    for group, images in zip("ab", noise, strict=True):
        (tmp_path / "images" / group).mkdir(parents=True)
        for seed, pixels in enumerate(images):
            Image.fromarray(pixels).save(tmp_path / "images" / group / f"{seed}.png")
    run = semscale.score(tmp_path / "images", out=tmp_path / "out", model=model, backend="fake")
    found = read_sensitivity(run.out)
    assert found.n_prompts == 2 and found.pilot == (10, 10) and found.confidence == 0.95
    highs = [size.high for size in found.sizes]
    assert highs == sorted(highs, reverse=True) and highs[0] > highs[-1] > 0
    assert [size.drawn for size in found.sizes][:2] == [True, False]  # 5 of 10 images, 10 of 10
    assert "How many images a prompt needs" in (run.out / "report.html").read_text(encoding="utf-8")


def test_a_run_that_cannot_find_it_leaves_none_of_an_earlier_run(tmp_path):
    (tmp_path / "sensitivity.json").write_text("of an earlier run")
    write_sensitivity(tmp_path, tmp_path / "no store is needed", np.array([3, 9]))
    assert not (tmp_path / "sensitivity.json").exists()
    write_sensitivity(tmp_path, tmp_path / "no store is needed", np.array([10, 5_000]))
    write_sensitivity(tmp_path, tmp_path / "no store is needed", np.array([], int))
    assert not list(tmp_path.iterdir())
