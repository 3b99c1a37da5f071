"""The peak memory of a contestant of case `pairs`, doing its job once in a fresh process.

The number is the largest resident memory of the process from the building of the index to the result, less what was
resident just before, when the vectors were there and the libraries loaded and used once, on a few other vectors. So it
is the index (FAISS's hold a copy of the vectors), room to work in, and the result. Of a GPU's memory the most that
torch had reserved is given, vectors included; FAISS takes its own, which is not counted. That was never run.
For Linux with glibc.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from semscale.model import Array
from semscale_bench.pair_contestants import Contestant
from semscale_bench.pair_data import Case, clusters
from semscale_bench.pair_entries import entries, tuning

FEW = 1024  # vectors that the libraries are used on
RESET_PEAK = "5"  # what /proc/PID/clear_refs takes for it; see proc(5)


@dataclass(frozen=True, slots=True)
class Peak:
    """What one contestant took."""

    work_bytes: int  # above what was there before
    before_bytes: int  # resident: libraries and vectors
    gpu_bytes: int | None  # of torch; None on a CPU


def peak(case: Case, name: str) -> Peak:
    """Run one contestant in a fresh process. Raises CalledProcessError when that fails; why is on standard error."""
    command = [sys.executable, "-m", "semscale_bench.pair_memory", json.dumps(dataclasses.asdict(case)), name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Peak(*json.loads(done.stdout.splitlines()[-1]))


def _measured(case: Case, name: str) -> Peak:
    contestant = next(each for each in entries(case)[0] if each.name == name)
    _work(contestant, dataclasses.replace(case, n=min(case.n, FEW), whole=True), clusters(min(case.n, FEW), case.dim))
    rows = clusters(case.n, case.dim)
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed is used again and not counted
    Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    before = _resident("VmRSS")
    _work(contestant, case, rows)
    gpu = torch.cuda.max_memory_reserved() if case.device == "cuda" else None
    return Peak(_resident("VmHWM") - before, before, gpu)


def _work(contestant: Contestant, case: Case, rows: Array) -> None:
    index = None if contestant.build is None else contestant.build(rows)
    contestant.work(rows, case.part(tuning(case)), index)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    found = _measured(Case(**json.loads(sys.argv[1])), sys.argv[2])
    sys.stdout.write(json.dumps(dataclasses.astuple(found)) + "\n")
