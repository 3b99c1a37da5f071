"""What an output of generated images is: a folder of files, or tar shards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from semscale.errors import UsageError
from semscale.files import discard, replace
from semscale.producers.pictures import Format
from semscale.producers.work import OF_SOURCES, Made, made_by

END_MARKER = "_SUCCESS"  # by which `score --follow` knows that the last image is there


@dataclass(slots=True)
class Survey:
    """What an output holds already."""

    names: set[str] = field(default_factory=set)  # of images, below the output
    made_by: dict[str, dict[str, Any]] = field(default_factory=dict)  # label -> what its images have in common
    negatives: dict[str, dict[str, str | None]] = field(default_factory=dict)  # label -> text -> its negative prompt
    undescribed: set[str] = field(default_factory=set)  # images that no line of metadata describes

    def add(self, row: Mapping[str, Any]) -> None:
        """Count an image by its line of metadata."""
        self.names.add(row["file_name"])
        if row["model"] != OF_SOURCES:
            self.made_by.setdefault(row["model"], made_by(row))
            if row.get("text") is not None and not row.get("source"):
                self.negatives.setdefault(row["model"], {})[row["text"]] = row.get("negative_prompt") or None


class Output(Protocol):
    """Where images go. What it holds is known from its files alone, whatever ended the run that wrote them."""

    folder: Path
    form: Format
    holds_sources: bool  # whether the images that were edited can be kept with it

    def survey(self) -> Survey:
        """Read what is there; changes nothing. Raises UsageError for a folder that holds something else."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Clear away what a run that was killed left half written; in the end, complete what was added."""
        ...

    def add(self, made: Sequence[Made], generator: Mapping[str, str]) -> None:
        """Write images, in the order of their tasks. Raises StoreError."""
        ...


def mark_begun(folder: Path) -> None:
    """Take the end marker away: more is coming."""
    discard(folder / END_MARKER)


def mark_ended(folder: Path) -> None:
    """Leave the end marker, when all else is on the disk."""
    replace(folder / END_MARKER, b"")


def refuse_strangers(folder: Path, patterns: Sequence[str], ours: str) -> None:
    """Raise UsageError where a folder holds files that would be taken for part of the output, or hide it."""
    for path in itertools.chain.from_iterable(map(folder.glob, patterns)):
        raise UsageError(f"{folder}: holds {path.name}, and no {ours} of `semscale generate`; choose another -o")


def batches_of(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Items in lists of `size`, the last perhaps shorter."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
