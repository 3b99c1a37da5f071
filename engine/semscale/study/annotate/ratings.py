"""`ratings/<rater>.jsonl`: what one rater said, one line an event, appended and on the disk before it is answered.

    {"event": "rated", "rater": ..., "item": ..., "position": 0, "left": ..., "right": ..., "choice": "left", ...}
    {"event": "undone", "rater": ..., "item": ..., "time": ...}

A rating counts while it is the last of its item and nothing undid it. Half a line is of a writer that was killed before
it had answered: it is not read, and the next writer cuts it off. A last line that lacks its end alone counts, and the
next event begins on a line of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semscale.errors import StoreError, UsageError, explained
from semscale.files import explaining, flush
from semscale.study.annotate.text import REPLACEMENT, one_line

MAX_NAME = 80  # characters of a rater's name
FOLDER = "ratings"
Choice = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Rated:
    """One answer."""

    rater: str
    item: str
    position: int  # place in this rater's order, from 0
    left: str  # label of the generator that was on the left
    right: str
    choice: Choice
    model: str  # label of the one that was chosen
    seconds: float  # from when all images were shown to the choice
    time: str  # ISO 8601, UTC
    files: Mapping[Choice, list[str]]  # what was shown, relative to the generators' folders


@dataclass(frozen=True, slots=True)
class Undone:
    """The last answer to an item, taken back."""

    rater: str
    item: str
    time: str


Event = Rated | Undone
_EVENTS: dict[str, type[Event]] = {"rated": Rated, "undone": Undone}


def clean_name(name: str) -> str:
    """A rater's name without stray spaces. Raises UsageError for one that is empty, too long or not printable."""
    name = one_line(unicodedata.normalize("NFC", name))
    if not name:
        raise UsageError("a rater needs a name; type one")
    if len(name) > MAX_NAME:  # never cut: two people whose names begin alike would be one
        raise UsageError(f"this name has {len(name)} characters, and {MAX_NAME} are allowed; type a shorter one")
    if REPLACEMENT in name:
        raise UsageError("a name holds no control characters; type another")
    return name


def identity(name: str) -> str:
    """What tells raters apart: the name, whatever its case."""
    return unicodedata.normalize("NFKC", clean_name(name)).casefold()


def slug(name: str) -> str:
    """The name of a rater's file: readable, safe on every system, and another one for everybody else."""
    words = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    readable = "-".join(re.findall(r"[a-z0-9]+", words))[:32].rstrip("-") or "rater"
    return f"{readable}-{hashlib.blake2b(identity(name).encode(), digest_size=4).hexdigest()}"


def read_events(path: Path) -> tuple[list[Event], int]:
    """The events of a file in their order, and how many bytes of a torn line follow them.

    Raises StoreError for any other line that is none.
    """
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    events = [_event(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1)]
    try:
        return [*events, *([_event(last, "")] if last else [])], 0
    except StoreError:  # half a line
        return events, len(last)


def standing(events: Iterable[Event]) -> dict[str, Rated]:
    """The ratings that count, by item, in the order in which they were given."""
    found: dict[str, Rated] = {}
    for event in events:
        found.pop(event.item, None)
        if isinstance(event, Rated):
            found[event.item] = event
    return found


class RatingsFile:
    """The file of one rater, open for appending; it comes into being with the first event. Not for several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.events, torn = read_events(path)
        self.was_torn = torn > 0  # by a writer that was killed; mended here
        if torn:
            self._cut(path.stat().st_size - torn)
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        self._before = "" if whole else "\n"  # what the next event begins with

    def append(self, event: Event) -> None:
        """Write an event and wait until it is on the disk. Raises StoreError, and then the file is as it was."""
        told = json.dumps({"event": _name(event), **dataclasses.asdict(event)}, ensure_ascii=False)
        line = f"{self._before}{told}\n"
        is_new = not self._path.exists()
        before = 0 if is_new else self._path.stat().st_size
        with explaining(self._path, "fsync"):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("ab") as file:
                    file.write(line.encode())
                    file.flush()
                    os.fsync(file.fileno())
                if is_new:
                    flush(self._path.parent)
            except OSError:
                self._cut(before)
                raise
        self._before = ""
        self.events.append(event)

    def _cut(self, size: int) -> None:
        """Make an existing file `size` bytes long."""
        if self._path.exists():
            with explaining(self._path, "fsync"), self._path.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())


def _name(event: Event) -> str:
    return next(name for name, kind in _EVENTS.items() if isinstance(event, kind))


def _event(line: bytes, where: str) -> Event:
    try:
        values: dict[str, Any] = json.loads(line)
        return _EVENTS[values.pop("event")](**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{where} is no event of a rating ({explained(error):.100}); mend or remove it") from error
