"""What to know before the figures of a folder of ratings are believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semscale.study.agreement.of_raters import HASTY

if TYPE_CHECKING:
    from semscale.study.agreement.agreeing import Agreement
    from semscale.study.agreement.of_metric import MetricAgreement

EXAMPLES = 3


def cautions(found: Agreement) -> Iterator[str]:
    """Every warning, in the order in which they matter."""
    ratings = found.ratings
    yield from _few(found)
    interval = found.left.interval
    if interval is not None and not interval.low <= 0.5 <= interval.high:
        side = "left" if found.left.value > 0.5 else "right"
        yield (
            f"position bias: raters chose the {side} side more often than chance, left in {found.left.value:.0%} "
            f"[{interval.low:.0%}, {interval.high:.0%}] of {_n(found.left.n, 'rating')}"
        )
    for rater in found.raters:
        if rater.constant:
            yield f"rater {_quoted(rater.name)} pressed {rater.constant} on all of {_n(rater.n, 'item')}"
        if rater.n_hasty:
            of = f"{rater.n_hasty} of {_n(rater.n, 'item')}"
            yield f"rater {_quoted(rater.name)} answered in less than {HASTY} s on {of}"
    if idle := [rater.name for rater in found.raters if not rater.n]:
        yield f"{_n(len(idle), 'rater')} without a rating that counts: {_some(idle)}"
    if found.n_unrated:
        yield f"{found.n_unrated} of {_n(len(ratings.task.items), 'item')} without a rating"
    if found.n_ties:
        yield f"{_n(found.n_ties, 'item')} on which raters tie: no majority, and left out of everything that needs one"
    if ratings.n_torn:
        yield f"{_n(ratings.n_torn, 'last line')} cut off, as when the writer was killed: that rating is not counted"
    if found.metric is not None:
        yield from _of_metric(found.metric)


def _few(found: Agreement) -> Iterator[str]:
    if sum(rater.n > 0 for rater in found.raters) == 1:
        yield "one rater: the majority is what that rater said, and nothing can be said of agreement between raters"
    if int((found.counts.sum(axis=1) > 0).sum()) == 1:
        yield "one item: nothing can be said of others"


def _of_metric(metric: MetricAgreement) -> Iterator[str]:
    yield from metric.notes
    loose = metric.unmatched
    if unrated := [each.prompt for each in loose if "ratings" in each.missing_in]:
        yield f"{_n(len(unrated), 'prompt')} of the scores not rated: {_some(unrated)}"
    if unscored := [each.prompt for each in loose if "ratings" in each.present_in]:
        yield f"{_n(len(unscored), 'rated prompt')} without scores of both models: {_some(unscored)}"
    matched = [names is not None for names in metric.names]
    if n_lacking := int((np.isnan(metric.values).any(axis=1) & np.array(matched, bool)).sum()):
        yield f"{_n(n_lacking, 'item')} without a value of {metric.metric.name} for both models"
    if metric.n_metric_ties:
        yield f"{_n(metric.n_metric_ties, 'item')} on which both models have the same {metric.metric.name}: no choice"
    if metric.other_images:
        yield (
            f"raters and {metric.metric.name} saw different images (other seeds, or more) of "
            f"{_n(len(metric.other_images), 'item')}: {_some(metric.other_images)}"
        )
    if metric.agree.n and metric.baseline.hits >= metric.agree.hits:
        yield (
            f"always answering {_quoted(metric.constant or '')} agrees with the majority as often as "
            f"{metric.metric.name} does, or more: {metric.baseline.hits} and {metric.agree.hits} of "
            f"{_n(metric.agree.n, 'item')}"
        )


def _n(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(map(_quoted, names[:EXAMPLES])) + more


def _quoted(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else f"{text[: limit - 1]}…")
