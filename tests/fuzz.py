"""Decode hostile files by the thousand: `python tests/fuzz.py --count 100000 --workers 2`.

Each must give pixels or an InputError with a known code and a message. Workers are processes: one that crashes or hangs
is noticed, its file is saved, and another goes on behind it. Ends with a table by format, and with status 1 when a file
crashed, hung, or came to nothing that is accounted for.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hostile import hostile, seeds

CODES = {"not-an-image", "unsupported", "too-large", "truncated", "decode-failed", "empty-file"}
FAULTS = ("crash", "hang", "unaccounted")
MAX_PIXELS = 1_000_000
HANG_SECONDS = 20
# Large blocks straight from the system and back to it, so that each file is seen to take what it takes.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}


@dataclass
class Tally:
    """What became of the files of one format."""

    outcomes: Counter = field(default_factory=Counter)
    slowest: float = 0.0  # seconds
    peak: int = 0  # bytes, above what the process held before


@dataclass
class Results:
    """What became of all files; `faults` are (index, name, what happened)."""

    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    noise: str = ""  # what decoders wrote to standard error

    def add(self, index, outcome, seconds=0.0, peak=0):
        """Count one file; an outcome that is not "decoded" or a code is a fault, its name up to a colon the kind."""
        name, data = hostile(index)
        tally = self.tallies[name.partition("-")[0]]
        kind = outcome.partition(":")[0]
        tally.outcomes[kind] += 1
        tally.slowest, tally.peak = max(tally.slowest, seconds), max(tally.peak, peak)
        if kind in FAULTS:
            self.faults.append((index, name, outcome))
            self.saved(index).write_bytes(data)

    @staticmethod
    def saved(index):
        """Where the file of a fault is kept."""
        return Path(tempfile.gettempdir()) / f"semscale-fuzz-{index}.bin"

    @property
    def count(self):
        return sum(tally.outcomes.total() for tally in self.tallies.values())

    def table(self):
        """Lines for people: a row for each format."""
        total = Tally()
        for tally in self.tallies.values():
            total.outcomes += tally.outcomes
            total.slowest, total.peak = max(total.slowest, tally.slowest), max(total.peak, tally.peak)
        columns = ["decoded", *sorted(CODES & set(total.outcomes)), *FAULTS]
        rows = [["format", "inputs", *columns, "slowest", "peak memory"]]
        for name, tally in [*sorted(self.tallies.items()), ("all", total)]:
            counts = [f"{tally.outcomes[column]:,}" for column in columns]
            ends = [f"{tally.slowest * 1000:,.0f} ms", f"{tally.peak / 2**20:,.1f} MiB"]
            rows.append([name, f"{tally.outcomes.total():,}", *counts, *ends])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
        ]


def run(count, *, start=0, workers=1):
    """Decode the files `start` to `start + count` in processes that may die."""
    results, stop = Results(), start + count
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_watch, results, start + worker, stop, workers) for worker in range(workers)]
        for future in futures:
            future.result()
    return results


def _watch(results, start, stop, step):
    """Keep one worker going from `start` to `stop`, behind every file that ends it."""
    while start < stop:
        command = [sys.executable, __file__, "--worker", str(start), str(stop), str(step)]
        with tempfile.TemporaryFile("w+") as noise:
            environment = os.environ | MALLOC
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, text=True, env=environment) as worker:
                for line in worker.stdout:
                    results.add(*json.loads(line))
                    start += step
            noise.seek(0)
            results.noise += noise.read()
        if start < stop:
            number = -worker.returncode
            kind = "hang" if number == signal.SIGALRM else "crash"
            results.add(start, f"{kind}: status {worker.returncode}", HANG_SECONDS if kind == "hang" else 0.0)
            start += step


def _work(start, stop, step):
    """Decode, and write a line for each file: index, outcome, seconds, peak bytes."""
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for data in seeds().values():  # what a library loads at its first use is not the memory of a file
        outcome_of(data)
    for index in range(start, stop, step):
        data = hostile(index)[1]
        before, began = memory("VmRSS"), time.perf_counter()
        forget_peak()
        signal.alarm(HANG_SECONDS)  # ends the process, in whatever library it is
        outcome = outcome_of(data)
        signal.alarm(0)
        line = [index, outcome, time.perf_counter() - began, max(memory("VmHWM") - before, 0)]
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def outcome_of(data):
    """ "decoded", the code of an InputError, or "unaccounted: " and what is wrong."""
    from semscale.decode import decode
    from semscale.errors import InputError

    try:
        pixels = decode(data, max_pixels=MAX_PIXELS)
    except InputError as error:
        sound = error.code in CODES and error.message and not isinstance(error.__cause__, Warning)
        return error.code if sound else f"unaccounted: {error.code}, {error.message!r}, {error.__cause__!r}"
    except BaseException as error:
        return f"unaccounted: {error!r}"
    sound = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    sound = sound and 0 < pixels.size <= 3 * MAX_PIXELS and pixels.flags.c_contiguous and pixels.flags.writeable
    return "decoded" if sound else f"unaccounted: {pixels.dtype} {pixels.shape}"


def memory(name):
    """A number of /proc/self/status in bytes; 0 on systems that have none."""
    status = Path("/proc/self/status")
    return int(re.search(rf"{name}:\s+(\d+)", status.read_text())[1]) * 1024 if status.exists() else 0


def forget_peak():
    """Let the kernel measure the peak (VmHWM) anew from here."""
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worker", type=int, nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        _work(*chosen.worker)
        return 0
    results = run(chosen.count, start=chosen.start, workers=chosen.workers)
    lines = results.table()
    lines += [f"{index} ({name}) {what}: {results.saved(index)}" for index, name, what in results.faults]
    if results.noise:
        lines.append(f"decoders wrote {len(results.noise)} characters to standard error:\n{results.noise[:2000]}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if results.faults else 0


if __name__ == "__main__":
    sys.exit(main())
