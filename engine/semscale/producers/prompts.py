"""What to generate: prompts, with whatever else their file says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semscale.errors import UsageError
from semscale.producers.prompt_files import read_rows

COLUMNS: Mapping[str, Sequence[str]] = {  # what each is for -> its names, in any case, of which the first counts
    "text": ("prompt", "prompts", "instruction", "text", "caption"),
    "negative": ("negative_prompt", "negative prompt"),
    "source": ("image", "source_image", "image_path"),
    "source_text": ("source_text", "source_caption", "input_caption"),
    "edited_text": ("edited_text", "edited_caption", "target_caption", "output_caption"),
}
CAPTIONS = ("source_text", "edited_text")
NAMED = 10  # lines that a message lists


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. With a `source` it is the instruction of an edit."""

    text: str
    negative: str | None = None
    source: Path | None = None  # the image to edit
    source_text: str | None = None  # what it shows; given with the next, or neither
    edited_text: str | None = None  # what the edit should show
    more: Mapping[str, Any] = field(default_factory=dict)  # other columns, for the metadata
    where: str = ""  # "line 3" of its file, for messages


@dataclass(frozen=True, slots=True)
class PromptList:
    """The prompts of a file, in its order, and what was odd about it."""

    prompts: list[Prompt]
    notes: list[str]


def read_prompts(path: str | Path) -> PromptList:
    """Read a file of prompts: text with one a line, CSV, TSV or JSON Lines with a column named as in COLUMNS.

    White space around a prompt is dropped. Empty prompts are left out, and noted by line. Paths of images to edit are
    relative to the file. Columns that are none of COLUMNS are kept in `more`.

    Raises UsageError, which names the line, for a file that cannot be read or has no prompts, two columns for the same
    thing, a cell that is not text, and a column of images or captions that is not full or leads nowhere.
    """
    path = Path(path)
    roles: dict[str, str | None] = {}
    prompts: list[Prompt] = []
    empty: list[str] = []
    for number, row in read_rows(path):
        for name in row.keys() - roles.keys():
            roles[name] = _role(name)
        cells = _Cells(row, _columns(row, roles, path), f"{path}: line {number}", path.parent)
        if cells.text("text") is None:
            empty.append(str(number))
        else:
            prompts.append(cells.prompt(f"line {number}"))
    if not prompts:
        raise UsageError(f"{path}: no prompts; give one a line")
    _refuse_gaps(prompts, path)
    return PromptList(prompts, [_told_empty(empty, path)] if empty else [])


@dataclass(frozen=True, slots=True)
class _Cells:
    """A row, and which of its columns is for what."""

    row: Mapping[str, Any]
    columns: Mapping[str, str]
    where: str
    folder: Path

    def text(self, role: str) -> str | None:
        """A cell that must be text; None where there is none, or a blank one."""
        value = self.row.get(self.columns.get(role, ""))
        if value is not None and not isinstance(value, str):
            column = self.columns[role]
            raise UsageError(f"{self.where}, column {column!r}: {value!r:.60} is not text; put it in quotes")
        return (value or "").strip() or None

    def prompt(self, where: str) -> Prompt:
        """The whole row, which has a prompt."""
        source = self.text("source")
        used = set(self.columns.values())
        more = {name: None if value == "" else value for name, value in self.row.items() if name and name not in used}
        texts = {role: self.text(role) for role in ("negative", *CAPTIONS)}
        text = self.text("text")
        assert text is not None, "told by the caller"
        return Prompt(text, source=None if source is None else self._image(source), more=more, where=where, **texts)

    def _image(self, name: str) -> Path:
        path = self.folder / name
        if "\0" in name or not path.is_file():
            raise UsageError(f"{self.where}: no image {str(path)!r}; paths are relative to the folder of this file")
        return path


def _role(name: str) -> str | None:
    return next((role for role, names in COLUMNS.items() if name.strip().casefold() in names), None)


def _columns(row: Mapping[str, Any], roles: Mapping[str, str | None], path: Path) -> dict[str, str]:
    """Which column is for what. A later name of COLUMNS gives way to an earlier one; the same twice is an error."""
    found: dict[str, str] = {}
    for name in row:
        role = roles[name]
        if role is None:
            continue
        rank = {each: COLUMNS[role].index(each.strip().casefold()) for each in (name, found.get(role, name))}
        if role in found and rank[name] == rank[found[role]]:
            raise UsageError(f"{path}: has both columns {found[role]!r} and {name!r}; keep one")
        if role not in found or rank[name] < rank[found[role]]:
            found[role] = name
    if "text" not in found:
        listed = ", ".join(map(repr, row)) or "none"
        raise UsageError(f"{path}: no column {' or '.join(map(repr, COLUMNS['text']))}; columns: {listed}")
    return found


def _refuse_gaps(prompts: Sequence[Prompt], path: Path) -> None:
    """Images and captions are there for all prompts or for none, for whoever reads the results counts on them."""
    for role in ("source", *CAPTIONS):
        filled = [getattr(prompt, role) is not None for prompt in prompts]
        if any(filled) and not all(filled):
            gap = prompts[filled.index(False)].where
            raise UsageError(f"{path}: {gap} has no {role.replace('_', ' ')}, and others have; fill it in for all")
    first = prompts[0]
    if first.source is None and (first.source_text or first.edited_text):
        raise UsageError(f"{path}: captions of edits, and no column of images to edit; add a column 'image'")
    if (first.source_text is None) != (first.edited_text is None):
        raise UsageError(f"{path}: captions of one side alone; give both of {' and '.join(CAPTIONS)}, or neither")


def _told_empty(lines: Sequence[str], path: Path) -> str:
    more = f" and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    return f"{path}: no prompt on line {', '.join(lines[:NAMED])}{more}; left out"
