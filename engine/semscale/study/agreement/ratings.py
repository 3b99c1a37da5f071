"""Ratings of `semscale annotate` as others read them: `task.json` and one `ratings/<rater>.jsonl` for each rater.

A rating counts when it is the last of its rater and item and was not undone. A last line that was cut off when the
writer was killed is left out and counted; anything else that is not as it should be is an error, never a smaller n.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from semscale.errors import StoreError, UsageError, explained

FORMAT = 1
Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to rate: both models' images of a prompt."""

    item: str  # stable id
    prompt: str
    seeds: tuple[int, ...]  # shown of each model; () where they are not known


@dataclass(frozen=True, slots=True)
class Task:
    """What was asked of every rater."""

    template: str
    question: str
    models: tuple[str, str]
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Rating:
    """One choice that counts."""

    rater: str
    item: str
    model: str  # the one that was chosen
    choice: Side
    left: str  # the models, as they were shown
    right: str
    seconds: float  # from shown to chosen


@dataclass(frozen=True, slots=True)
class Ratings:
    """A folder of ratings."""

    folder: Path
    task: Task
    raters: tuple[str, ...]  # sorted; some may have no rating that counts
    ratings: tuple[Rating, ...]  # that count, by rater and then in the order of the task's items
    n_undone: int  # ratings that were taken back
    n_replaced: int  # ratings that another of the same rater and item followed
    n_torn: int  # last lines without an end


@dataclass(slots=True)
class _Counted:
    """What is left of the events so far."""

    task: Task
    places: Mapping[str, int]  # of the task's items, by id
    ratings: dict[tuple[str, str], Rating] = field(default_factory=dict)
    n_undone: int = 0
    n_replaced: int = 0
    n_torn: int = 0


def read_ratings(folder: Path) -> Ratings:
    """Read a folder that `semscale annotate` wrote, also while it writes.

    Raises UsageError when it is no such folder, StoreError when a file cannot be understood, with the file and line.
    """
    task = read_task(folder)
    counted = _Counted(task, {item.item: place for place, item in enumerate(task.items)})
    names: dict[str, str] = {}  # as first written, by what tells raters apart
    for file in sorted((folder / "ratings").glob("*.jsonl")):
        owner = ""
        for where, event in _events(file, counted):
            name = _text(event, "rater", where)
            rater = _identity(name)
            if rater != owner and (owner or rater in names):
                raise StoreError(f"{where}: of rater {name!r}; a file holds one rater, and a rater has one file")
            owner = rater
            _count(event, names.setdefault(rater, name), counted=counted, where=where)
    kept = sorted(counted.ratings.values(), key=lambda rating: (rating.rater, counted.places[rating.item]))
    totals = (counted.n_undone, counted.n_replaced, counted.n_torn)
    return Ratings(folder, task, tuple(sorted(names.values())), tuple(kept), *totals)


def _identity(name: str) -> str:
    """What tells raters apart: the name, whatever its case and spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def read_task(folder: Path) -> Task:
    """Read `task.json`. Raises UsageError when the folder or the file is missing, StoreError when it is no task."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the one that `semscale annotate` wrote with -o")
    file = folder / "task.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise StoreError(f"{file}: format {raw['format']!r} is of another version of semscale")
        items = tuple(Item(str(i["item"]), str(i["prompt"]), tuple(map(int, i["seeds"] or ()))) for i in raw["items"])
        models = tuple(map(str, raw["models"]))
        task = Task(str(raw["template"]), str(raw["question"]), models, items)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise UsageError(f"{file}: no such file; give the folder that `semscale annotate` wrote with -o") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{file}: not a task of `semscale annotate` ({explained(error):.100}); restore it from a copy"
        ) from error
    if len(set(models)) != 2 or len(models) != 2:
        raise StoreError(f"{file}: a task is of two different models, not {list(models)}")
    if len({item.item for item in items}) != len(items):
        raise StoreError(f"{file}: two items have the same id")
    return task


def _events(file: Path, counted: _Counted) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every event of a file, with where it stands for errors."""
    try:
        *lines, torn = file.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"{file}: cannot be read ({error})") from error
    if torn and _is_whole(torn):
        lines.append(torn)  # it lacks its end alone
    else:
        counted.n_torn += bool(torn)  # half a line: the writer had not answered yet, and the next one cuts it off
    for number, line in enumerate(lines, start=1):
        yield f"{file}, line {number}", _event(line, f"{file}, line {number}")


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _event(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{where}: not an event ({explained(error):.100}); mend that line from a copy, or remove it"
        ) from error
    if not isinstance(event, dict):
        raise StoreError(f"{where}: not an event; mend that line from a copy, or remove it")
    return event


def _count(event: Mapping[str, Any], rater: str, *, counted: _Counted, where: str) -> None:
    kind, item = event.get("event"), _text(event, "item", where)
    if item not in counted.places:
        raise StoreError(f"{where}: item {item!r} is not in task.json; these ratings are of another task")
    if kind == "undone":
        counted.n_undone += counted.ratings.pop((rater, item), None) is not None
    elif kind == "rated":
        counted.n_replaced += (rater, item) in counted.ratings
        counted.ratings[rater, item] = _rating(event, rater, item, models=counted.task.models, where=where)
    else:
        raise StoreError(f"{where}: unknown event {kind!r}; it was written by another version of semscale")


def _rating(event: Mapping[str, Any], rater: str, item: str, *, models: tuple[str, str], where: str) -> Rating:
    left, right, choice, model = (_text(event, name, where) for name in ("left", "right", "choice", "model"))
    if {left, right} != set(models):
        raise StoreError(f"{where}: rates {left!r} against {right!r}, but task.json is of {' and '.join(models)}")
    if choice not in ("left", "right") or model != event[choice]:
        raise StoreError(f"{where}: choice {choice!r} is not where {model!r} was; a choice is left or right")
    seconds = event.get("seconds")
    if not isinstance(seconds, int | float) or not (math.isfinite(seconds) and seconds >= 0):
        raise StoreError(f"{where}: seconds {seconds!r}; they are a number from 0")
    return Rating(rater, item, model, choice, left, right, float(seconds))


def _text(event: Mapping[str, Any], name: str, where: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise StoreError(f"{where}: {name} is {value!r}, not a text")
    return value
