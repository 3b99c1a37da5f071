"""How many images a prompt needs: the sensitivity study of the Semantic Consistency Score, from the images of a pilot.

For every prompt the errors of scores of N images (see `subsets`) are compared with a wanted precision. The answer is
the smallest N from which on a wanted share of them is within it: for the mean over prompts of a model, for prompts as
they come, and for the worst prompt. A mode that no image of the pilot shows is in none of these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.vectors import unit_rows
from semscale.model import Array
from semscale.scoring import group_rows
from semscale.store import open_store
from semscale.study.samples.sample_plan import HIGHEST, MIN_PILOT, Advice, Plan, Prompt, Question, in_unit
from semscale.study.samples.subsets import Errors, errors_of
from semscale.verify import stores_in

STEPWISE, STEP = 100, 1.02  # every N up to 100, then 2 % apart
POOLED = 2_000_000  # errors of all prompts that are held to find their quantiles
QUANTILE = "inverted_cdf"  # the smallest error that so large a share stays within


def plan_samples(store: str | Path, question: Question | None = None) -> Plan:
    """Plan from the embeddings of a store, or of the only one in results of `score`.

    Groups are those that scores are of: a model and a prompt or folder. One group is in memory at a time. The same
    store, question and seed give the same plan. Raises StoreError where there is no store, UsageError where there are
    several, where no group has MIN_PILOT valid images, or where the question is wrong.
    """
    found = stores_in(store)
    if len(found) > 1:
        raise UsageError(f"{store}: has {len(found)} stores; name one of {', '.join(map(str, found))}")
    return _Pilots(found[0]).plan(question or Question())


class _Pilots:
    """The groups of a store, large enough and sampled."""

    def __init__(self, path: Path) -> None:
        self._path, self._store = path, open_store(path)
        self._groups = group_rows(self._store)
        self._order = np.argsort(self._groups.of_row, kind="stable")
        self._sizes = np.bincount(self._groups.of_row, minlength=len(self._groups))
        self._ends = np.cumsum(self._sizes)
        self._invalid = 0  # groups that were large enough until their invalid images were left out

    def plan(self, question: Question) -> Plan:
        large = np.flatnonzero(self._sizes >= MIN_PILOT)
        rng = np.random.default_rng(question.seed)
        chosen = np.sort(rng.choice(large, min(question.groups, len(large)), replace=False))
        tally = _Tally(question, len(chosen))
        prompts = [tally.add(*group) for group in self._read(chosen, question)]
        if not prompts:
            most = self._sizes.max(initial=0)
            raise UsageError(
                f"{self._path}: no group has {MIN_PILOT} valid images, the largest has {most} images; make a pilot of "
                f"{MIN_PILOT} or more images of a prompt, better 50"
            )
        median, high, within = tally.pooled()
        n_too_small = len(self._groups) - len(large) + self._invalid
        return Plan(question, prompts, tally.advice(), median, high, within, n_too_small, len(large) - len(chosen))

    def _read(self, chosen: Array, question: Question) -> Iterator[tuple[str | None, str, Errors]]:
        for group in map(int, chosen):
            rows = self._order[self._ends[group] - self._sizes[group] : self._ends[group]]
            units, valid = unit_rows(self._store.images.take(rows))
            if valid.sum() < MIN_PILOT:
                self._invalid += 1
                continue
            rng = np.random.default_rng((question.seed, group))
            found = errors_of(units[valid], grid(question), repeats=question.repeats, rng=rng)
            yield self._groups.model[group], self._groups.name[group], found


def grid(question: Question) -> Array:
    """Every N that is tried, rising: the recommendation is one of them."""
    steps = math.ceil(math.log(HIGHEST / STEPWISE) / math.log(STEP))
    rising = np.minimum(np.ceil(STEPWISE * STEP ** np.arange(1, steps + 1)), HIGHEST).astype(np.int64)
    return np.unique(np.concatenate([np.arange(2, STEPWISE + 1), rising, question.sizes]))


def smallest(sizes: Array, within: Array, confidence: float) -> int | None:
    """(K,) rising sizes and the share within the precision at each -> the size from which on it is large enough."""
    failing = np.flatnonzero(within < confidence)
    first = int(failing[-1]) + 1 if len(failing) else 0
    return int(sizes[first]) if first < len(sizes) else None


@dataclass(slots=True)
class _Model:
    """Sums over the prompts of one model."""

    errors: Array  # (R, K) sum of the errors
    within: Array  # (K,) sum of the shares
    prompts: list[Prompt]


class _Tally:
    """Takes prompts one by one, and keeps of each what the answer needs."""

    def __init__(self, question: Question, n_groups: int) -> None:
        self._question, self._grid = question, grid(question)
        self._shown = np.searchsorted(self._grid, np.unique(question.sizes))
        self._kept = max(1, POOLED // max(1, n_groups * len(self._shown)))
        self._pooled: list[Array] = []
        self._models: dict[str | None, _Model] = {}

    def add(self, model: str | None, group: str, found: Errors) -> Prompt:
        absolute, score = np.abs(found.values), found.pilot.score
        within = (absolute <= self._question.precision.points(score)).mean(axis=0)
        shown = absolute[:, self._shown]
        self._pooled.append(in_unit(self._question.precision, shown[: self._kept], score))
        median, high = np.quantile(shown, [0.5, self._question.confidence], axis=0, method=QUANTILE)
        needed = self._smallest(within)
        prompt = Prompt(model, group, found.pilot, needed, median, high, within[self._shown])
        zero = np.zeros_like(found.values), np.zeros_like(within)
        entry = self._models.setdefault(model, _Model(*zero, []))
        entry.errors += found.values
        entry.within += within
        entry.prompts.append(prompt)
        return prompt

    def _smallest(self, within: Array) -> int | None:
        return smallest(self._grid, within, self._question.confidence)

    def advice(self) -> list[Advice]:
        """How many images each model's prompts need."""
        return [self._advice(name, self._models[name]) for name in sorted(self._models, key=lambda n: n or "")]

    def _advice(self, name: str | None, model: _Model) -> Advice:
        count = len(model.prompts)
        mean = float(np.mean([prompt.pilot.score for prompt in model.prompts]))
        within = (np.abs(model.errors / count) <= self._question.precision.points(mean)).mean(axis=0)
        worst = max(model.prompts, key=lambda prompt: prompt.needed or HIGHEST + 1)
        for_prompts = self._smallest(model.within / count)
        return Advice(name, count, self._smallest(within), for_prompts, worst.needed, worst.group)

    def pooled(self) -> tuple[Array, Array, Array]:
        """Median, wanted quantile and share within the precision, over the errors of all prompts together."""
        levels = [0.5, self._question.confidence]
        median, high = np.quantile(np.concatenate(self._pooled), levels, axis=0, method=QUANTILE)
        within = np.sum([model.within for model in self._models.values()], axis=0)[self._shown]
        return median, high, within / sum(len(model.prompts) for model in self._models.values())
