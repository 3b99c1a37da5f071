"""`compare.html`: a comparison on one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semscale.model import Array
from semscale.report import palette
from semscale.report.format import plural
from semscale.report.html import environment, frame
from semscale.report.palette import Mark
from semscale.report.plots import MAX_TICKS, MIN_GROUPS_FOR_SHAPE, Axis, distribution_plot, scatter_plot
from semscale.report.svg import Plot
from semscale.report.tables import Detail, encoder_details, run_details
from semscale.stats.comparison import summarise
from semscale.study.comparison import words
from semscale.study.comparison.comparing import ComparedMetric, ComparedPair, Study, ahead_first
from semscale.study.comparison.difference_plot import difference_plot
from semscale.study.comparison.measured import Metric
from semscale.study.comparison.page_tables import Table, isolated, prompts_table, unmatched_table
from semscale.study.comparison.sides import apart

TEMPLATE = "compare.html"
MAX_PLOTTED_PAIRS = 6  # pairs of models whose differences are drawn
IN_TABLE, IN_FIGURE, IN_DIFFERENCES, IN_LEGEND = 60, 30, 28, 24  # characters of a model
CONSISTENCY, ALIGNMENT = "scs", "clip-score"


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair of models by one metric, the one that is ahead first."""

    names: str
    sentence: str
    shown: bool  # whether a difference is
    facts: list[words.Fact]
    plot: Plot | None


@dataclass(frozen=True, slots=True)
class Section:
    """One metric."""

    metric: Metric
    direction: str
    models: list[list[str]]  # name, mean, median, SD, quartiles
    plot: Plot | None
    caption: str
    pairs: list[Pair]
    table: Table
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page begins with."""

    sentence: str
    shown: bool  # whether any difference is


def render(study: Study, made: Mapping[str, Any]) -> tuple[str, list[Plot]]:
    """The page and its figures, the same byte for byte for the same study. Everything from outside is escaped."""
    labels = [side.label for side in study.sides]
    marks = palette.marks(labels)
    sections = [_section(study, compared, marks) for compared in study.metrics]
    both = _both(study, marks)
    page = (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            **frame(),
            title=" and ".join(isolated(labels)) if len(labels) < 4 else plural(len(labels), "model"),
            study=study,
            marks=_named(marks, labels, IN_TABLE),
            n_images=int(study.images.counts.sum()),
            headline=_headline(study.metrics[0], sections[0], labels),
            sections=sections,
            both=both,
            unmatched=unmatched_table(study),
            runs=list(_runs(study)),
            made=[Detail(str(name), str(value)) for name, value in made.items() if name not in ("packages",)],
        )
    )
    drawn = [plot for section in sections for plot in (section.plot, *(pair.plot for pair in section.pairs))]
    return page, [plot for plot in (*drawn, both) if plot is not None]


def _named(found: Mapping[Any, Any], labels: Sequence[str], limit: int) -> dict[str | None, Any]:
    """What is known of each model, by names of at most so many characters."""
    return {name: found[label] for name, label in zip(apart(labels, limit), labels, strict=True)}


def _headline(compared: ComparedMetric, section: Section, labels: Sequence[str]) -> Headline:
    """The sentence of two models; of more, which are told apart and which is foremost by its mean."""
    shown = sum(pair.shown for pair in section.pairs)
    if len(section.pairs) == 1 or not len(compared.places):
        return Headline(section.pairs[0].sentence, bool(shown))
    metric, means = compared.metric, compared.values.mean(axis=0)
    place = int(means.argmin() if metric.better == "lower" else means.argmax())
    end = "lowest" if metric.better == "lower" else "highest"
    differ = f"{shown} of {plural(len(section.pairs), 'pair')} of models differ by {metric.name}"
    over = f"over {plural(len(compared.places), 'prompt')}"
    foremost = f"{isolated(labels)[place]} has the {end} mean, {words.plain(float(means[place]))}"
    return Headline(f"{differ} {over}; {foremost}", bool(shown))


def _section(study: Study, compared: ComparedMetric, marks: Mapping[str | None, Mark]) -> Section:
    metric, labels = compared.metric, [side.label for side in study.sides]
    values: dict[str | None, Array] = dict(zip(labels, compared.values.T, strict=True))
    drawn = None
    if len(compared.places):
        values, shapes = (_named(each, labels, IN_FIGURE) for each in (values, marks))
        name = f"compare-distribution-{metric.column}"
        drawn = distribution_plot(values, _axis(metric, compared.values), shapes, name=name)
    return Section(
        metric=metric,
        direction="neither end is better" if metric.better == "neither" else f"{metric.better} is better",
        models=[_summary(label, compared, n) for n, label in enumerate(apart(labels, IN_TABLE))],
        plot=drawn,
        caption=_caption(len(compared.places)),
        pairs=[_pair(compared, ahead_first(pair), labels, marks, number=n) for n, pair in enumerate(compared.pairs)],
        table=prompts_table(study, compared),
        left_out=compared.left_out,
    )


def _caption(n_prompts: int) -> str:
    """What the distributions of so many prompts show."""
    if n_prompts < MIN_GROUPS_FOR_SHAPE:
        return "One point a prompt."
    told = (
        "A curve shows where the prompts of a model lie; the bar below holds the middle half, with a line at the "
        "median, and the thin line reaches from the 5th to the 95th percentile."
    )
    return f"{told} Ticks are single prompts." if n_prompts <= MAX_TICKS else told


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


def _pair(
    compared: ComparedMetric,
    pair: ComparedPair,
    labels: Sequence[str],
    marks: Mapping[str | None, Mark],
    *,
    number: int,
) -> Pair:
    """A pair in words, and the differences of the first MAX_PLOTTED_PAIRS drawn."""
    metric, found, (a, b) = compared.metric, pair.statistics, pair.columns
    first, second = (isolated(labels)[n] for n in pair.columns)
    plot = None
    if found.n and number < MAX_PLOTTED_PAIRS:
        differences, interval = compared.values[:, a] - compared.values[:, b], found.mean_difference.interval
        name = f"compare-differences-{metric.column}-{number + 1}"
        short = apart(labels, IN_DIFFERENCES)
        plot = difference_plot(differences, interval, (short[a], short[b]), (marks[pair.a], marks[pair.b]), name=name)
    return Pair(
        names=f"{first} − {second}",
        sentence=words.sentence(metric, (first, second), found, pair.p, adjusted=pair.adjusted),
        shown=pair.ahead is not None,
        facts=words.facts(metric, found, pair.p, adjusted=pair.adjusted),
        plot=plot,
    )


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
    labels = [side.label for side in study.sides]
    values = {label: np.column_stack([x[:, n], y[:, n]]) for n, label in enumerate(labels)}
    values, shapes = (_named(each, labels, IN_LEGEND) for each in (values, marks))
    name = "compare-consistency-by-alignment"
    return scatter_plot(values, _axis(first.metric, x), _axis(second.metric, y), shapes, name=name)


def _runs(study: Study) -> Iterator[tuple[str, list[Detail]]]:
    """What each folder of results was made with, once."""
    seen: dict[Path, list[str]] = {}
    for side in study.sides:
        seen.setdefault(side.results.folder, []).append(side.label)
    for folder, labels in seen.items():
        summary = next(side.results.summary for side in study.sides if side.results.folder == folder)
        encoders = [line for kind, spec in summary.models.items() for line in encoder_details(kind, spec)]
        yield ", ".join(isolated(labels)), [Detail("Results", str(folder)), *run_details(summary), *encoders]
