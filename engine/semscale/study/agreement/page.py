"""`agreement.html`: ratings, raters and a metric on one page that needs no other file and no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semscale.report import palette
from semscale.report.format import DASH, clean, number, shorten
from semscale.report.html import environment, frame
from semscale.report.tables import Cell, Detail
from semscale.study.agreement import words
from semscale.study.agreement.findings import Findings, MetricFindings
from semscale.study.comparison.page_tables import IN_HEAD, Table, isolated

TEMPLATE = "agreement.html"
MAX_ITEMS = 500  # lines of a table
MAX_PAIRS = 200


def render(found: Findings) -> str:
    """The page, the same byte for byte for the same findings. Everything from outside is escaped."""
    templates = environment(Path(__file__).parent)
    metric = found.metric
    return templates.get_template(TEMPLATE).render(
        **frame(),
        title=clean(" and ".join(found.models)),
        found=found,
        marks=palette.marks(found.models),
        of_raters=list(words.of_raters(found)),
        of_metric=[] if metric is None else list(words.of_metric(metric)),
        raters=_raters(found),
        pairs=_pairs(found),
        items=_items(found),
        unmatched=_unmatched(metric),
        made=[Detail(str(name), str(value)) for name, value in found.made.items() if name != "packages"],
    )


def _raters(found: Findings) -> Table:
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
    heads = ["Rater", "Items", "With the majority", "With the others", "Left chosen", "Median time", "Under 0.5\u00a0s"]
    return Table(heads, lines, len(lines))


def _pairs(found: Findings) -> Table:
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


def _items(found: Findings) -> Table:
    """Every item in the order of the task."""
    items, metric = found.items, found.metric
    lines = []
    for n, prompt in enumerate(items.prompts[:MAX_ITEMS]):
        line = [_name(prompt, 200), *(Cell(str(votes), repr(votes)) for votes in items.counts[n].tolist())]
        line.append(_name(items.majority[n] or DASH, 40))
        if metric is not None:
            line += [_sortable(value, number(value)) for value in items.values[n].tolist()]
            line.append(_name(items.choice[n] or DASH, 40))
        lines.append(line)
    models = isolated(found.models, IN_HEAD)
    heads = ["Prompt", *(f"Votes {model}" for model in models), "Majority"]
    if metric is not None:
        heads += [*(f"{metric.name} {model}" for model in models), f"{metric.name} chooses"]
    return Table(heads, lines, found.n_items)


def _unmatched(metric: MetricFindings | None) -> Table:
    loose = () if metric is None else metric.unmatched
    lines = [
        [_name(each.prompt, 200), _name(", ".join(each.present_in), 120), _name(", ".join(each.missing_in), 120)]
        for each in loose
    ]
    return Table(["Prompt", "Present in", "Missing in"], lines, 0 if metric is None else metric.n_unmatched)


def _name(text: str, limit: int) -> Cell:
    return Cell(shorten(text, limit), numeric=False)


def _sortable(value: float, text: str) -> Cell:
    return Cell(text, repr(float(value)) if np.isfinite(value) else "-1e999")
