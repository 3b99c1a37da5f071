"""A source that grows while it is scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from semscale.errors import SourceError
from semscale.model import Source

LISTING_SHARE = 10  # of the time while waiting, at most one part in so many goes into listing


@dataclass(frozen=True, slots=True)
class Watch:
    """How to look at a growing source."""

    open: Callable[[], Source]
    ended: Callable[[], bool]  # whether its producer says that nothing more comes
    quiet_seconds: float  # without anything new, after which nothing more is expected
    pause_seconds: float = 1.0  # between two looks, at least


def followed(watch: Watch) -> Iterator[Source]:
    """Yield the source each time it has grown, and once more, whole, when its producer has ended or fallen silent.

    What is half written when a source is yielded is told from its finished form by its fingerprint; the last yield
    gives it another chance. A source that cannot be opened yet is waited for. Raises SourceError where there is still
    none at the end.
    """
    seen, grown_at = 0, time.monotonic()
    while not watch.ended() and time.monotonic() - grown_at < watch.quiet_seconds:
        started = time.monotonic()
        source = _opened(watch)
        listed_in = time.monotonic() - started
        if source is not None and len(source) > seen:
            seen = len(source)
            yield source
            grown_at = time.monotonic()
        else:
            time.sleep(max(watch.pause_seconds, LISTING_SHARE * listed_in))
    yield watch.open()


def _opened(watch: Watch) -> Source | None:
    try:
        return watch.open()
    except SourceError:  # nothing there yet, or a table whose last line is half written
        return None
