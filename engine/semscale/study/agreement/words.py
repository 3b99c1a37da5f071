"""Agreement in words and numbers that people read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from semscale.model import Interval
from semscale.report.format import DASH, plural
from semscale.stats.agreement import Coefficient
from semscale.stats.majorities import Share
from semscale.study.agreement.agreeing import Agreement, Individual
from semscale.study.agreement.findings import Findings, MetricFindings
from semscale.study.agreement.of_metric import MetricAgreement
from semscale.study.comparison.words import p_words


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: its name, its value with an interval, and how it was made or why it is missing."""

    name: str
    value: str
    how: str


def headline(found: Agreement) -> Iterator[str]:
    """What to say in one or two lines."""
    who = f"{plural(found.n_raters, 'rater')} on {plural(found.n_items - found.n_unrated, 'item')}"
    said = f"Krippendorff's alpha {of(found.alpha)}" if found.n_raters > 1 else "no agreement between raters to tell"
    yield f"{who}: {said}"
    if found.metric is not None:
        yield against_metric(found.metric)


def against_metric(metric: MetricAgreement) -> str:
    """A metric, the majority and the best constant answer, in one line."""
    if not metric.agree.n:
        return f"{metric.name} and the majority have no item in common on which both choose"
    return (
        f"{metric.name} agrees with the majority on {metric.agree.hits} of {plural(metric.agree.n, 'item')}: "
        f"{share_words(metric.agree)}, kappa {of(metric.kappa)}; always {metric.constant!r} agrees on "
        f"{metric.baseline.hits} (McNemar {_p(metric)})"
    )


def of_raters(found: Agreement | Findings) -> Iterator[Line]:
    """How raters agree with each other."""
    yield _coefficient(found.alpha)
    yield _coefficient(found.fleiss)
    if len(found.cohen) == 1:
        yield _coefficient(found.cohen[0].kappa)
    elif found.cohen:
        how = f"mean of {plural(len(found.cohen), 'pair')} of raters (Light 1971); alpha has an interval"
        yield Line("Cohen's kappa", number(found.mean_cohen), how)
    rated = found.n_items - found.n_unrated
    yield Line("Unanimous", f"{found.n_unanimous} of {rated}", "items with two ratings or more, all the same")
    yield _individual("Individual agreement", found.plain, "with the majority of all, the rater included")
    yield _individual("… with the others", found.others, "with the majority of the other raters: the fairer figure")
    if found.constant is not None:
        yield Line(f"Always {found.constant!r}", share_words(found.baseline), "how often the majority says so")
    yield Line("Left side chosen", share_words(found.left), f"of {plural(found.left.n, 'rating')}; Wilson")
    yield Line("Time per item", f"{found.seconds:.1f} s", "median of all ratings")


def of_metric(metric: MetricAgreement | MetricFindings) -> Iterator[Line]:
    """How a metric agrees with the majority."""
    n = plural(metric.agree.n, "item")
    yield Line("Agreement with the majority", share_words(metric.agree), f"{metric.agree.hits} of {n}; Wilson")
    yield _coefficient(metric.kappa)
    if metric.constant is not None:
        how = f"{metric.baseline.hits} of the same {n}; the best constant answer, chosen with the answers known"
        yield Line(f"Always {metric.constant!r}", share_words(metric.baseline), how)
    test = metric.mcnemar
    how = f"{test.method}: {test.statistic:.0f} of {test.n}" if test.n else test.reason
    yield Line("McNemar, metric and constant", _p(metric), how)
    said = ", ".join(f"{model} {k}" for model, k in metric.chooses.items())
    yield Line(f"{metric.name} chooses", said, f"{metric.better} is better")


def number(value: float) -> str:
    """A coefficient: two decimals, or a dash."""
    return DASH if math.isnan(value) else f"{value:.2f}"


def of(found: Coefficient) -> str:
    """A coefficient and its interval: "0.74 [0.51, 0.88]"."""
    return number(found.value) + _ends(found.interval, number)


def share_words(found: Share) -> str:
    """A share and its interval: "94.0 % [87.5 %, 97.2 %]"."""
    return _percent(found.value) + _ends(found.interval, _percent)


def _coefficient(found: Coefficient) -> Line:
    how = f"{plural(found.n, 'item')}, {plural(found.n_ratings, 'rating')}"
    return Line(found.name, of(found), f"{how}; {found.interval.method if found.interval else found.reason}")


def _individual(name: str, found: Individual, how: str) -> Line:
    spread = f"; raters from {_percent(found.low)} to {_percent(found.high)}" if found.n_raters > 1 else ""
    pooled = f"; of all ratings {_percent(found.pooled)}{_ends(found.interval, _percent)}" if found.n_raters else ""
    return Line(name, _percent(found.mean), f"mean over {plural(found.n_raters, 'rater')}, {how}{spread}{pooled}")


def _ends(interval: Interval | None, write: object) -> str:
    return "" if interval is None else f" [{write(interval.low)}, {write(interval.high)}]"  # type: ignore[operator]


def _percent(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.1%}".replace("%", " %")


def _p(metric: MetricAgreement | MetricFindings) -> str:
    return p_words(metric.mcnemar.p)
