"""Which models are compared: one of each folder of results, or several of one folder."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from semscale.errors import UsageError
from semscale.report.format import plural
from semscale.study.comparison.results import Results


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
