"""The peers of case `metrics`, asked in turn with semscale: a process of theirs that waits between requests."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from semscale.errors import UsageError
from semscale_bench.metric_contestants import Contestant, Done
from semscale_bench.metric_data import Data
from semscale_bench.metric_peer import TAKES_PART

HERE = Path(__file__).parents[1]  # what their Python imports the package from
NO_PEERS = "no --peers; `make parity` makes an environment of theirs, .venv-parity/bin/python"
TOLERANCE = 1e-3  # relative: they compute in float32
OF_SHARES = 1e-2  # of precision and recall by distances in float32, which may take another neighbour

Absent = list[str]  # a sentence on each that is not run


@contextmanager
def peers(python: Path | None, data: Data, jobs: Sequence[str]) -> Iterator[tuple[list[Contestant], Absent]]:
    """Those of some jobs that run by the interpreter `python`, as long as the context lasts, and who does not and why.

    Raises UsageError when it is no Python with NumPy.
    """
    wanted = [(peer, job) for peer, job in TAKES_PART if job in jobs]
    if python is None or not wanted:
        yield [], [f"{job}, {peer}: {NO_PEERS}" for peer, job in wanted]
        return
    with Process(python, data) as process:
        answers = {(peer, job): process.ask(do="prepare", peer=peer, job=job) for peer, job in wanted}
        yield (
            [process.contestant(*each, done["version"]) for each, done in answers.items() if done["error"] is None],
            [f"{job}, {peer}: {done['error']}" for (peer, job), done in answers.items() if done["error"] is not None],
        )


class Process:
    """A running `metric_peer`. Ends with its context."""

    def __init__(self, python: Path, data: Data) -> None:
        """Start it. Raises UsageError when the system cannot."""
        sizes = json.dumps({**dataclasses.asdict(data.sizes), "few": data.sizes.few})
        command = [python.absolute(), "-m", "semscale_bench.metric_peer", data.folder, sizes]
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        except OSError as error:
            raise UsageError(f"--peers {python}: {error.strerror}; give a Python interpreter") from error
        self._python = python

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Do as asked. Raises UsageError when the process ended instead; why is on standard error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended before, which the empty answer says
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise UsageError(f"--peers {self._python}: ended with code {self._process.wait()} at {request}")
        return json.loads(answer)

    def contestant(self, peer: str, job: str, version: str) -> Contestant:
        """One that was prepared."""
        go = partial(self._go, peer, job)
        return Contestant(job, peer, go, OF_SHARES if job == "prc" else TOLERANCE, version)

    def _go(self, peer: str, job: str, watched: bool) -> Done:
        done = self.ask(do="work", peer=peer, job=job, watched=watched)
        return Done(done["values"], done["peak_bytes"], done["seconds"])
