"""Names that a figure's fonts cannot write, paired differences of a run, and what is said on paper alone."""

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_fixture import MODELS, make_tables
from report_page import report_of, undrawn

from semscale.report import paired, svg
from semscale.report.figure_data import named
from semscale.report.format import REPLACEMENT, signed
from semscale.report.groups import averaged, read_groups
from semscale.report.paired import paired_plots
from semscale.report.palette import marks
from semscale.report.plots import IN_TITLE, Axis, distribution_plot
from semscale.report.summary import read_summary
from semscale.stats.resampling import bootstrap_difference

UNKNOWN = "模型"  # in no font that comes with matplotlib


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    return make_tables(tmp_path, n_images=2)


@pytest.fixture
def only_own_font(monkeypatch):
    monkeypatch.setattr(svg, "_families", lambda: [svg.OWN_FONT])
    svg._faces.cache_clear()
    yield
    svg._faces.cache_clear()


def test_a_name_that_no_font_writes_is_a_number_that_the_caption_explains(only_own_font, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    shapes = marks(["sdxl", UNKNOWN, "fox 🦊"])
    values = {name: np.arange(6.0) for name in shapes}
    plot = distribution_plot(values, Axis("SCS", 0, 100), shapes, name="x")
    drawn = [text.get_text() for text in plot.figure.axes[0].texts]
    assert "model 3" in drawn and f"fox {REPLACEMENT}" in drawn  # of a sign, not a letter, only that is marked
    assert plot.caption == f"model 3: {UNKNOWN}" and shapes[UNKNOWN].number == 3
    assert UNKNOWN in plot.alt and named(UNKNOWN) in {line[0] for line in plot.data.lines}


def test_a_font_of_this_machine_that_has_the_letters_writes_them(monkeypatch):
    class Face:
        def get_char_index(self, code):
            return chr(code) in UNKNOWN

    monkeypatch.setattr(svg, "_faces", lambda: [Face()])
    assert svg.is_written(UNKNOWN) and not svg.is_written(UNKNOWN + "字")
    assert svg.unwritten({1: UNKNOWN, 2: "字", 3: None}) == "model 2: 字"


def test_differences_of_a_run_are_of_prompts_that_both_have_with_the_interval_of_compare(small):
    rows = [row for row in small.groups if row["group"] != "lonely"]
    extra = [dict(rows[0], model=model, group=f"g{n}", scs=70.0 + n * (1 + m)) for n in range(5)
             for m, model in enumerate(MODELS)]  # fmt: skip
    small.groups[:] = [*rows[::-1], *extra, dict(rows[0], model=MODELS[0], group="of one alone")]
    out = small.write()
    groups, score = averaged(read_groups(out / "groups.parquet")), read_summary(out / "summary.json").score("scs")
    plots = paired_plots(score, "scs", groups, marks(MODELS))
    assert [plot.name for plot in plots] == ["differences-scs-1", "differences-scs-2"]
    of = {(row["model"], row["group"]): row["scs"] for row in small.groups}
    prompts = sorted({group for _, group in of} - {"of one alone"})
    expected = bootstrap_difference(np.array([of[MODELS[2], p] - of[MODELS[1], p] for p in prompts]))
    numbers = dict(plots[0].data.lines)
    assert numbers["Prompts"] == str(len(prompts)) and numbers["Mean"] == signed(expected.value)
    assert numbers["Mean, low end"] == signed(expected.interval.low) != signed(expected.interval.high)
    assert "Paired differences" in report_of(small).section("differences")


def test_long_names_that_begin_and_end_alike_are_drawn_apart(monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "text", lambda *place, **_: drawn.append(place[3]))
    monkeypatch.setattr(Figure, "savefig", undrawn)
    models = [f"stabilityai/stable-diffusion-xl-{kind}-of-a-checkpoint-1.0" for kind in ("base", "fine")]
    values = {model: np.linspace(40, 60, 10) for model in models}
    distribution_plot(values, Axis("Score", 0.0, 100.0), marks(models), name="d")
    names = [text for text in drawn if "…" in text]
    assert len(set(names)) == 2 and all(len(name) <= IN_TITLE for name in names)


def test_of_very_many_prompts_the_interval_is_hardly_another_one(monkeypatch):
    differences = np.random.default_rng(1).normal(3, 5, 600)
    resampled = paired._interval(differences)
    monkeypatch.setattr(paired, "MOST_RESAMPLED", 500)
    assert paired._interval(differences).low == pytest.approx(resampled.low, abs=0.02)
    assert paired._interval(differences).high == pytest.approx(resampled.high, abs=0.02)


def test_one_model_or_none_in_common_has_no_differences(small):
    score = read_summary(small.write() / "summary.json").score("scs")
    table = pa.table({"model": ["sdxl", MODELS[1]], "group": ["a", "b"], "scs": [1.0, 2.0]})
    assert paired_plots(score, "scs", table, marks(MODELS)) == []
    assert paired_plots(score, "scs", table.slice(0, 1), marks(MODELS)) == []


def test_on_paper_long_tables_say_where_the_rest_is(small):
    assert "On paper" not in report_of(small).words()
    small.groups.extend(dict(small.groups[0], group=f"g{n}") for n in range(30))
    page = report_of(small)
    assert "On paper the first 40 of 42 lines; the rest is on the page" in page.words()
    assert ".tall tbody tr:nth-child(n+41) { display: none; }" in page.source.partition("@media print")[2]
