"""Pairs of images compared while the encoders' pass has them decoded, so that none is decoded twice.

An image waits here for its partner, up to a bound of memory. What has no room, and what was embedded by an earlier run,
is read again afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from semscale.errors import UsageError
from semscale.measures.pairs_table import PairTable
from semscale.model import Array

HELD_BYTES = 1 << 30  # of decoded images that wait

Compare = Callable[[Array, Array], float]  # (H, W, 3) uint8 of both -> the value
Wanted = tuple[str, str]  # metric and preset
Compared = tuple[dict[Wanted, float], list[str]]  # the values of one pair, and why some are missing


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of pixels, and what made it."""

    compare: Compare
    made_by: Mapping[str, Any] = field(default_factory=dict)  # hashes of its weights, where it has any


def compared(source: Array, edited: Array, comparisons: Mapping[Wanted, Comparison]) -> Compared:
    """Every metric of two images, (H, W, 3) uint8 each."""
    values, reasons = {}, []
    for wanted, one in comparisons.items():
        try:
            values[wanted] = one.compare(source, edited)
        except UsageError as error:  # of another size, or too small
            reasons.append(str(error))
    return values, reasons


class EarlyPairs:
    """What was found of pairs so far. `look` is called by many threads."""

    def __init__(
        self, pairs: PairTable, comparisons: Mapping[Wanted, Comparison], *, held_bytes: int = HELD_BYTES
    ) -> None:
        self.pairs, self.comparisons, self._room = pairs, comparisons, held_bytes
        self._of: dict[str, list[int]] = {}
        for number, sides in enumerate(zip(pairs.source, pairs.edited, strict=True)):
            for key in dict.fromkeys(sides):
                self._of.setdefault(key, []).append(number)
        self._lock = threading.Lock()  # guards all that follows
        self._held: dict[str, Array] = {}
        self._begun: dict[int, object] = {}  # pair -> who compares it, or has
        self.found: dict[int, Compared] = {}

    def look(self, key: str, pixels: Array) -> None:
        """Take the decoded image (H, W, 3) uint8 of a key, and compare it with those that waited for it."""
        if key not in self._of:
            return
        me = object()
        with self._lock:
            ready = self._ready(key, pixels, me)
        for number, (source, edited) in ready:
            outcome = compared(source, edited, self.comparisons)
            with self._lock:
                if self._begun.get(number) is me:  # or a newer version of an image came meanwhile
                    self.found[number] = outcome

    def _ready(self, key: str, pixels: Array, me: object) -> list[tuple[int, tuple[Array, Array]]]:
        """The pairs that are complete with this image. An image that comes again has changed: its pairs begin anew."""
        self._release(key)
        ready = []
        for number in self._of[key]:
            self.found.pop(number, None)
            self._begun.pop(number, None)
            keys = self.pairs.source[number], self.pairs.edited[number]
            source, edited = (pixels if side == key else self._held.get(side) for side in keys)
            if source is not None and edited is not None:
                self._begun[number] = me
                ready.append((number, (source, edited)))
        self._keep(key, pixels)
        for number, _ in ready:
            self._release_done(self.pairs.source[number])
            self._release_done(self.pairs.edited[number])
        return ready

    def _keep(self, key: str, pixels: Array) -> None:
        if pixels.nbytes <= self._room:
            self._held[key] = pixels
            self._room -= pixels.nbytes

    def _release_done(self, key: str) -> None:
        if all(number in self._begun for number in self._of[key]):
            self._release(key)

    def _release(self, key: str) -> None:
        if key in self._held:
            self._room += self._held.pop(key).nbytes
