"""The parts of the page that join several tables: the headline, the plots over groups, the tables of groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from semscale.report import curves as curves_of
from semscale.report import palette, plots, tables, words
from semscale.report.format import DASH, shorten
from semscale.report.gallery import Panel
from semscale.report.groups import Group, rows, values_by_model
from semscale.report.paired import paired_plots
from semscale.report.palette import Mark
from semscale.report.plots import Axis
from semscale.report.summary import ScoreSummary, Summary
from semscale.report.svg import Plot
from semscale.report.sweeps import AXES, sweeps

MAX_GROUP_ROWS = 500  # from each end
MAX_LEFT_OUT = 50
COLUMN_OF = {"scs": "scs", "clip-score": "clip_score"}  # score -> column of groups.parquet
Marks = Mapping[str | None, Mark]


@dataclass(frozen=True, slots=True)
class Card:
    """One score of the headline."""

    score: ScoreSummary
    words: words.Meaning
    facts: list[words.Fact]
    models: list[tables.ModelRow]
    plot: Plot | None  # None when no model is named


@dataclass(frozen=True, slots=True)
class End:
    """The groups at one end of the ranking, with pictures."""

    title: str
    panels: list[Panel]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """The first lines of a long table, and how long it is."""

    heads: list[str]
    lines: list[list[tables.Cell]]
    total: int


def card(score: ScoreSummary, marks: Marks) -> Card:
    """Return the headline of one score; models come best first in the table and in the plot."""
    models = dict(tables.best_first(score))
    plot = plots.interval_plot(models, axis(score), marks, name=f"interval-{score.metric}") if models else None
    return Card(score, words.meaning(score.metric), words.facts(score), tables.model_rows(score), plot)


def axis(score: ScoreSummary) -> Axis:
    """Return the axis along which a score is drawn."""
    return Axis(words.meaning(score.metric).short, *words.bounds(score))


def distributions(summary: Summary, ranked: pa.Table, marks: Marks, *, prefix: str = "distribution") -> list[Plot]:
    """Return the distribution of each score over groups; models come best first. `prefix` begins the plots' names."""
    drawn = []
    for score in _scores(summary, ranked):
        values = values_by_model(ranked, (COLUMN_OF[score.metric],))
        values = {m: v[:, 0] for m, v in sorted(values.items(), key=lambda item: -item[1].mean())}
        if values:
            drawn.append(plots.distribution_plot(values, axis(score), marks, name=f"{prefix}-{score.metric}"))
    return drawn


def alignment(summary: Summary, ranked: pa.Table, marks: Marks) -> Plot | None:
    """Return consistency by alignment, a point a group, where a run has both."""
    scores = {score.metric: score for score in _scores(summary, ranked)}
    if not scores.keys() >= set(COLUMN_OF):
        return None
    both = values_by_model(ranked, tuple(COLUMN_OF.values()))
    axes = [axis(scores[name]) for name in COLUMN_OF]
    return plots.scatter_plot(both, axes[0], axes[1], marks, name="consistency-by-alignment") if both else None


def paired(summary: Summary, ranked: pa.Table, marks: Marks) -> list[Plot]:
    """Return the paired differences of the first score over groups; none of a run with one model."""
    scores = _scores(summary, ranked)[:1]  # `compare` draws the others
    return [plot for score in scores for plot in paired_plots(score, COLUMN_OF[score.metric], ranked, marks)]


def _scores(summary: Summary, ranked: pa.Table) -> list[ScoreSummary]:
    return [score for score in summary.scores if COLUMN_OF.get(score.metric) in ranked.column_names]


def sweep_plots(summary: Summary) -> list[Plot]:
    """Return each score that has a card against each setting that was swept."""
    drawn = []
    for score in summary.scores:
        for field, curves in sweeps(score.by_model).items() if score.metric in COLUMN_OF else ():
            marks = palette.marks(curve.label for curve in curves)
            name = f"sweep-{field}-{score.metric}"
            drawn.append(curves_of.sweep_plot(curves, AXES[field], axis(score), marks, name=name))
    return drawn


def group_table(ranked: pa.Table) -> GroupTable:
    """Return the lines of the groups at both ends, the least consistent first."""
    with_clip = "clip_score" in ranked.column_names
    n_first = min(MAX_GROUP_ROWS, ranked.num_rows)
    n_last = min(MAX_GROUP_ROWS, ranked.num_rows - n_first)
    shown = [*rows(ranked.slice(0, n_first)), *rows(ranked.slice(ranked.num_rows - n_last))]
    lines = [tables.group_cells(group, with_clip=with_clip) for group in shown]
    return GroupTable(tables.group_heads(with_clip=with_clip), lines, ranked.num_rows)


def left_out(table: pa.Table) -> GroupTable:
    """Return the lines of the groups that have no consistency."""
    lines = [_left_out_cells(group) for group in rows(table.slice(0, MAX_LEFT_OUT))]
    return GroupTable(["Model", "Group", "Valid images", "Invalid images"], lines, table.num_rows)


def _left_out_cells(group: Group) -> list[tables.Cell]:
    return [
        tables.Cell(shorten(group.model, 60) if group.model else DASH, numeric=False),
        tables.Cell(shorten(group.group, 160), numeric=False),
        tables.Cell(str(group.n)),
        tables.Cell(str(group.n_invalid)),
    ]
