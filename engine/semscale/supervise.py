"""A process that survives its decoders: it runs in a child, and starts again when a decoder crashes.

    parent   waits; nothing heavy is loaded here
    child    does everything; when a signal such as SIGSEGV ends it, the parent forks the next one

The next child finds in the journal what was being decoded, decodes that in processes of its own (`isolated`), and so
learns which input is to blame. It reports each culprit here, by `confirmed`, in memory that it shares with the parent:
a child that dies without having found a new one dies of something else, and is not started for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
# Restarts in a row that find no new culprit. The first crash comes before anybody looks for one, and the next bad file
# may strike while the last is still on trial.
PATIENCE = 2

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 0.2  # seconds in which a SIGINT that was sent to all reaches the child, too
_NAME_BYTES = 8  # of a digest; the memory that parent and child share is a list of them
_MOST_NAMES = 1 << 16
_lock = threading.Lock()
_culprits: mmap.mmap | None = None


def supervised(run: Callable[[], int], tell: Callable[[str], None]) -> int:
    """Call `run` in a child process, again after each crash of a decoder, and return its exit status.

    `tell` is given one line for each crash, for people to read. Must be called from the main thread, before anything
    heavy is imported or another thread is started. In the child this returns what `run` returns, and exceptions go
    through; in the parent it returns the status of the last child, 128 + n when signal n ended it. SIGINT, SIGTERM and
    SIGHUP are passed on, once where the terminal sent Ctrl-C to both, and after any of them nothing is started again. A
    child whose parent is gone ends at once. Where there is no fork, `run` is just called.
    """
    global _culprits
    if not hasattr(os, "fork"):
        return run()
    _culprits = mmap.mmap(-1, _MOST_NAMES * _NAME_BYTES)  # only what is touched takes memory
    patience = PATIENCE
    while True:
        before = len(_known(_culprits))
        end = _forked()
        if end is None:
            return run()
        if end.stopped or end.signal not in CRASHES:
            return end.status
        patience = PATIENCE if len(_known(_culprits)) > before else patience - 1
        if patience < 0:
            tell(f"crashed again ({end.signal.name}), and decoding no input alone does so; see `semscale doctor`")
            return end.status
        tell(f"a decoder crashed ({end.signal.name}); going on without the input that did it")


def confirmed(name: str) -> None:
    """Report, from the child, that decoding the input `name` (a key or URI) crashed its decoder in isolation.

    Does nothing outside `supervised`.
    """
    if _culprits is None:
        return
    # Without zero bytes, for a zero is where the list ends.
    digest = hashlib.blake2b(name.encode(errors="replace"), digest_size=_NAME_BYTES).digest().replace(b"\0", b"\1")
    with _lock:
        known = _known(_culprits)
        if digest not in known and len(known) < _MOST_NAMES:
            at = len(known) * _NAME_BYTES
            _culprits[at : at + _NAME_BYTES] = digest


def _known(culprits: mmap.mmap) -> list[bytes]:
    end = culprits.find(b"\0")
    used = culprits[: end if end >= 0 else len(culprits)]
    return [used[at : at + _NAME_BYTES] for at in range(0, len(used), _NAME_BYTES)]


@dataclass(frozen=True, slots=True)
class _End:
    """How a child ended; `stopped`: somebody asked for it."""

    code: int  # negative: the signal
    stopped: bool

    @property
    def signal(self) -> signal.Signals | None:
        return signal.Signals(-self.code) if self.code < 0 else None

    @property
    def status(self) -> int:
        return self.code if self.code >= 0 else 128 - self.code


def _forked() -> _End | None:
    """Fork, and wait for the child: None in the child, its end in the parent."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both would write what is buffered
    reading, writing = os.pipe()
    noticed, noting = os.pipe()
    # A signal that comes between the fork and the handlers would miss one of the two.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.close(noticed)
        os.set_blocking(noting, False)
        signal.set_wakeup_fd(noting, warn_on_full_buffer=False)  # tells the parent of every signal that came here
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        threading.Thread(target=_end_with_parent, args=(reading,), daemon=True).start()
        return None
    os.close(reading)
    os.close(noting)
    try:
        return _wait(child, mask, noticed)
    finally:
        os.close(writing)
        os.close(noticed)


def _wait(child: int, mask: set[signal.Signals], noticed: int) -> _End:
    stops: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stops.append(number)
        if number == signal.SIGINT and _has_noticed(noticed, number):  # Ctrl-C, which the terminal sends to both
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    # What is ignored stays so: that is how nohup works.
    handled = [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in handled}
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return _End(os.waitstatus_to_exitcode(status), bool(stops))


def _has_noticed(noticed: int, number: int) -> bool:
    """Whether the child has had the signal by itself, or has it within _GRACE; its end counts as that."""
    ready, _, _ = select.select([noticed], [], [], _GRACE)
    heard = os.read(noticed, 1 << 16) if ready else None
    return heard is not None and (not heard or number in heard)


def _end_with_parent(lifeline: int) -> None:
    """Wait for the end of the pipe that the parent alone holds open, then end this process, as the parent was."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)
