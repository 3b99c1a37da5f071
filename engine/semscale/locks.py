"""Who may write to a folder: one whole run, or the parts of one, never both.

    .lock           held alone by a whole run, shared by the parts of one; says who holds it
    .lock-part-3    held by the third part
    .lock-plan      held for a moment by a part that enters, begins the store or extends its plan

The locks are the operating system's (flock): they go when the process does, however it ends. The files stay.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from semscale.errors import StoreLockedError, UsageError
from semscale.files import explaining, sweep


@dataclass(frozen=True, slots=True)
class Part:
    """The part `index`, 1 to `count`, of a run that several processes share. Raises UsageError for others."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(f"part {self.index}/{self.count}: must be i/n with i from 1 to n, for example 2/4")

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read "2/4", the second of four parts. Raises UsageError for anything else."""
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if found is None:
            raise UsageError(f"part {text!r}: must be i/n with i from 1 to n, for example 2/4")
        return cls(int(found[1]), int(found[2]))

    def holds(self, shard_index: int) -> bool:
        """Whether a shard is this part's: every `count`-th is."""
        return shard_index % self.count == self.index - 1


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep every other run out of `folder` while the block runs, and clear what dead ones left half written.

    Raises StoreLockedError, which names the holder, when another run is in it, and StoreError when the folder cannot
    be written or its file system lacks locks.
    """
    with _opened(folder / ".lock") as lock:
        if not _locked(folder, lock, fcntl.LOCK_EX):
            raise _refusal(folder, lock)
        _sign(folder, lock, _me())
        sweep(folder)
        yield


@contextmanager
def part(folder: Path, part: Part) -> Iterator[None]:
    """Be one part of a run while the block runs: beside other parts of as many, never beside a whole run.

    Raises StoreLockedError, which names the holder, when a whole run is here, parts of another number are, or this
    very part is; StoreError as `exclusive`.
    """
    with ExitStack() as held:
        with planning(folder):
            lock = held.enter_context(_opened(folder / ".lock"))
            _join(folder, lock, part)
            own = held.enter_context(_opened(folder / f".lock-part-{part.index}"))
            if not _locked(folder, own, fcntl.LOCK_EX):
                raise _refusal(folder, own, f"part {part.index}/{part.count} of this run")
            _sign(folder, own, _me())
        yield


@contextmanager
def planning(folder: Path) -> Iterator[None]:
    """Wait until no other part begins the store or extends its plan, and keep them waiting while the block runs."""
    with _opened(folder / ".lock-plan") as lock:
        with explaining(folder, "flock"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _join(folder: Path, lock: int, part: Part) -> None:
    if _locked(folder, lock, fcntl.LOCK_EX):  # nobody is here
        _sign(folder, lock, f"parts of {part.count}, begun by {_me()}")
        sweep(folder)
    if not _locked(folder, lock, fcntl.LOCK_SH):
        raise _refusal(folder, lock)
    found = re.match(r"parts of ([0-9]+)", _signature(lock))
    if found is None or int(found[1]) != part.count:
        raise _refusal(folder, lock, f"a run of other parts than {part.index}/{part.count}")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a lock file; its lock ends with the block, even where a child process has inherited it."""
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield lock
    finally:
        with suppress(OSError):  # where there are no locks there is nothing to release
            fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _locked(folder: Path, lock: int, kind: int) -> bool:
    """Whether the lock could be had at once."""
    with explaining(folder, "flock"):
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _sign(folder: Path, lock: int, text: str) -> None:
    with explaining(folder):
        os.ftruncate(lock, 0)
        os.pwrite(lock, text.encode(), 0)


def _signature(lock: int) -> str:
    return os.pread(lock, 1000, 0).decode(errors="replace")


def _refusal(folder: Path, lock: int, who: str = "another run") -> StoreLockedError:
    holder = _signature(lock) or "holder not known"
    return StoreLockedError(f"{folder}: {who} is writing here ({holder}); wait for it or choose another -o")
