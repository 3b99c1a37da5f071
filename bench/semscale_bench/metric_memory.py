"""The most memory of its own that a process takes while it does a piece of work.

Another process looks at it every two milliseconds, so it is looked at inside LAPACK too. Pages of mapped files do not
count: they are the system's to take back. Nothing is imported here but Python's library, because it also runs beside
packages that have an environment of their own. For Linux with glibc.
"""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

SECONDS = 0.002  # between two looks
Outcome = TypeVar("Outcome")


def with_peak(work: Callable[[], Outcome]) -> tuple[Outcome, int]:
    """Do it; what came out, and the most bytes that this process took above those it held before."""
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed is used again and not counted
    command = [sys.executable, "-m", "semscale_bench.metric_memory", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        before = int(watcher.stdout.readline())
        try:
            done = work()
        finally:
            highest = watcher.communicate()[0]
    return done, int(highest) - before


def _watch(process: int) -> None:
    """Say how much a process holds; once standard input is closed, how much it held at most."""
    highest = _own_bytes(process)
    sys.stdout.write(f"{highest}\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], SECONDS)[0]:
        highest = max(highest, _own_bytes(process))
    sys.stdout.write(f"{highest}\n")


def _own_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
