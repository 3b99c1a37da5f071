"""Which inputs are being decoded at this moment, kept where the death of the process does not reach.

Decoders are C libraries, and a hostile file may crash one: that ends the process and every thread in it, without a
word on which file it was. So each decode first writes its position in the plan into a slot of a memory-mapped file. The
pages of such a file belong to the operating system and outlive the process. Whoever opens the journal next finds there
what was in work: a few suspects, of which at most one is guilty, to be decoded by `isolated.decode_isolated`.

A process that was killed from outside leaves suspects too; they are innocent, and only decoded a little slower.
"""

from __future__ import annotations

import json
import mmap
from array import array
from pathlib import Path

from semscale.files import replacing

IDLE = -1


class Journal:
    """The decodes in work of one process. Made by `Journal.open`; threads may share it."""

    def __init__(self, slots: Path, suspects: Path, known: frozenset[int], count: int) -> None:
        self._slots_path, self._suspects_path = slots, suspects
        self.suspects = known  # positions that earlier processes were decoding when they died
        slots.write_bytes(array("q", [IDLE] * count).tobytes())
        with slots.open("r+b") as file:
            self._pages = mmap.mmap(file.fileno(), 0)
        # Memory and not os.pwrite: a system call gives the interpreter lock away, and that may cost milliseconds.
        self._slots = memoryview(self._pages).cast("q")
        self._free = list(range(count))

    @classmethod
    def open(cls, folder: Path, slots: int, name: str = "") -> Journal:
        """Open the journal of `folder` for at most `slots` decodes at once, and learn what an earlier process left.

        Processes that work on one folder at the same time give different names. Raises OSError where the folder cannot
        be written.
        """
        ending = f"-{name}" if name else ""
        slots_path, suspects_path = folder / f".decoding{ending}", folder / f".suspects{ending}"
        known = _read_suspects(suspects_path)
        suspects = known | _interrupted(slots_path)
        if suspects != known:  # on disk before the slots that say so are wiped
            with replacing(suspects_path) as path:
                path.write_text(json.dumps(sorted(suspects)))
        return cls(slots_path, suspects_path, suspects, slots)

    def decoding(self, position: int) -> _Entry:
        """A context that names `position` (a row of the plan, from 0) as being decoded while it lasts."""
        return _Entry(self._slots, self._free, position)

    def close(self) -> None:
        """Let go of the file; suspects stay. Closing twice is harmless."""
        self._slots.release()
        self._pages.close()

    def finish(self) -> None:
        """Close and forget everything: every input has its row, so there is nothing left to suspect."""
        self.close()
        self._slots_path.unlink(missing_ok=True)
        self._suspects_path.unlink(missing_ok=True)


class _Entry:
    """One decode in work. A class, for a generator context takes several times as long."""

    __slots__ = ("_free", "_position", "_slot", "_slots")

    def __init__(self, slots: memoryview, free: list[int], position: int) -> None:
        self._slots, self._free, self._position = slots, free, position

    def __enter__(self) -> None:
        self._slot = self._free.pop()  # atomic, as are append and a store of 8 aligned bytes: no lock is needed
        self._slots[self._slot] = self._position

    def __exit__(self, *_: object) -> None:
        self._slots[self._slot] = IDLE
        self._free.append(self._slot)


def _read_suspects(path: Path) -> frozenset[int]:
    return frozenset(json.loads(path.read_text())) if path.exists() else frozenset()


def _interrupted(path: Path) -> frozenset[int]:
    left = path.read_bytes() if path.exists() else b""
    return frozenset(array("q", left[: len(left) // 8 * 8])) - {IDLE}
