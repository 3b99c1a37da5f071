"""The table of every metric that has no card of its own: distances to a reference, diversity, edits, pixels."""

from __future__ import annotations

from dataclasses import dataclass

from semscale.metrics.registry import METRICS
from semscale.report.format import DASH, is_defined, plural
from semscale.report.summary import Estimate, ScoreSummary, Summary
from semscale.report.tables import MAX_MODELS, best_first

CARDS = ("scs", "clip-score")  # scores with a card


@dataclass(frozen=True, slots=True)
class Line:
    """One number of the table."""

    model: str | None  # None for all models together
    value: str
    interval: str
    n: str


@dataclass(frozen=True, slots=True)
class Other:
    """One metric of the table."""

    label: str
    what: str
    range: str
    encoder: str
    lines: list[Line]
    warnings: list[str]


def others(summary: Summary) -> list[Other]:
    """Return every score of a run that has no card, in the order in which they were asked for."""
    return [_other(score) for score in summary.scores if score.metric not in CARDS]


def _other(score: ScoreSummary) -> Other:
    described = METRICS.get(score.name)
    better = {True: "higher is better", False: "lower is better", None: "neither end is better"}[score.higher_is_better]
    lines = [_line(model, part, score) for model, part in best_first(score)[:MAX_MODELS]]
    estimates = [score.overall, *score.by_model.values()]
    return Other(
        label=score.metric,
        what="" if described is None else described.what,
        range=better if described is None else f"{described.range}; {better}",
        encoder=score.encoder or DASH,
        lines=[*lines, _line(None, score.overall, score)],
        warnings=list(dict.fromkeys(why for part in estimates for why in part.warnings)),
    )


def _line(model: str | None, part: Estimate, score: ScoreSummary) -> Line:
    known = is_defined(part.low) and is_defined(part.high)
    interval = f"{significant(part.low)} to {significant(part.high)}" if known else DASH
    return Line(model, significant(part.value), interval, plural(part.n, score.per))


def significant(value: float) -> str:
    """Return a number with four digits that count, or an en dash when it is undefined."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}") if is_defined(value) else DASH
