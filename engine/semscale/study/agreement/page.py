"""`agreement.html`: ratings, raters and a metric on one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semscale.report import palette
from semscale.report.apart import apart
from semscale.report.format import DASH, clean, number, shorten
from semscale.report.html import environment, frame
from semscale.report.tables import Cell, Detail
from semscale.stats.majorities import NOBODY
from semscale.study.agreement import words
from semscale.study.agreement.agreeing import Agreement
from semscale.study.agreement.disagreeing import MAX_PICTURED
from semscale.study.agreement.of_metric import MetricAgreement
from semscale.study.comparison.page_tables import Table

TEMPLATE = "agreement.html"
MAX_ITEMS = 500  # lines of a table
MAX_PAIRS = 200
MAX_UNMATCHED = 100


def render(found: Agreement, made: Mapping[str, Any], disagreements: Sequence[Mapping[str, Any]]) -> str:
    """The page, the same byte for byte for the same ratings and scores. Everything from outside is escaped.

    `disagreements` are those of agreement.json; the first are shown with the images that they name.
    """
    templates = environment(Path(__file__).parent)
    task, metric = found.ratings.task, found.metric
    return templates.get_template(TEMPLATE).render(
        **frame(),
        title=clean(" and ".join(task.models)),
        found=found,
        task=task,
        n_raters=sum(rater.n > 0 for rater in found.raters),
        marks=palette.marks(task.models),
        headline=list(words.headline(found)),
        of_raters=list(words.of_raters(found)),
        of_metric=[] if metric is None else list(words.of_metric(metric)),
        raters=_raters(found),
        pairs=_pairs(found),
        apart=[apart(each) for each in disagreements[:MAX_PICTURED]],
        n_apart=len(found.disagreements),
        items=_items(found),
        unmatched=_unmatched(metric),
        made=[Detail(str(name), str(value)) for name, value in made.items() if name != "packages"],
    )


def _raters(found: Agreement) -> Table:
    lines = [
        [
            _name(rater.name, 80),
            Cell(str(rater.n), repr(rater.n)),
            _sortable(rater.plain.value, words.share_words(rater.plain)),
            _sortable(rater.others.value, words.share_words(rater.others)),
            _sortable(rater.left.value, words.share_words(rater.left)),
            _sortable(rater.seconds, DASH if np.isnan(rater.seconds) else f"{rater.seconds:.1f} s"),
            Cell(str(rater.n_hasty), repr(rater.n_hasty)),
        ]
        for rater in found.raters
    ]
    heads = ["Rater", "Items", "With the majority", "With the others", "Left chosen", "Median time", "Under 0.5 s"]
    return Table(heads, lines, len(lines))


def _pairs(found: Agreement) -> Table:
    lines = [
        [
            _name(two.a, 60),
            _name(two.b, 60),
            Cell(str(two.kappa.n), repr(two.kappa.n)),
            _sortable(two.kappa.value, words.of(two.kappa)),
            _name(two.kappa.reason, 200),
        ]
        for two in found.cohen[:MAX_PAIRS]
    ]
    return Table(["Rater", "Rater", "Items of both", "Cohen's kappa", "Note"], lines, len(found.cohen))


def _items(found: Agreement) -> Table:
    """Every item in the order of the task."""
    task, metric = found.ratings.task, found.metric
    lines = []
    for n, item in enumerate(task.items[:MAX_ITEMS]):
        line = [_name(item.prompt, 200), *(Cell(str(votes), repr(votes)) for votes in found.counts[n].tolist())]
        line.append(_name(_chosen(found.majority[n], task.models), 40))
        if metric is not None:
            line += [_sortable(value, number(value)) for value in metric.values[n].tolist()]
            line.append(_name(_chosen(metric.choice[n], task.models), 40))
        lines.append(line)
    models = [shorten(model, 24) for model in task.models]
    heads = ["Prompt", *(f"Votes {model}" for model in models), "Majority"]
    if metric is not None:
        heads += [*(f"{metric.metric.name} {model}" for model in models), f"{metric.metric.name} chooses"]
    return Table(heads, lines, len(task.items))


def _unmatched(metric: MetricAgreement | None) -> Table:
    loose = () if metric is None else metric.unmatched
    lines = [
        [_name(each.prompt, 200), _name(", ".join(each.present_in), 120), _name(", ".join(each.missing_in), 120)]
        for each in loose[:MAX_UNMATCHED]
    ]
    return Table(["Prompt", "Present in", "Missing in"], lines, len(loose))


def _chosen(code: int, models: tuple[str, str]) -> str:
    return DASH if code == NOBODY else models[code]


def _name(text: str, limit: int) -> Cell:
    return Cell(shorten(text, limit), numeric=False)


def _sortable(value: float, text: str) -> Cell:
    return Cell(text, repr(float(value)) if np.isfinite(value) else "-1e999")
