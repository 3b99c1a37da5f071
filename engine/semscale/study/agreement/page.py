"""`agreement.html`: ratings, raters and a metric on one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.report import palette
from semscale.report.format import DASH, clean, number, shorten, tail
from semscale.report.html import environment, frame
from semscale.report.images import Member
from semscale.report.tables import Cell, Detail
from semscale.report.thumbs import Thumb, thumbnail
from semscale.stats.majorities import NOBODY
from semscale.study.agreement import words
from semscale.study.agreement.agreeing import Agreement
from semscale.study.agreement.of_metric import MetricAgreement
from semscale.study.comparison.page_tables import Table

TEMPLATE = "agreement.html"
MAX_PICTURED = 24  # items with pictures
MAX_IMAGES = 8  # of one model and item
MAX_ITEMS = 500  # lines of a table
MAX_PAIRS = 200
MAX_UNMATCHED = 100


@dataclass(frozen=True, slots=True)
class Picture:
    """One image that raters saw."""

    thumb: Thumb
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class OneSide:
    """One model's images of an item."""

    model: str
    votes: int
    value: str
    raters_choose: bool
    metric_chooses: bool
    pictures: list[Picture]


@dataclass(frozen=True, slots=True)
class Apart:
    """An item on which raters and metric differ."""

    prompt: str
    sides: list[OneSide]


def render(found: Agreement, made: Mapping[str, Any]) -> str:
    """The page, the same byte for byte for the same ratings and scores. Everything from outside is escaped."""
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
        apart=[] if metric is None else _apart(found, metric),
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


def _apart(found: Agreement, metric: MetricAgreement) -> list[Apart]:
    places = found.disagreements[:MAX_PICTURED]
    members = [_members(found, metric, places, side) for side in (0, 1)]
    return [
        Apart(
            shorten(found.ratings.task.items[n].prompt, 300),
            [_side(found, metric, n, side, members[side].get(n, [])) for side in (0, 1)],
        )
        for n in places
    ]


def _side(found: Agreement, metric: MetricAgreement, n: int, side: int, members: list[Member]) -> OneSide:
    model = found.ratings.task.models[side]
    return OneSide(
        model=model,
        votes=int(found.counts[n, side]),
        value=number(float(metric.values[n, side])),
        raters_choose=bool(found.majority[n] == side),
        metric_chooses=bool(metric.choice[n] == side),
        pictures=[
            Picture(thumbnail(each), tail(each.key, 24), f"{shorten(model, 40)}: {tail(each.key, 60)}")
            for each in members
        ],
    )


def _members(found: Agreement, metric: MetricAgreement, places: list[int], side: int) -> dict[int, list[Member]]:
    """The images of one model that raters saw of some items, by rising seed; all, where no seeds are known."""
    place_of = {names[side]: n for n in places if (names := metric.names[n]) is not None}
    chosen = metric.sides[side]
    table = chosen.results.images_of(chosen.model, ["key", "uri", "sha256"])
    table = table.filter(pc.is_in(table["group"], value_set=pa.array(list(place_of), pa.string())))
    found_of: dict[int, list[Member]] = {}
    for row in table.sort_by([("seed", "ascending"), ("key", "ascending")]).to_pylist():
        n = place_of[row["group"]]
        shown, mine = found.ratings.task.items[n].seeds, found_of.setdefault(n, [])
        if len(mine) < MAX_IMAGES and (not shown or row["seed"] is None or row["seed"] in shown):
            mine.append(Member(row["key"], row["uri"], row["sha256"], None))
    return found_of


def _chosen(code: int, models: tuple[str, str]) -> str:
    return DASH if code == NOBODY else models[code]


def _name(text: str, limit: int) -> Cell:
    return Cell(shorten(text, limit), numeric=False)


def _sortable(value: float, text: str) -> Cell:
    return Cell(text, repr(float(value)) if np.isfinite(value) else "-1e999")
