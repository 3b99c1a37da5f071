"""A metric against the raters' majority: which model it prefers for each prompt, and whether that is more than luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array
from semscale.stats.agreement import Coefficient, cohen_kappa
from semscale.stats.majorities import NOBODY, Share, mcnemar, share
from semscale.stats.significance import TestResult
from semscale.study.agreement.ratings import Item, Ratings
from semscale.study.comparison.matching import Images, Prompts, match_images, match_prompts, values_of
from semscale.study.comparison.measured import Metric, choose, differences
from semscale.study.comparison.results import Results, read_results
from semscale.study.comparison.sides import Side


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A prompt that not all of ratings and scores have."""

    prompt: str
    present_in: tuple[str, ...]  # "ratings" and labels of models
    missing_in: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MetricAgreement:
    """A metric's choices for the N items of a task, and how often they are the majority's.

    Agreement is over the n items that have a majority and a choice of the metric; what lacks either is counted apart.
    """

    metric: Metric
    sides: tuple[Side, Side]  # in the order of the task's models
    names: tuple[tuple[str, str] | None, ...]  # (N) the groups of each item in the scores; None where unmatched
    values: Array  # (N, 2) NaN where there is none
    choice: Array  # (N,) 0 or 1; NOBODY for equal or missing values
    agree: Share
    kappa: Coefficient  # Cohen's, of metric and majority
    says: tuple[int, int]  # how often the metric chose each model, over the n items
    constant: str | None  # the best constant answer on the n items
    baseline: Share  # how often that is the majority's
    mcnemar: TestResult  # of the metric and the best constant answer
    n_metric_ties: int  # items where both models have the same value
    n_no_majority: int  # items where the metric has a choice and raters tie, or there are none
    unmatched: tuple[Unmatched, ...]
    other_images: tuple[str, ...]  # prompts of which the metric rests on other seeds than raters saw
    notes: tuple[str, ...]  # about how the scores were made

    @property
    def name(self) -> str:
        """Of the metric."""
        return self.metric.name

    @property
    def better(self) -> str:
        """Which end is better, "higher" or "lower"."""
        return self.metric.better

    @property
    def chooses(self) -> dict[str, int]:
        """How often the metric chose each model."""
        return {side.label: k for side, k in zip(self.sides, self.says, strict=True)}


def agree_with_metric(ratings: Ratings, majority: Array, scores: Sequence[str | Path], metric: str) -> MetricAgreement:
    """The (N,) majority of each item, and scores as in `agreeing.agree` -> the metric's part. Errors as there."""
    sides = scored_sides(scores, ratings.task.models)
    measured = choose(sides, [metric])
    if len(measured) != 1:
        raise UsageError(f"--metric {metric!r}: give one score or column")
    if measured[0].better == "neither":
        raise UsageError(f"{metric}: neither end is better, so it chooses no model; name another with --metric")
    refused, noted = differences(sides, measured)
    if refused:
        raise UsageError(f"{refused[0]}; score both in the same way")
    prompts = match_prompts(sides)
    images = match_images(sides, prompts, measured)
    rows = rows_of(ratings.task.items, sides, prompts)
    table = values_of(measured[0], sides, prompts, images)
    values = np.full((len(rows), 2), np.nan)
    values[rows >= 0] = table[rows[rows >= 0]]
    choice = choices(values, higher=measured[0].better == "higher")
    both = (choice != NOBODY) & (majority != NOBODY)
    return MetricAgreement(
        metric=measured[0],
        sides=sides,
        names=_names(rows, sides, prompts),
        values=values,
        choice=choice,
        **_compared(choice[both], majority[both], ratings.task.models),
        n_metric_ties=int((np.isfinite(values).all(axis=1) & (choice == NOBODY)).sum()),
        n_no_majority=int(((choice != NOBODY) & (majority == NOBODY)).sum()),
        unmatched=tuple(_unmatched(ratings.task.items, rows, sides, prompts)),
        other_images=_other_images(ratings.task.items, rows, images),
        notes=tuple(noted),
    )


def _compared(choice: Array, majority: Array, models: tuple[str, str]) -> dict[str, object]:
    """Both answers on the same n items -> how they agree, and how that compares with one constant answer."""
    says = np.bincount(majority, minlength=2)
    best = int(says.argmax())
    return {
        "agree": share(int((choice == majority).sum()), len(choice)),
        "kappa": cohen_kappa(choice.tolist(), majority.tolist()),
        "says": tuple(np.bincount(choice, minlength=2).tolist()),
        "constant": models[best] if len(majority) else None,
        "baseline": share(int(says[best]), len(majority)),
        "mcnemar": mcnemar(choice == majority, np.full(len(majority), best) == majority),
    }


def choices(values: Array, *, higher: bool) -> Array:
    """(N, 2) values of two models -> (N,) which is better, 0 or 1; NOBODY where they are equal or one is missing."""
    difference = values[:, 0] - values[:, 1] if higher else values[:, 1] - values[:, 0]
    return np.where(difference > 0, 0, np.where(difference < 0, 1, NOBODY))


def scored_sides(scores: Sequence[str | Path], models: tuple[str, str]) -> tuple[Side, Side]:
    """Where each of the task's models is in the scores.

    Raises UsageError for a folder that is missing and for a model that is in none of them, or in several.
    """
    named, free = {}, []
    for text in map(str, scores):
        label, mark, path = text.partition("=")
        if mark and label in models:
            named[label] = read_results(Path(path))
        else:
            free.append(read_results(Path(text)))
    first, second = (_side(label, named.get(label), free) for label in models)
    return first, second


def _side(label: str, named: Results | None, free: Sequence[Results]) -> Side:
    if named is not None:
        if label not in named.models and len(named.models) > 1:
            raise UsageError(f"{named.folder}: has no model {label!r}; it has {_listed([named])}")
        return Side(label, named, label if label in named.models else named.models[0])
    found = [(each, label) for each in free if label in each.models]
    found = found or [(e, e.models[0]) for e in free if len(e.models) == 1 and e.folder.resolve().name == label]
    if len(found) == 1:
        return Side(label, *found[0])
    if found:
        where = " and ".join(str(each.folder) for each, _ in found)
        raise UsageError(f"model {label!r} is in {where}; say which with --scores '{label}=RUN'")
    raise UsageError(
        f"the ratings are of a model {label!r}, which the scores do not have (they have {_listed(free)}); say which "
        f"folder it is with --scores '{label}=RUN'"
    )


def _listed(results: Sequence[Results]) -> str:
    names = [name or f"one without a name in {each.folder}" for each in results for name in each.models]
    return ", ".join(names) or "no other"


def rows_of(items: Sequence[Item], sides: Sequence[Side], prompts: Prompts) -> Array:
    """Which joined prompt each item is, by its text, else by the name that both models' groups share: (N,), or -1.

    Raises UsageError when two items are the same prompt.
    """
    groups = [side.groups["group"].to_pylist() for side in sides]
    place = {}
    for row, at in enumerate(prompts.joined.rows.tolist()):
        shared = {names[n] for names, n in zip(groups, at, strict=True)}
        place.update({shared.pop(): row} if len(shared) == 1 else {})
    place.update({key: row for row, key in enumerate(prompts.joined.keys)})
    rows = np.array([place.get(item.prompt, -1) for item in items], np.int64)
    known = rows[rows >= 0]
    if len(np.unique(known)) < len(known):
        twice = next(key for n, key in enumerate(prompts.joined.keys) if (known == n).sum() > 1)
        raise UsageError(f"two items of the ratings are the prompt {twice!r}; they cannot be told apart in the scores")
    return rows


def _names(rows: Array, sides: tuple[Side, Side], prompts: Prompts) -> tuple[tuple[str, str] | None, ...]:
    first, second = (side.groups["group"].to_pylist() for side in sides)
    at = prompts.joined.rows
    return tuple(None if row < 0 else (first[at[row, 0]], second[at[row, 1]]) for row in rows)


def _unmatched(items: Sequence[Item], rows: Array, sides: tuple[Side, Side], prompts: Prompts) -> list[Unmatched]:
    """Items without scores of both models, then prompts of the scores that were not rated."""
    labels = [side.label for side in sides]
    having = dict(prompts.joined.unmatched)
    found = []
    for item, row in zip(items, rows, strict=True):
        if row < 0:
            has = [labels[n] for n in having.pop(item.prompt, ())]
            found.append(Unmatched(item.prompt, ("ratings", *has), tuple(name for name in labels if name not in has)))
    found += [
        Unmatched(key, tuple(labels[n] for n in who), ("ratings", *(labels[n] for n in (0, 1) if n not in who)))
        for key, who in having.items()
    ]
    rated = set(rows.tolist())
    found += [Unmatched(k, tuple(labels), ("ratings",)) for n, k in enumerate(prompts.joined.keys) if n not in rated]
    return found


def _other_images(items: Sequence[Item], rows: Array, images: Images) -> tuple[str, ...]:
    """Items of which raters saw other seeds of a model than were scored; none where seeds are not known."""
    if any(images.n_without_seed):
        return ()
    scored: dict[tuple[int, int], set[int]] = {}
    columns = (images.items.prompt.tolist(), images.items.side.tolist(), images.items.seed.tolist())
    for prompt, side, seed in zip(*columns, strict=True):
        scored.setdefault((prompt, side), set()).add(seed)
    return tuple(
        item.prompt
        for item, row in zip(items, rows.tolist(), strict=True)
        if row >= 0 and item.seeds and any(scored.get((row, side)) != set(item.seeds) for side in (0, 1))
    )
