"""Paired differences of a run with several models: the best against each of the next, over the prompts of both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.model import Array, Interval
from semscale.report.difference_plot import difference_plot
from semscale.report.groups import of_model
from semscale.report.names import apart
from semscale.report.palette import Mark
from semscale.report.summary import ScoreSummary
from semscale.report.svg import Plot
from semscale.report.tables import best_first
from semscale.report.words import meaning
from semscale.stats.intervals import mean_interval
from semscale.stats.resampling import bootstrap_difference

MAX_OTHERS = 3  # models that the best is drawn against
MOST_RESAMPLED = 5_000  # prompts
IN_FIGURE = 28  # characters of a model


def paired_plots(
    score: ScoreSummary, column: str, groups: pa.Table, marks: Mapping[str | None, Mark], *, prefix: str = "differences"
) -> list[Plot]:
    """Return the differences of a score by prompt, sorted, with the interval of their mean; none without pairs.

    `column` of `groups` holds the score. Prompts are groups of the same name. The interval is that of `compare`; of
    more than MOST_RESAMPLED prompts Student's t, which is hardly another one then and takes no seconds.
    """
    known = groups.filter(pc.is_valid(groups[column]))
    models = [model for model, _ in best_first(score)][: MAX_OTHERS + 1]
    short = dict(zip(models, apart(models, IN_FIGURE), strict=True))
    plots = []
    for other in models[1:]:
        differences = _differences(of_model(known, models[0]), of_model(known, other), column)
        if len(differences):
            plot = difference_plot(
                differences,
                _interval(differences),
                (short[models[0]], short[other]),
                (marks[models[0]], marks[other]),
                name=f"{prefix}-{score.metric}-{len(plots) + 1}",
                title=f"{meaning(score.metric).short}: {short[models[0]]} − {short[other]}",
            )
            plots.append(plot)
    return plots


def _interval(differences: Array) -> Interval | None:
    if len(differences) > MOST_RESAMPLED:
        return mean_interval(differences, (-np.inf, np.inf))
    return bootstrap_difference(differences).interval


def _differences(a: pa.Table, b: pa.Table, column: str) -> Array:
    """(n,) of the prompts that both have, sorted by prompt."""
    a = a.sort_by("group")
    place = pc.index_in(a["group"], value_set=b["group"].combine_chunks())
    both = pc.is_valid(place)
    return (a.filter(both)[column].to_numpy() - b.take(place.filter(both))[column].to_numpy()).astype("float64")
