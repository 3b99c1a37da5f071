"""One image to make, the name of its file, and the line of metadata that describes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from semscale.errors import UsageError
from semscale.files import sha256
from semscale.producers.prompts import Prompt
from semscale.producers.slugs import model_folder, prompt_folder
from semscale.producers.sweep import Point, said

SOURCES = "_sources"  # folder of the images that were edited; no label has such a folder
OF_SOURCES = "(source)"  # their model, in the metadata
_SCORED = ("file_name", "text", "prompt", "caption", "model", "seed")  # columns that the scorer reads
_OURS = ("instruction", "negative_prompt", "prompt_cut", "source", "source_text", "width", "height")
_SETTING = ("steps", "guidance", "image_guidance", "strength", "scheduler", "size")
RESERVED = frozenset({*_SCORED, *_OURS, *_SETTING, "generator"})
CIRCUMSTANCES = ("device", "versions")  # facts that may change under a label: the noise is the same, pixels nearly


@dataclass(frozen=True, slots=True)
class Planned:
    """A prompt that is no other's double, with the names of its files."""

    prompt: Prompt
    folder: str
    source_name: str | None  # where the image that it edits is kept, below the output
    unread: int = 0  # tokens at its end that the model does not read


@dataclass(frozen=True, slots=True)
class Task:
    """One image to make."""

    point: Point
    planned: Planned
    seed: int

    @property
    def stem(self) -> str:
        """The path below the output, without suffix: `<model>/<prompt>/<seed>`."""
        return f"{self.point.folder}/{self.planned.folder}/{self.seed}"


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """An image that was made, the source it was made from, and what is known of it."""

    task: Task
    image: Image.Image
    source: Image.Image | None


def planned(prompts: Iterable[Prompt]) -> tuple[list[Planned], list[str]]:
    """Give every prompt its folder; also return a note for each prompt that repeats an earlier one and is left out.

    Prompts with other negative prompts or images to edit are others; images are told apart by their bytes. Raises
    UsageError where there are none, for an image that cannot be read, and where two folders would have one name.
    """
    found: dict[str, tuple[tuple[str | None, ...], Planned]] = {}
    notes = []
    hashes: dict[Path, str] = {}
    for number, prompt in enumerate(prompts, start=1):
        _check(prompt, number)
        digest = None if prompt.source is None else _hash(prompt.source, hashes)
        folder, identity = _folder(prompt.text, prompt.negative, digest), (prompt.text, prompt.negative, digest)
        if folder not in found:
            found[folder] = identity, Planned(prompt, folder, _source_name(prompt, digest))
        elif found[folder][0] == identity:
            first = found[folder][1].prompt
            notes.append(f"{prompt.where or f'prompt {number}'} repeats {first.where or 'an earlier one'}; left out")
        else:
            other = found[folder][0][0]
            raise UsageError(f"{other!r:.60} and {prompt.text!r:.60} get one folder; change a word of one")
    if not found:
        raise UsageError("no prompts; give at least one")
    return [plan for _, plan in found.values()], notes


def tasks(points: Sequence[Point], plans: Sequence[Planned], seeds: Sequence[int]) -> Iterator[Task]:
    """Every image, in the order in which they are made: all seeds of a prompt, all prompts of a setting."""
    for point in points:
        for plan in plans:
            for seed in seeds:
                yield Task(point, plan, seed)


def row_of(made: Made, file_name: str, generator: Mapping[str, str]) -> dict[str, Any]:
    """The line of metadata: what the scorer reads, what was asked for, and the columns of the prompt's own table.

    Those columns are text, whatever they were, for the scorer groups by text alone: numbers and nested values as JSON.
    The text of an edit is what it should show, where that is known, and not its instruction, which describes no image.
    """
    task, prompt = made.task, made.task.planned.prompt
    is_edit = prompt.source is not None
    return {
        "file_name": file_name,
        "text": prompt.edited_text if is_edit else prompt.text,
        "model": task.point.label,
        "seed": task.seed,
        "instruction": prompt.text if is_edit else None,
        "negative_prompt": prompt.negative,
        "prompt_cut": task.planned.unread,
        "source": task.planned.source_name,
        "source_text": prompt.source_text,
        **setting_of(task.point),
        "width": made.image.width,
        "height": made.image.height,
        **{_free(name): _as_text(value) for name, value in prompt.more.items()},
        "generator": dict(generator),
    }


def source_row(file_name: str, image: Image.Image) -> dict[str, Any]:
    """The line of metadata of an image that was edited. It has no text, so that its group is its folder."""
    return {"file_name": file_name, "text": None, "model": OF_SOURCES, "width": image.width, "height": image.height}


def fits(row: Mapping[str, Any]) -> bool:
    """Whether a line of metadata says what the name of its image stands for; of an edit, its model and seed alone."""
    text, negative, model, name = (row.get(key) or "" for key in ("text", "negative_prompt", "model", "file_name"))
    if not all(isinstance(each, str) for each in (text, negative, model, name)):
        return False
    names = name.rpartition(".")[0].split("/")
    if model == OF_SOURCES:
        return names[0] == SOURCES
    folder = names[1:2] if row.get("source") else [_folder(text, negative, None)]  # an edit's has its source's bytes
    return names == [model_folder(model), *folder, str(row.get("seed"))]


def setting_of(point: Point) -> dict[str, Any]:
    """The setting that a label stands for, as it is in the metadata."""
    values = dataclasses.asdict(point.setting)
    size = said(point.setting)["size"]
    return {name: values[name] for name in _SETTING[:-1]} | {"size": None if size == "default" else size}


def made_by(row: Mapping[str, Any]) -> dict[str, Any]:
    """What made the images of a label, read off a line of metadata; all but CIRCUMSTANCES must be the same."""
    generator = (row.get("generator") or {}).items()
    told = {f"the model's own {name}" if name in _SETTING else name: value for name, value in generator}
    return {name: row.get(name) for name in _SETTING} | told


def check_label(name: str) -> None:
    """Raise UsageError for the name of a model that tables cannot hold, or that has another meaning there."""
    if not name.strip() or name == OF_SOURCES:
        raise UsageError(f"{name!r} is no label of a model; choose another")
    if "," in name:
        raise UsageError(f"the label {name!r} has a comma, which separates labels in --models; choose another --label")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the label {name!r} is not valid Unicode; choose another") from error


def _check(prompt: Prompt, number: int) -> None:
    if not prompt.text.strip():
        raise UsageError(f"prompt {number} is empty; leave it out")
    try:
        f"{prompt.text}{prompt.negative}".encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"prompt {number} is not valid Unicode: half of a surrogate pair; write it again") from error


def _folder(text: str, negative: str | None, digest: str | None) -> str:
    also = (f"{name}:{value}" for name, value in (("negative", negative), ("source", digest)) if value)
    return prompt_folder(text, *also)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _free(name: str) -> str:
    return f"table_{name}" if name.strip().casefold() in RESERVED else name


def _source_name(prompt: Prompt, digest: str | None) -> str | None:
    if prompt.source is None or digest is None:
        return None
    return f"{SOURCES}/{prompt_folder(prompt.source.stem, digest)}/source.png"


def _hash(path: Path, known: dict[Path, str]) -> str:
    if path not in known:
        try:
            known[path] = sha256(path)
        except OSError as error:
            raise UsageError(f"{path}: the image to edit cannot be read: {error.strerror or error}") from error
    return known[path]
