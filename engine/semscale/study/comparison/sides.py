"""Which models are compared: one of each folder of results, or several of one folder."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from semscale.errors import UsageError
from semscale.report.format import REPLACEMENT, clean, plural
from semscale.study.comparison.results import Results

LONGEST_NAME = 60  # characters of a model's name in a sentence
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # they turn round the numbers that follow


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the models that are compared."""

    label: str  # what it is called: different for each
    results: Results
    model: str | None  # as the results name it; None where they name none

    @property
    def groups(self) -> pa.Table:
        """Its rows of groups.parquet."""
        return self.results.groups_of(self.model)


def named(label: str) -> str:
    """A model as part of a sentence: on one line, not too long, and without characters that turn text round."""
    return _middle(_plain(label), LONGEST_NAME)


def apart(labels: Sequence[str], limit: int = LONGEST_NAME) -> list[str]:
    """Models as `named` has them, in at most `limit` characters, and cut where they stay different from one another.

    Longer only by a number where no cut keeps them apart.
    """
    plain = list(map(_plain, labels))
    letters = enumerate(zip(*plain, strict=False))
    same = next((n for n, each in letters if len(set(each)) > 1), 0)  # where they begin to differ
    kinds: tuple[list[str], ...] = (
        [_middle(name, limit) for name in plain],
        [_end(name, limit) for name in plain],
        [_end(f"…{name[same:]}", limit) for name in plain],
    )
    numbered = [f"{n} {name}" for n, name in enumerate(kinds[0], start=1)]
    return next((names for names in kinds if len(set(names)) == len(names)), numbered)


def _plain(label: str) -> str:
    return clean(_DIRECTIONS.sub(REPLACEMENT, label))


def _end(name: str, limit: int) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _middle(name: str, limit: int) -> str:
    kept = limit // 2
    return name if len(name) <= limit else f"{name[: limit - 1 - kept]}…{name[-kept:]}"


def sides(results: Sequence[Results], models: Sequence[str] = ()) -> tuple[Side, ...]:
    """Choose what to compare: with one folder its `models` (all, where none is named); with several a model of each.

    Raises UsageError for a model that a folder does not have, for a folder of several models of which none is chosen,
    and for a model that is compared with itself.
    """
    if len(results) == 1:
        found = [_found(results[0], name) for name in models] or results[0].models
        chosen = [(results[0], model) for model in found]
    elif models and len(models) != len(results):
        raise UsageError(
            f"{plural(len(models), 'model')} for {len(results)} folders; name one for each folder, in their order, or "
            "give one folder that holds them all"
        )
    else:
        found = list(map(_found, results, models)) if models else list(map(_only_model, results))
        chosen = list(zip(results, found, strict=True))
    if len(chosen) < 2:
        raise UsageError(_alone(results[0], models))
    places = [(each.folder.resolve(), model) for each, model in chosen]
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"{place[0]}{f', model {place[1]}' if place[1] else ''}: compared with itself")
    labels = _labels(chosen)
    return tuple(Side(label, each, model) for label, (each, model) in zip(labels, chosen, strict=True))


def _alone(results: Results, models: Sequence[str]) -> str:
    if len(results.models) > 1:
        known = ", ".join(_known(results))
        return f"{results.folder}: {models[0]!r} alone was named and two models are needed; it has {known}"
    return f"{results.folder}: holds one model; give a second folder of results to compare it with"


def _known(results: Results) -> list[str]:
    """Its models by the names that they go by here."""
    return [results.folder.resolve().name if name is None else name for name in results.models]


def _only_model(results: Results) -> str | None:
    if len(results.models) > 1:
        raise UsageError(
            f"{results.folder}: holds several models ({', '.join(_known(results))}); choose one for each folder with "
            "--models, in the order of the folders"
        )
    return results.models[0]


def _found(results: Results, model: str) -> str | None:
    """A model by its name; one that has none goes by that of the folder, as it is called in a comparison."""
    if model in results.models:
        return model
    if None in results.models and model == results.folder.resolve().name:
        return None
    known = _known(results)
    close = difflib.get_close_matches(model, known, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"{results.folder}: has no model {model!r}; {meant}it has {', '.join(known)}")


def _labels(chosen: Sequence[tuple[Results, str | None]]) -> list[str]:
    """The shortest kind of name that tells all of them apart."""
    names = [model or each.folder.resolve().name for each, model in chosen]
    long = [f"{each.folder.resolve().name}/{model}" if model else each.folder.resolve().name for each, model in chosen]
    whole = [f"{each.folder}/{model}" if model else str(each.folder) for each, model in chosen]
    return next((kind for kind in (names, long) if len(set(kind)) == len(kind)), whole)
