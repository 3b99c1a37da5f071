"""The raters at work on one task: what each sees next, and what each said. Knows no HTTP; threads may share it."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from semscale.errors import InputError, SemscaleError, UsageError
from semscale.sources.names import key_of
from semscale.study.annotate.folders import Generator
from semscale.study.annotate.items import Item
from semscale.study.annotate.order import Turn, turns
from semscale.study.annotate.pictures import Picture, read_picture
from semscale.study.annotate.ratings import (
    FOLDER,
    Choice,
    Rated,
    RatingsFile,
    Undone,
    clean_name,
    identity,
    slug,
    standing,
)
from semscale.study.annotate.task import Task
from semscale.study.annotate.text import without_bidi

SIDES: tuple[Choice, Choice] = ("left", "right")


class StaleError(SemscaleError):
    """What was said is not about what the rater is shown now: it was sent twice, or from an old page."""


class UnknownPictureError(SemscaleError):
    """No picture has this id."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is on the page: two sets of opaque picture ids, in the same order of seeds."""

    item: str
    prompt: str
    left: list[str]
    right: list[str]


@dataclass(frozen=True, slots=True)
class State:
    """Where a rater stands. Names no generator."""

    rater: str
    question: str
    position: int  # ratings that count, and the place of what is shown
    total: int
    shown: Shown | None  # None when all is rated
    next: list[str]  # pictures that come after, for the browser to load ahead


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page sends for one choice."""

    rater: str
    item: str
    position: int
    choice: Choice
    seconds: float


@dataclass(slots=True)
class _Rater:
    """One person: an order, of which what is rated comes first, and a file."""

    name: str
    turns: tuple[Turn, ...]
    file: RatingsFile
    rated: dict[str, Rated]

    @property
    def position(self) -> int:
        """The place of the first item without a rating, or how many there are."""
        return next((n for n, turn in enumerate(self.turns) if turn.item not in self.rated), len(self.turns))


class Session:
    """One task, its generators, and the folder where ratings go; that folder must be locked."""

    def __init__(self, task: Task, generators: tuple[Generator, Generator], out: Path) -> None:
        self.task = task
        self._generators, self._folder = generators, out / FOLDER
        self._items = {item.item: item for item in task.items}
        self._secret = secrets.token_bytes(32)
        self._pictures: dict[str, tuple[Generator, bytes]] = {}  # those that were named to somebody
        self._broken: set[str] = set()  # those that could not be shown when somebody asked
        self._lock = threading.Lock()
        self._raters: dict[str, _Rater] = {}
        self.n_mended = 0  # files of which a killed server had left half a line
        for path in sorted(self._folder.glob("*.jsonl")):
            file = RatingsFile(path)
            self.n_mended += file.was_torn
            if file.events:
                self._enter(file.events[0].rater, file)

    def ratings(self) -> Mapping[str, int]:
        """How many ratings of each rater count."""
        with self._lock:
            return {rater.name: len(rater.rated) for rater in self._raters.values()}

    def not_shown(self) -> list[str]:
        """The files that could not be shown when a page asked for them, sorted."""
        with self._lock:
            found = [self._pictures[picture] for picture in self._broken]
        return sorted({key_of(os.path.join(os.fsencode(each.folder), name)) for each, name in found})

    def state(self, name: str) -> State:
        """Where a rater stands, who may be new. Raises UsageError for a name that cannot be one."""
        with self._lock:
            return self._state(self._rater(name))

    def rate(self, answer: Answer) -> State:
        """Record a choice and return what comes next.

        Raises StaleError when it is not about what the rater is shown, StoreError when it cannot be written.
        """
        with self._lock:
            rater = self._rater(answer.rater)
            turn = _current(rater, answer.item, answer.position)
            rater.file.append(rated := self._rated(rater, turn, answer))
            rater.rated[turn.item] = rated
            return self._state(rater)

    def later(self, name: str, item: str, position: int) -> State:
        """Put an item of which an image cannot be shown at the end of a rater's order, until the server ends.

        Nothing is recorded. Raises StaleError as `rate`, UsageError when all its images could be shown: nobody may
        leave an item out because it is hard.
        """
        with self._lock:
            rater = self._rater(name)
            turn = _current(rater, item, position)
            shown = self._shown(turn)
            if self._broken.isdisjoint(shown.left + shown.right):
                raise UsageError("Every image of this item can be shown. Load this page again.")
            rater.turns = (*rater.turns[:position], *rater.turns[position + 1 :], turn)
            return self._state(rater)

    def undo(self, name: str, position: int) -> State:
        """Take back the last rating of a rater who stands at `position`. Errors as `rate`, UsageError without one."""
        with self._lock:
            rater = self._rater(name)
            if position != rater.position:
                raise StaleError("The last rating has changed since. This is where you are.")
            if not rater.rated:
                raise UsageError("There is no rating to take back.")
            item = next(reversed(rater.rated))
            rater.file.append(Undone(rater.name, item, _now()))
            del rater.rated[item]
            return self._state(rater)

    def picture(self, picture: str, *, as_png: bool = False) -> Picture:
        """The picture of an id. Raises UnknownPictureError, and InputError when its file cannot be shown."""
        found = self._pictures.get(picture)
        if found is None:
            raise UnknownPictureError("no such picture")
        generator, name = found
        try:
            return read_picture(generator.folder, name, as_png=as_png)
        except InputError:
            with self._lock:
                self._broken.add(picture)
            raise

    def _rater(self, name: str) -> _Rater:
        name = clean_name(name)
        known = self._raters.get(identity(name))
        return known or self._enter(name, RatingsFile(self._folder / f"{slug(name)}.jsonl"))

    def _enter(self, name: str, file: RatingsFile) -> _Rater:
        who = identity(name)
        order = turns(list(self._items), rater=who, seed=self.task.asked.seed)
        rated = standing(file.events)
        places = {item: place for place, item in enumerate(rated)}  # not the order's, where something was put off
        order = tuple(sorted(order, key=lambda turn: places.get(turn.item, len(places))))
        self._raters[who] = _Rater(name, order, file, rated)
        return self._raters[who]

    def _state(self, rater: _Rater) -> State:
        position = rater.position
        shown = self._shown(rater.turns[position]) if position < len(rater.turns) else None
        after = [self._shown(turn) for turn in rater.turns[position + 1 : position + 2]]
        ahead = [picture for each in after for picture in sorted(each.left + each.right)]
        return State(rater.name, self.task.asked.question, position, len(rater.turns), shown, ahead)

    def _shown(self, turn: Turn) -> Shown:
        item = self._items[turn.item]
        left, right = ([self._id(side, item, seed) for seed in item.seeds] for side in turn.sides)
        return Shown(item.item, without_bidi(item.prompt), left, right)

    def _id(self, side: int, item: Item, seed: int) -> str:
        """An id that says nothing of its image to those who do not know the secret."""
        said = f"{side} {seed} {item.item}".encode()
        picture = hashlib.blake2b(said, digest_size=12, key=self._secret).hexdigest()
        generator = self._generators[side]
        self._pictures[picture] = (generator, generator.prompts[item.prompt][seed])
        return picture

    def _rated(self, rater: _Rater, turn: Turn, answer: Answer) -> Rated:
        item = self._items[turn.item]
        left, right = (self.task.models[side] for side in turn.sides)
        files = {
            name: [key_of(self._generators[side].prompts[item.prompt][seed]) for seed in item.seeds]
            for name, side in zip(SIDES, turn.sides, strict=True)
        }
        chosen = left if answer.choice == "left" else right
        return Rated(
            rater.name, item.item, answer.position, left, right, answer.choice, chosen, answer.seconds, _now(), files
        )


def _current(rater: _Rater, item: str, position: int) -> Turn:
    """What a rater is shown now. Raises StaleError when that is not `item` at `position`."""
    if position != rater.position or position == len(rater.turns):
        raise StaleError("That item has been rated already. This is where you are.")
    turn = rater.turns[position]
    if item != turn.item:
        raise StaleError("That page was of another order. This is where you are.")
    return turn


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
