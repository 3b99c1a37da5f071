"""A contestant at work: `python -m semscale_bench.peers.worker MODULE [ARGUMENT ...]`, in its own environment.

Each line of standard input is a request in JSON, `{"do": "load", ...}` once and then `{"do": "work", ...}`, each line
of standard output the answer. `load` imports the tool and, where it keeps one, loads its model. The time of `work` is
taken here, around the work alone: from the names of files to scores. Reading the request and writing the embeddings for
the one who asked come before and after. Runs without semscale.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semscale_bench.peers.job import Found, Model, Task, read_task

STATUS = Path("/proc/self/status")  # Linux


class Contestant:
    """The tool of a module with `VERSION_OF`, a distribution, and `load(model, *arguments)`, which gives the work."""

    def __init__(self, module: str, arguments: list[str]) -> None:
        self._module, self._arguments = module, arguments
        self._work: Callable[[Task], Found] | None = None

    def load(self, batch_size: int, **paths: str) -> dict[str, Any]:
        """The tool's version."""
        module = importlib.import_module(self._module)
        model = Model(batch_size=batch_size, **{name: Path(path) for name, path in paths.items()})
        self._work = module.load(model, *self._arguments)
        return {"version": importlib.metadata.version(module.VERSION_OF)}

    def work(self, task: str, embeddings: str) -> dict[str, Any]:
        """Seconds, scores, peak of memory so far, and whether embeddings were written into the file of that name."""
        assert self._work is not None, "load comes first"
        given = read_task(Path(task))
        start = time.perf_counter()
        found = self._work(given)
        seconds = time.perf_counter() - start if found.seconds is None else found.seconds
        if found.embeddings is not None:
            np.save(embeddings, found.embeddings)
        return {
            "seconds": seconds,
            "clip_score": found.clip_score,
            "consistency": found.consistency,
            "has_embeddings": found.embeddings is not None,
            "peak_bytes": peak_bytes(),
        }


def peak_bytes() -> int | None:
    """The most memory that this process held since it began, its libraries and model included; None but on Linux."""
    if not STATUS.is_file():
        return None
    lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Answer until there are no more requests. Whatever goes wrong in the tool is an answer too."""
    contestant = Contestant(sys.argv[1], sys.argv[2:])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # some print
                done = {"error": None, **getattr(contestant, request.pop("do"))(**request)}
        except Exception as error:
            done = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
