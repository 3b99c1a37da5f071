"""`compare.html`: a comparison on one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semscale.model import Array
from semscale.report import palette
from semscale.report.difference_plot import difference_plot
from semscale.report.format import plain, plural, shorten, signed
from semscale.report.html import environment, frame
from semscale.report.names import apart
from semscale.report.palette import Mark
from semscale.report.plots import MAX_TICKS, MIN_GROUPS_FOR_SHAPE, Axis, distribution_plot, scatter_plot
from semscale.report.side_by_side import Grid, Row, shots
from semscale.report.svg import Plot
from semscale.report.tables import Detail, encoder_details, run_details
from semscale.stats.comparison import summarise
from semscale.study.comparison import words
from semscale.study.comparison.comparing import ComparedPair, ahead_first
from semscale.study.comparison.findings import Findings, MetricFindings, SideBySide
from semscale.study.comparison.measured import Metric
from semscale.study.comparison.page_tables import Table, isolated, prompts_table, unmatched_table

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
    left_out: list[str]  # the first of them
    n_left_out: int


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page begins with."""

    sentence: str
    shown: bool  # whether any difference is


def render(found: Findings) -> tuple[str, list[Plot]]:
    """The page and its figures, the same byte for byte for the same findings. Everything from outside is escaped."""
    labels = found.labels
    marks = palette.marks(labels)
    sections = [_section(labels, compared, marks) for compared in found.metrics]
    both = _both(found, marks)
    page = (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            **frame(),
            title=" and ".join(isolated(labels)) if len(labels) < 4 else plural(len(labels), "model"),
            found=found,
            marks=_named(marks, labels, IN_TABLE),
            headline=_headline(found.metrics[0], sections[0], labels),
            sections=sections,
            grids=[_grid(told, found) for told in found.side_by_side],
            both=both,
            unmatched=unmatched_table(found.unmatched),
            runs=list(_runs(found)),
            made=[Detail(str(name), str(value)) for name, value in found.made.items() if name not in ("packages",)],
        )
    )
    drawn = [plot for section in sections for plot in (section.plot, *(pair.plot for pair in section.pairs))]
    return page, [plot for plot in (*drawn, both) if plot is not None]


def _named(found: Mapping[Any, Any], labels: Sequence[str], limit: int) -> dict[str | None, Any]:
    """What is known of each model, by names of at most so many characters."""
    return {name: found[label] for name, label in zip(apart(labels, limit), labels, strict=True)}


def _headline(compared: MetricFindings, section: Section, labels: Sequence[str]) -> Headline:
    """The sentence of two models; of more, which are told apart and which is foremost by its mean."""
    shown = sum(pair.shown for pair in section.pairs)
    if len(section.pairs) == 1 or not compared.prompts:
        return Headline(section.pairs[0].sentence, bool(shown))
    metric, means = compared.metric, compared.values.mean(axis=0)
    place = int(means.argmin() if metric.better == "lower" else means.argmax())
    end = "lowest" if metric.better == "lower" else "highest"
    differ = f"{shown} of {plural(len(section.pairs), 'pair')} of models differ by {metric.name}"
    over = f"over {plural(len(compared.prompts), 'prompt')}"
    foremost = f"{isolated(labels)[place]} has the {end} mean, {plain(float(means[place]))}"
    return Headline(f"{differ} {over}; {foremost}", bool(shown))


def _section(labels: Sequence[str], compared: MetricFindings, marks: Mapping[str | None, Mark]) -> Section:
    metric = compared.metric
    values: dict[str | None, Array] = dict(zip(labels, compared.values.T, strict=True))
    drawn = None
    if compared.prompts:
        values, shapes = (_named(each, labels, IN_FIGURE) for each in (values, marks))
        name = f"compare-distribution-{metric.column}"
        drawn = distribution_plot(values, _axis(metric, compared.values), shapes, name=name)
    return Section(
        metric=metric,
        direction="neither end is better" if metric.better == "neither" else f"{metric.better} is better",
        models=[_summary(label, compared, n) for n, label in enumerate(apart(labels, IN_TABLE))],
        plot=drawn,
        caption=_caption(len(compared.prompts)),
        pairs=[_pair(compared, ahead_first(pair), labels, marks, number=n) for n, pair in enumerate(compared.pairs)],
        table=prompts_table(labels, compared),
        left_out=compared.left_out,
        n_left_out=compared.n_left_out,
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
        _title(metric),
        min(metric.low, low) if np.isfinite(metric.low) else low - room,
        max(metric.high, high) if np.isfinite(metric.high) else high + room,
    )


def _title(metric: Metric) -> str:
    return metric.name.upper() if metric.name == CONSISTENCY else metric.name


def _summary(label: str, compared: MetricFindings, side: int) -> list[str]:
    found = summarise(compared.values[:, side])
    quartiles = f"{plain(found.q1)} to {plain(found.q3)}"
    return [label, *map(plain, (found.mean, found.median, found.sd)), quartiles]


def _pair(
    compared: MetricFindings,
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


def _both(found: Findings, marks: Mapping[str | None, Mark]) -> Plot | None:
    """Consistency by alignment: a model that draws one image whatever the seed is consistent, too."""
    named = {each.metric.name: each for each in found.metrics}
    if not {CONSISTENCY, ALIGNMENT} <= named.keys():
        return None
    first, second = named[CONSISTENCY], named[ALIGNMENT]
    place = {prompt: row for row, prompt in enumerate(second.prompts)}
    rows = [row for row, prompt in enumerate(first.prompts) if prompt in place]
    if not rows:
        return None
    x, y = first.values[rows], second.values[[place[first.prompts[row]] for row in rows]]
    values = {label: np.column_stack([x[:, n], y[:, n]]) for n, label in enumerate(found.labels)}
    values, shapes = (_named(each, found.labels, IN_LEGEND) for each in (values, marks))
    name = "compare-consistency-by-alignment"
    return scatter_plot(values, _axis(first.metric, x), _axis(second.metric, y), shapes, name=name)


def _grid(told: SideBySide, found: Findings) -> Grid:
    """A prompt with pictures, with the difference of two models or the reach of more."""
    metric, values = found.metrics[0].metric, [each.value for each in told.models]
    names = dict(zip(found.labels, apart(found.labels, IN_TABLE), strict=True))
    a, b = ahead_first(found.metrics[0].pairs[0]).columns
    heads, of_two = isolated(found.labels, IN_LEGEND), len(found.labels) == 2
    return Grid(
        title=shorten(told.prompt, 200),
        apart=f"{heads[a]} − {heads[b]}" if of_two else "apart by",
        gap=signed(values[a] - values[b]) if of_two else plain(max(values) - min(values)),
        columns=told.columns,
        paired=told.paired,
        rows=tuple(
            Row(
                names[each.model],
                f"{_title(metric)} {plain(each.value)}",
                (),
                shots(each.model, told.prompt, each.images, told.columns),
            )
            for each in told.models
        ),
        n_models=len(found.labels),
    )


def _runs(found: Findings) -> Iterator[tuple[str, list[Detail]]]:
    """What each folder of results was made with, once."""
    names = dict(zip(found.labels, isolated(found.labels), strict=True))
    for folder, labels, summary in found.runs:
        encoders = [line for kind, spec in summary.models.items() for line in encoder_details(kind, spec)]
        title = ", ".join(names[label] for label in labels)
        yield title, [Detail("Results", folder), *run_details(summary), *encoders]
