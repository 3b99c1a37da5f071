"""The rows of the page's tables, as text ready to be shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from semscale.report.format import DASH, count, duration, is_defined, number, shorten, span, value_text
from semscale.report.groups import Group
from semscale.report.images import Failed
from semscale.report.summary import Estimate, ScoreSummary, Summary

MAX_MODELS = 50
SHORT_HASH = 12


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model's line under a score."""

    model: str
    value: str
    interval: str
    median: str
    sd: str
    n_groups: str
    n_images: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a sortable table. `order` is what it sorts by: a number, or empty to sort by the text."""

    text: str
    order: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """How long one stage of the run took."""

    name: str
    seconds: str
    percent: str  # of the longest stage: the length of its bar


@dataclass(frozen=True, slots=True)
class Detail:
    """One line of the provenance; `full` is shown on hover when `text` is a short form."""

    name: str
    text: str
    full: str = ""


def best_first(score: ScoreSummary) -> list[tuple[str, Estimate]]:
    """Return every model with its estimate, the best first, those without a value last; ties by name."""
    sign = -1 if score.higher_is_better else 1

    def rank(item: tuple[str, Estimate]) -> tuple[float, str]:
        return (sign * item[1].value if is_defined(item[1].value) else math.inf, item[0])

    return sorted(score.by_model.items(), key=rank)


def model_rows(score: ScoreSummary) -> list[ModelRow]:
    """Return a row for each model, the best first, at most MAX_MODELS."""
    return [
        ModelRow(
            model=model,
            value=number(e.value),
            interval=span(e.low, e.high),
            median=number(e.median),
            sd=number(e.sd),
            n_groups=count(e.n_groups),
            n_images=count(e.n_images),
        )
        for model, e in best_first(score)[:MAX_MODELS]
    ]


def group_heads(*, with_clip: bool) -> list[str]:
    """Return the heads of the table of all groups."""
    return ["Model", "Group", "Images", "SCS", "95 % interval", "Lowest pair", "Highest pair"] + [
        "CLIP score"
    ] * with_clip


def group_cells(group: Group, *, with_clip: bool) -> list[Cell]:
    """Return one line of the table of all groups."""
    numbers = (group.scs, group.scs_low, group.min_similarity, group.max_similarity)
    scs, low, smallest, largest = (_order(value) for value in numbers)
    cells = [
        Cell(shorten(group.model, 60) if group.model else DASH, numeric=False),
        Cell(shorten(group.group, 160), numeric=False),
        Cell(count(group.n), str(group.n)),
        Cell(number(group.scs), scs),
        Cell(span(group.scs_low, group.scs_high), low),
        Cell(number(group.min_similarity), smallest),
        Cell(number(group.max_similarity), largest),
    ]
    return [*cells, Cell(number(group.clip_score), _order(group.clip_score))] if with_clip else cells


def _order(value: float | None) -> str:
    return repr(float(value)) if is_defined(value) else "-inf"


def failure_rows(summary: Summary, found: list[Failed]) -> list[Failed]:
    """Return each reason with its count in the summary and examples from the table of images."""
    examples = {failed.code: failed for failed in found}
    counts = {failed.code: failed.n for failed in found} | dict(summary.failures)
    merged = [Failed(code, n, examples[code].examples if code in examples else ()) for code, n in counts.items() if n]
    return sorted(merged, key=lambda failed: (-failed.n, failed.code))


def stages(summary: Summary) -> list[Stage]:
    """Return the stages of the run with bars relative to the longest; the total is not one of them."""
    seconds = {name: value for name, value in summary.seconds.items() if name != "total"}
    longest = max((value for value in seconds.values() if is_defined(value)), default=0.0) or 1.0
    return [
        Stage(name, duration(value), f"{100 * value / longest if is_defined(value) else 0:.1f}")
        for name, value in seconds.items()
    ]


def encoder_details(kind: str, spec: Mapping[str, Any]) -> list[Detail]:
    """Return what identifies an encoder: `spec` is a ModelSpec as a mapping."""
    sha256 = str(spec.get("sha256") or "")
    pieces = spec.get("preprocess") or spec.get("tokens") or {}
    return [
        Detail(f"{kind.capitalize()} encoder", value_text(spec.get("name"))),
        Detail("Weights, sha256", shorten(sha256[:SHORT_HASH]) or DASH, sha256),
        Detail("Preprocessing" if kind == "image" else "Tokens", _named(pieces)),
        Detail(
            "Input, dimension", f"{value_text(spec.get('input_shape'))} {spec.get('input_dtype')} → {spec.get('dim')}"
        ),
        Detail("Precision", value_text(spec.get("precision"))),
    ]


def run_details(summary: Summary) -> list[Detail]:
    """Return what was run, with what, and where."""
    made = summary.provenance
    known = ("command", "started", "semscale", "python", "platform", "cpu", "packages", "gate")
    return [
        Detail("Command", value_text(made.get("command"), 2000)),
        Detail("Date", value_text(made.get("started")).replace("T", " ").replace("+00:00", " UTC")),
        Detail("Source", value_text(summary.source)),
        Detail("Layout", value_text(summary.layout)),
        Detail("Back end", value_text(summary.backend)),
        Detail("Parameters", _named(summary.parameters)),
        Detail("semscale", value_text(made.get("semscale"))),
        Detail("Python", value_text(made.get("python"))),
        Detail("Packages", _named(made.get("packages") or {}, " ")),
        Detail("Machine", ", ".join(value_text(made[key]) for key in ("platform", "cpu") if made.get(key)) or DASH),
        *(Detail("Compared with float32", _gate_words(each)) for each in made.get("gate") or ()),
        *(
            Detail(value_text(name, 60), value_text(value))
            for name, value in made.items()
            if value and name not in known
        ),
    ]


def _gate_words(compared: Mapping[str, Any]) -> str:
    """How far a tower that does not run in float32 is from it, each number with its limit."""
    try:
        limits = compared["limits"]
        return (
            f"{value_text(compared['tower'])}, {value_text(compared['candidate'])}, {compared['n']:d} probes: "
            f"centred cosine at least {compared['centred_min']:.4f} (limit {limits['centred_min']:g}), "
            f"{compared['overlap']:.1%} of the ten nearest neighbours kept ({limits['overlap']:.0%}), "
            f"a group's score changed by at most {compared['score_change']:.2f} of 100 ({limits['score_change']:g})"
        )
    except (KeyError, TypeError, ValueError):  # a summary of another version, or edited by hand
        return value_text(compared)


def _named(values: Mapping[str, Any], between: str = " = ") -> str:
    return shorten(", ".join(f"{name}{between}{value_text(v, 300)}" for name, v in values.items()), 4000) or DASH


def source_name(summary: Summary) -> str:
    """Return the last part of the source's path, the page's title."""
    return shorten(PurePath(summary.source).name or summary.source, 80) or "scores"
