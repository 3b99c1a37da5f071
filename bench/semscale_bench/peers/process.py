"""A contestant's process, which waits between requests while others work."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from semscale.errors import SemscaleError

PACKAGE = Path(__file__).parents[1]
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


class PeerError(SemscaleError):
    """A contestant did not do what it was asked; says who, what, and its own last words."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


class Process:
    """A running `worker`. Ends with its context."""

    def __init__(self, name: str, python: Path, command: Sequence[str], work: Path) -> None:
        """Start it: `command` is the worker's module and arguments. `work` is an empty folder of its own."""
        self.name, self._log = name, work / "stderr.txt"
        alone = work / "path"  # so that it finds this package and nothing that lies beside it
        alone.mkdir(parents=True)
        (alone / PACKAGE.name).symlink_to(PACKAGE)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python.absolute(), "-P", "-m", f"{PACKAGE.name}.peers.worker", *command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **OFFLINE, "PYTHONPATH": str(alone)},
            )  # fmt: skip

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Do as asked. Raises PeerError when the contestant fails or its process ends."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended before, which the empty answer says
            self._process.stdin.write(json.dumps({"do": do, **request}, default=str) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            ended = f"its process ended with code {self._process.wait()} at {do!r}"
            raise PeerError(self.name, f"{ended}{self._last()}")
        answer = json.loads(line)
        if answer["error"] is not None:
            raise PeerError(self.name, answer["error"])
        return answer

    def _last(self) -> str:
        """The last line on standard error, if any."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"; its last words: {lines[-1]}" if lines else ""
