"""Joining by keys: which prompts and seeds all of several models have, and which only some. Pure functions.

S  models that are compared      P  prompts that all of them have      N  images, or other items, of all of them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Prompts that all models have, sorted, and those that only some have."""

    keys: tuple[str, ...]  # P
    rows: Array  # (P, S) where each model has the prompt
    unmatched: tuple[tuple[str, tuple[int, ...]], ...]  # a prompt, and the models that have it; sorted


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Images of several models: what they are keyed by."""

    prompt: Array  # (N,) place of the prompt, 0 to P - 1
    seed: Array  # (N,) int64
    side: Array  # (N,) which of the models, 0 to S - 1

    def only(self, chosen: Array) -> Items:
        """Some of the items: `chosen` is (N,) bool, or their places."""
        return Items(self.prompt[chosen], self.seed[chosen], self.side[chosen])


def keys_of(texts: Sequence[Sequence[str | None]], names: Sequence[Sequence[str]]) -> list[list[str]]:
    """What the groups of S models are joined by: the text, or the name where a group has no text or one model has
    several groups of the same text, as a sweep over settings does. Raises UsageError where that names two groups.
    """
    shared = {text for of_side in texts for text, n in Counter(of_side).items() if n > 1}
    found = []
    for of_side, its_names in zip(texts, names, strict=True):
        keys = [name if text is None or text in shared else text for text, name in zip(of_side, its_names, strict=True)]
        twice = [key for key, n in Counter(keys).items() if n > 1]
        if twice:
            raise UsageError(f"two groups of one model are called {twice[0]!r}; score again, grouped by text")
        found.append(keys)
    return found


def join_prompts(sides: Sequence[Sequence[str]]) -> Joined:
    """Join the prompts of S models, each there once in its model, by what they say."""
    places = [{key: row for row, key in enumerate(keys)} for keys in sides]
    every = sorted(set().union(*places))
    having = {key: tuple(side for side, known in enumerate(places) if key in known) for key in every}
    keys = tuple(key for key in every if len(having[key]) == len(sides))
    rows = np.array([[known[key] for known in places] for key in keys], np.int64).reshape(len(keys), len(sides))
    return Joined(keys, rows, tuple((key, who) for key, who in having.items() if len(who) < len(sides)))


def shared_seeds(items: Items, n_sides: int) -> Array:
    """Which of N items have a prompt and a seed that all models have: (N,) bool."""
    order, starts = _runs(items)
    side = items.side[order]
    first_of_side = np.ones(len(order), bool)
    first_of_side[1:] = (side[1:] != side[:-1]) | starts[1:]
    run = np.cumsum(starts) - 1
    n_having = np.bincount(run[first_of_side]) if len(run) else np.empty(0, np.int64)
    shared = np.empty(len(order), bool)
    shared[order] = n_having[run] == n_sides
    return shared


def sides_of_seeds(items: Items, n_sides: int) -> tuple[Items, Array]:
    """Every prompt and seed once, and which of the models have it: (K, S) bool."""
    order, starts = _runs(items)
    having = np.zeros((int(starts.sum()), n_sides), bool)
    having[np.cumsum(starts) - 1, items.side[order]] = True
    return items.only(order[starts]), having


def repeated_seeds(items: Items) -> int:
    """How many items repeat the prompt and seed of another of their model."""
    order, starts = _runs(items)
    side = items.side[order]
    return int(((side[1:] == side[:-1]) & ~starts[1:]).sum())


def _runs(items: Items) -> tuple[Array, Array]:
    """The order by prompt, seed and model, and where in it a prompt and seed begin."""
    order = np.lexsort((items.side, items.seed, items.prompt))
    prompt, seed = items.prompt[order], items.seed[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (prompt[1:] != prompt[:-1]) | (seed[1:] != seed[:-1])
    return order, starts


def means_of_prompts(items: Items, values: Array, shape: tuple[int, int]) -> Array:
    """(N,) values -> their (P, S) means by prompt and model, NaN where there are none; `shape` is (P, S).

    Values are added in the order of prompt, seed and size, so that the order of the items has no part in it.
    """
    n_prompts, n_sides = shape
    order = np.lexsort((values, items.seed, items.side, items.prompt))
    cell = items.prompt[order] * n_sides + items.side[order]
    totals = np.bincount(cell, values[order], n_prompts * n_sides)
    counts = np.bincount(cell, minlength=n_prompts * n_sides)
    with np.errstate(invalid="ignore"):
        return (totals / counts).reshape(n_prompts, n_sides)


def counts_of_prompts(items: Items, shape: tuple[int, int]) -> Array:
    """How many items each prompt has of each model: (P, S) int64; `shape` is (P, S)."""
    return np.bincount(items.prompt * shape[1] + items.side, minlength=shape[0] * shape[1]).reshape(shape)
