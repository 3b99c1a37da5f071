"""Processor time of this process, and of those of its threads that libraries started, such as an encoder's.

Python's own threads report theirs by the stage they are in (`semscale.timing`); what a library's pool does, or the one
that runs ONNX Runtime, shows in the operating system's accounts alone. A pool that spins while it waits counts as
working. Linux only.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from semscale.encoders.ort import THREADS

_TASKS = Path("/proc/self/task")
NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Processor:
    """Seconds since the process, or a thread, began; or between two readings."""

    process: float
    libraries: float

    def __sub__(self, earlier: Processor) -> Processor:
        return Processor(self.process - earlier.process, self.libraries - earlier.libraries)


def processor() -> Processor:
    """Read the accounts now. Threads that have ended are in `process` alone."""
    ours = {str(thread.native_id) for thread in threading.enumerate() if not thread.name.startswith(THREADS)}
    others = (task for task in _tasks() if task.name not in ours)
    return Processor(time.process_time(), sum(map(_seconds, others)))


def _tasks() -> list[Path]:
    return list(_TASKS.iterdir()) if _TASKS.is_dir() else []


def _seconds(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text(encoding="ascii").split()[0]) / NANOSECONDS
    except OSError:  # it ended meanwhile
        return 0.0
