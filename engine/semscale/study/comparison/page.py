"""`compare.html`: a comparison on one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semscale.model import Array
from semscale.report import palette
from semscale.report.format import DASH, plural, shorten
from semscale.report.html import environment, frame
from semscale.report.palette import Mark
from semscale.report.plots import Axis, distribution_plot, scatter_plot
from semscale.report.svg import Plot
from semscale.report.tables import Cell, Detail, encoder_details, run_details
from semscale.stats.comparison import summarise
from semscale.study.comparison import words
from semscale.study.comparison.comparing import ComparedMetric, ComparedPair, Study
from semscale.study.comparison.difference_plot import difference_plot
from semscale.study.comparison.measured import Metric
from semscale.study.comparison.sides import named

TEMPLATE = "compare.html"
MAX_PROMPTS = 500  # lines of a table
MAX_UNMATCHED = 100
MAX_HEADLINES = 6  # pairs of models in the head of the page
MAX_PLOTTED_PAIRS = 6  # pairs of models whose differences are drawn
CONSISTENCY, ALIGNMENT = "scs", "clip-score"


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair of models by one metric."""

    names: str
    sentence: str
    shown: bool  # whether a difference is
    facts: list[words.Fact]
    plot: Plot | None


@dataclass(frozen=True, slots=True)
class Table:
    """The first lines of a long table, and how long it is."""

    heads: list[str]
    lines: list[list[Cell]]
    total: int


@dataclass(frozen=True, slots=True)
class Section:
    """One metric."""

    metric: Metric
    direction: str
    models: list[list[str]]  # label, mean, median, SD, quartiles
    plot: Plot | None
    pairs: list[Pair]
    table: Table
    left_out: tuple[str, ...]


def render(study: Study, made: Mapping[str, Any]) -> str:
    """The page, the same byte for byte for the same study. Everything from outside is escaped."""
    labels = [side.label for side in study.sides]
    marks = palette.marks(labels)
    sections = [_section(study, compared, marks, index) for index, compared in enumerate(study.metrics)]
    return (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            **frame(),
            title=" and ".join(map(_apart, labels)) if len(labels) < 4 else plural(len(labels), "model"),
            study=study,
            marks=marks,
            n_images=int(study.images.counts.sum()),
            headline=sections[0].pairs[:MAX_HEADLINES],
            sections=sections,
            both=_both(study, marks),
            unmatched=_unmatched(study),
            runs=list(_runs(study)),
            made=[Detail(str(name), str(value)) for name, value in made.items() if name not in ("packages",)],
        )
    )


def _section(study: Study, compared: ComparedMetric, marks: Mapping[str | None, Mark], index: int) -> Section:
    metric, labels = compared.metric, [side.label for side in study.sides]
    values: dict[str | None, Array] = dict(zip(labels, compared.values.T, strict=True))
    drawn = None
    if len(compared.places):
        drawn = distribution_plot(values, _axis(metric, compared.values), marks, name=f"values{index}")
    return Section(
        metric=metric,
        direction="neither end is better" if metric.better == "neither" else f"{metric.better} is better",
        models=[_summary(label, compared, n) for n, label in enumerate(labels)],
        plot=drawn,
        pairs=[
            _pair(compared, pair, marks, name=f"pair{index}x{n}" if n < MAX_PLOTTED_PAIRS else "")
            for n, pair in enumerate(compared.pairs)
        ],
        table=_prompts(study, compared),
        left_out=compared.left_out,
    )


def _axis(metric: Metric, values: Array) -> Axis:
    """The axis of a metric; where it has no bounds, ones that are well outside its values."""
    low, high = float(values.min()), float(values.max())
    room = 3 * (high - low) or 1.0
    return Axis(
        metric.name.upper() if metric.name == CONSISTENCY else metric.name,
        min(metric.low, low) if np.isfinite(metric.low) else low - room,
        max(metric.high, high) if np.isfinite(metric.high) else high + room,
    )


def _summary(label: str, compared: ComparedMetric, side: int) -> list[str]:
    found = summarise(compared.values[:, side])
    quartiles = f"{words.plain(found.q1)} to {words.plain(found.q3)}"
    return [label, *map(words.plain, (found.mean, found.median, found.sd)), quartiles]


def _pair(compared: ComparedMetric, pair: ComparedPair, marks: Mapping[str | None, Mark], *, name: str) -> Pair:
    """A pair in words, and its differences drawn under a `name`, where it has one."""
    metric, found, (a, b) = compared.metric, pair.statistics, pair.columns
    names = (_apart(pair.a), _apart(pair.b))
    plot = None
    if found.n and name:
        differences, interval = compared.values[:, a] - compared.values[:, b], found.mean_difference.interval
        plot = difference_plot(
            differences, interval, (named(pair.a), named(pair.b)), (marks[pair.a], marks[pair.b]), name=name
        )
    return Pair(
        names=f"{names[0]} − {names[1]}",
        sentence=words.sentence(metric, names, found, pair.p, adjusted=pair.adjusted),
        shown=pair.ahead is not None,
        facts=words.facts(metric, found, pair.p, adjusted=pair.adjusted),
        plot=plot,
    )


def _apart(label: str) -> str:
    """A model as part of a line, kept apart: a name that is written from right to left turns nothing else round."""
    return f"\u2068{named(label)}\u2069"


def _prompts(study: Study, compared: ComparedMetric) -> Table:
    """Every prompt with its values, by difference of the first two models: the largest first."""
    labels = [side.label for side in study.sides]
    differences = compared.values[:, 0] - compared.values[:, 1]
    order = np.lexsort((compared.places, -differences))[:MAX_PROMPTS]
    lines = [
        [
            Cell(shorten(study.prompts.joined.keys[compared.places[row]], 200), numeric=False),
            *(Cell(words.plain(value), repr(value)) for value in compared.values[row].tolist()),
            Cell(words.signed(float(differences[row])), repr(float(differences[row]))),
            Cell(" / ".join(map(str, study.images.counts[compared.places[row]]))),
        ]
        for row in order
    ]
    heads = [f"\u2068{shorten(named(label), 24)}\u2069" for label in labels]
    return Table(["Prompt", *heads, f"{heads[0]} − {heads[1]}", "Images"], lines, len(compared.places))


def _both(study: Study, marks: Mapping[str | None, Mark]) -> Plot | None:
    """Consistency by alignment: a model that draws one image whatever the seed is consistent, too."""
    found = {each.metric.name: each for each in study.metrics}
    if not {CONSISTENCY, ALIGNMENT} <= found.keys():
        return None
    first, second = found[CONSISTENCY], found[ALIGNMENT]
    shared, rows, others = np.intersect1d(first.places, second.places, return_indices=True)
    if not len(shared):
        return None
    x, y = first.values[rows], second.values[others]
    values: dict[str | None, Array] = {
        side.label: np.column_stack([x[:, n], y[:, n]]) for n, side in enumerate(study.sides)
    }
    return scatter_plot(values, _axis(first.metric, x), _axis(second.metric, y), marks, name="both")


def _unmatched(study: Study) -> Table:
    lines = [
        [
            Cell(row["what"], numeric=False),
            Cell(shorten(row["prompt"], 200), numeric=False),
            Cell(DASH if row["seed"] is None else str(row["seed"]), numeric=False),
            Cell(shorten(", ".join(row["present_in"]), 120), numeric=False),
            Cell(shorten(", ".join(row["missing_in"]), 120), numeric=False),
        ]
        for row in study.unmatched.slice(0, MAX_UNMATCHED).to_pylist()
    ]
    return Table(["What", "Prompt", "Seed", "Present in", "Missing in"], lines, len(study.unmatched))


def _runs(study: Study) -> Iterator[tuple[str, list[Detail]]]:
    """What each folder of results was made with, once."""
    seen: dict[Path, list[str]] = {}
    for side in study.sides:
        seen.setdefault(side.results.folder, []).append(side.label)
    for folder, labels in seen.items():
        summary = next(side.results.summary for side in study.sides if side.results.folder == folder)
        encoders = [line for kind, spec in summary.models.items() for line in encoder_details(kind, spec)]
        yield ", ".join(map(_apart, labels)), [Detail("Results", str(folder)), *run_details(summary), *encoders]
