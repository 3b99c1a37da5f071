"""`task.json`: what is asked about what. Written once; whoever comes back to a study finds it as it was begun."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import semscale
from semscale.errors import SourceError, StoreError, UsageError, explained
from semscale.files import explaining, flush, make_folder, replace
from semscale.sources.names import key_of
from semscale.study.annotate.folders import Generator
from semscale.study.annotate.items import Counts, Item, join
from semscale.study.annotate.ratings import FOLDER
from semscale.study.annotate.text import one_line

FILE = "task.json"
FORMAT = 1
LOCK = ".lock"
QUESTIONS = {
    "consistency": "Which set of images is more consistent?",
    "attribute": "Which set of images is more consistent in {attribute}?",
    "match": "Which set of images matches the prompt better?",
    "preference": "Which set of images do you prefer?",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, whatever the images are."""

    template: str  # a name of QUESTIONS
    question: str
    seed: int  # of the order
    n_shown: int  # images a side, at most


@dataclass(frozen=True, slots=True)
class Task:
    """One study: a question, two generators, and what is shown of them."""

    asked: Asked
    models: tuple[str, str]  # labels
    items: tuple[Item, ...]
    left_out: Counts
    folders: tuple[str, str]  # absolute, where the files of ratings were when the study began
    version: str


def question(template: str, *, attribute: str = "", own: str = "") -> str:
    """The text of the question. Raises UsageError for an attribute where none is asked about, or none where one is."""
    if own and attribute:
        raise UsageError("--question is all that is asked; leave --attribute out")
    if not own and bool(attribute.strip()) != (template == "attribute"):
        raise UsageError("--attribute TEXT is of --template attribute, which needs it, for example: colour")
    said = one_line(own or QUESTIONS[template].format(attribute=attribute))
    if not said:
        raise UsageError("the question is empty; give another --question")
    return said


def begin(out: Path, asked: Asked, generators: tuple[Generator, Generator]) -> Task:
    """Return the task of the folder `out`: a new one, which is written there, or the one that it holds, as it is.

    A task that goes on keeps its items, whatever the generators have made since. Raises UsageError when `out` holds
    another task, SourceError when an image that it shows is gone, or where there is nothing to show.
    """
    path, models = out / FILE, (generators[0].label, generators[1].label)
    if path.exists():
        kept = read_task(path)
        _check_same(out, _said(kept.asked, kept.models), _said(asked, models))
        _check_there(out, kept, generators)
        return kept
    items, left_out = join(generators, asked.n_shown)
    first, second = (key_of(os.fsencode(os.path.abspath(each.folder))) for each in generators)
    task = Task(asked, models, items, left_out, (first, second), semscale.__version__)
    replace(path, _as_json(task).encode())
    with explaining(out, "fsync"):
        make_folder(out / FOLDER)
        flush(out)
    return task


def refuse_strangers(out: Path) -> None:
    """Raise UsageError when `out` is a folder that holds anything but ratings."""
    others = [] if (out / FILE).exists() or not out.exists() else [each.name for each in out.iterdir()]
    if any(name != LOCK for name in others):
        raise UsageError(f"{out}: holds something else than ratings; choose a new folder for -o")


def read_task(path: Path) -> Task:
    """Read a `task.json`. Raises StoreError for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise StoreError(f"{path}: made by another version of semscale; use that one, or choose another -o")
        return Task(
            asked=Asked(*(values[field.name] for field in dataclasses.fields(Asked))),
            models=tuple(values["models"]),
            items=tuple(Item(each["item"], each["prompt"], tuple(each["seeds"])) for each in values["items"]),
            left_out=Counts(**values["left_out"]),
            folders=tuple(values["folders"]),
            version=values["version"],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{path}: not a task of ratings ({explained(error):.100}); restore it, or choose another -o"
        ) from error


def _as_json(task: Task) -> str:
    values = dataclasses.asdict(task)
    return json.dumps({"format": FORMAT, **values.pop("asked"), **values}, ensure_ascii=False) + "\n"


def _said(asked: Asked, models: tuple[str, str]) -> dict[str, Any]:
    return {"models": " and ".join(models), **dataclasses.asdict(asked)}


def _check_same(out: Path, kept: dict[str, Any], now: dict[str, Any]) -> None:
    for name, was in kept.items():
        if now[name] != was:
            raise UsageError(
                f"{out}: holds ratings of another task: its {name} is {was!r}, not {now[name]!r}; give the same again, "
                "or choose another -o"
            )


def _check_there(out: Path, kept: Task, generators: tuple[Generator, Generator]) -> None:
    for each in generators:
        for item in kept.items:
            lost = [seed for seed in item.seeds if seed not in each.prompts.get(item.prompt, {})]
            if lost:
                raise SourceError(
                    f"{each.folder}: has no image any more for seed {lost[0]} of {item.prompt!r:.80}, which {out} "
                    "shows; restore it, or choose another -o"
                )
