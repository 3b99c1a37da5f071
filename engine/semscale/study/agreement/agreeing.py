"""How far raters agree, with each other and with a metric: `agree`, which `semscale agreement` prints.

    from semscale.study.agreement.agreeing import agree
    found = agree("ratings", scores=["runs/sdxl", "runs/pixart"])       # or one run that holds both models
    found.alpha.value, found.metric.agree.value, found.metric.kappa.interval

All intervals are over items. Where there are several raters, an item's answer is what most of them said; a tie is no
majority and is counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array, Interval
from semscale.stats.agreement import (
    COHEN,
    FLEISS,
    Coefficient,
    alpha_of_counts,
    cohen_of_table,
    fleiss_kappa,
    undefined,
)
from semscale.stats.intervals import clustered_mean_interval
from semscale.stats.majorities import NOBODY, Share, majority, share, vote_counts, with_majority, with_others
from semscale.study.agreement.cautions import cautions
from semscale.study.agreement.of_metric import MetricAgreement, agree_with_metric
from semscale.study.agreement.of_raters import Rater, raters_of
from semscale.study.agreement.ratings import Ratings, read_ratings


@dataclass(frozen=True, slots=True)
class Two:
    """Cohen's kappa of two of the raters, over the items that both rated."""

    a: str
    b: str
    kappa: Coefficient


@dataclass(frozen=True, slots=True)
class Individual:
    """How often single raters agree with a majority."""

    mean: float  # over raters, each counting as much; NaN without any
    low: float  # of the rater who agrees least
    high: float  # of the rater who agrees most
    pooled: float  # over ratings, each counting as much: what the interval is of
    interval: Interval | None  # clustered by item; None where there is nothing to tell it from
    n_raters: int


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """What a folder of ratings says. Models are in the order of the task; N items."""

    ratings: Ratings
    votes: Array  # (raters, N) 0 or 1 for the model chosen, NOBODY where not rated
    counts: Array  # (N, 2) votes
    majority: Array  # (N,) 0 or 1; NOBODY for ties and items without a rating
    raters: tuple[Rater, ...]
    left: Share  # how often the left side was chosen
    seconds: float  # median of all ratings
    alpha: Coefficient
    fleiss: Coefficient
    cohen: tuple[Two, ...]  # every two raters
    mean_cohen: float  # over pairs whose kappa is defined (Light 1971)
    plain: Individual  # with the majority of all raters, as studies usually print it
    others: Individual  # with the majority of the other raters
    constant: str | None  # the model that the majority chose more often
    baseline: Share  # how often the majority chose it: what always giving this answer would reach
    metric: MetricAgreement | None
    warnings: tuple[str, ...]

    @property
    def n_raters(self) -> int:
        """Raters with a rating that counts."""
        return sum(rater.n > 0 for rater in self.raters)

    @property
    def n_items(self) -> int:
        """Items of the task, rated or not."""
        return len(self.ratings.task.items)

    @property
    def n_unrated(self) -> int:
        """Items without a rating."""
        return int((self.counts.sum(axis=1) == 0).sum())

    @property
    def n_ties(self) -> int:
        """Items with ratings and no majority."""
        return int((self.majority == NOBODY).sum()) - self.n_unrated

    @property
    def n_unanimous(self) -> int:
        """Items with two ratings or more, all the same."""
        return int(((self.counts.sum(axis=1) > 1) & (self.counts.min(axis=1) == 0)).sum())

    @property
    def disagreements(self) -> list[int]:
        """Places of items on which majority and metric differ: those on which raters are most of one mind first."""
        if self.metric is None:
            return []
        said, choice = self.majority, self.metric.choice
        places = np.flatnonzero((said != NOBODY) & (choice != NOBODY) & (said != choice))
        margin = np.abs(self.counts[:, 0] - self.counts[:, 1])[places] / self.counts[places].sum(axis=1)
        return [int(place) for place in places[np.lexsort((places, -margin))]]


def agree(folder: str | Path, *, scores: Sequence[str | Path] = (), metric: str = "scs") -> Agreement:
    """Read ratings and, where there are `scores`, the results of `semscale score` for both models.

    `scores` are one folder that holds both models, or one of each; "LABEL=FOLDER" says which model of the ratings a
    folder is. Joined by prompt and model. Raises UsageError when there are no ratings, for a missing folder, a model
    or metric that the scores do not have, and scores made in different ways; StoreError for a file that cannot be read.
    """
    ratings = read_ratings(Path(folder))
    if not ratings.ratings:
        taken_back = f" ({ratings.n_undone} were taken back)" if ratings.n_undone else ""
        raise UsageError(f"{folder}: has no ratings yet{taken_back}; open `semscale annotate` and rate some items")
    votes = _votes(ratings)
    counts = vote_counts(votes, 2)
    said = majority(counts)
    of_metric = agree_with_metric(ratings, said, scores, metric) if scores else None
    cohen = tuple(_pairs(ratings, votes))
    best = int(np.bincount(said[said != NOBODY], minlength=2).argmax())
    found = Agreement(
        ratings=ratings,
        votes=votes,
        counts=counts,
        majority=said,
        raters=raters_of(ratings, votes),
        left=share(sum(each.choice == "left" for each in ratings.ratings), len(ratings.ratings), "ratings"),
        seconds=float(np.median([each.seconds for each in ratings.ratings])),
        alpha=alpha_of_counts(counts),
        fleiss=_fleiss(counts),
        cohen=cohen,
        mean_cohen=_mean([two.kappa.value for two in cohen]),
        plain=_individual(with_majority(votes, 2), *_hits_with_all(counts, said)),
        others=_individual(with_others(votes, 2), *_hits_with_others(counts)),
        constant=ratings.task.models[best] if (said != NOBODY).any() else None,
        baseline=share(int((said == best).sum()), int((said != NOBODY).sum())),
        metric=of_metric,
        warnings=(),
    )
    return replace(found, warnings=tuple(cautions(found)))


def _votes(ratings: Ratings) -> Array:
    place = {item.item: n for n, item in enumerate(ratings.task.items)}
    row = {rater: n for n, rater in enumerate(ratings.raters)}
    votes = np.full((len(row), len(place)), NOBODY, np.int64)
    for each in ratings.ratings:
        votes[row[each.rater], place[each.item]] = ratings.task.models.index(each.model)
    return votes


def _pairs(ratings: Ratings, votes: Array) -> list[Two]:
    """Every two raters who rated anything."""
    found = []
    active = np.flatnonzero((votes != NOBODY).any(axis=1))
    for a, b in combinations(active, 2):
        both = (votes[a] != NOBODY) & (votes[b] != NOBODY)
        table = np.bincount(2 * votes[a, both] + votes[b, both], minlength=4).reshape(2, 2)
        kappa = cohen_of_table(table) if both.any() else undefined(COHEN, "rated no item in common")
        found.append(Two(ratings.raters[a], ratings.raters[b], kappa))
    return found


def _fleiss(counts: Array) -> Coefficient:
    """Over the rated items, where all have as many ratings."""
    rated = counts[counts.sum(axis=1) > 0]
    n = rated.sum(axis=1)
    if n.min() == n.max():
        return fleiss_kappa(rated)
    reason = f"items have from {n.min()} to {n.max()} ratings, and it needs as many for each; alpha does not"
    return undefined(FLEISS, reason, n=len(rated), n_ratings=int(n.sum()))


def _individual(shares: Sequence[Share], hits: Array, n: Array) -> Individual:
    """Of raters' own shares and, for the interval, (N,) ratings of each item that agree and that count."""
    values = [each.value for each in shares if each.n]
    if not values:
        nan = float("nan")
        return Individual(nan, nan, nan, nan, None, 0)
    kept = n > 0
    interval = clustered_mean_interval(hits[kept], n[kept], (0.0, 1.0))
    if interval is not None:
        method = "Student t over items, ratings clustered by item"
        interval = replace(interval, method=method) if interval.low < interval.high else None
    return Individual(_mean(values), min(values), max(values), float(hits.sum() / n.sum()), interval, len(values))


def _hits_with_all(counts: Array, said: Array) -> tuple[Array, Array]:
    decided = said != NOBODY
    return np.where(decided, counts.max(axis=1), 0), np.where(decided, counts.sum(axis=1), 0)


def _hits_with_others(counts: Array) -> tuple[Array, Array]:
    """Each of an item's votes against the others': a vote for a model agrees where that leads without it."""
    ahead = counts[:, 0] - counts[:, 1]
    agrees = np.where(ahead > 1, counts[:, 0], 0) + np.where(ahead < -1, counts[:, 1], 0)
    tied = np.where(ahead == 1, counts[:, 0], 0) + np.where(ahead == -1, counts[:, 1], 0)
    return agrees, counts.sum(axis=1) - tied


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")
