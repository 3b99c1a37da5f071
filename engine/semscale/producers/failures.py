"""The images that could not be made, and why: `failures.jsonl` in the output folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import Any

from semscale.files import discard, explaining, flush, replace
from semscale.producers.work import Task

NAME = "failures.jsonl"


class Failures:
    """The file of failures of one output. What is tried again leaves it, and comes back if it fails again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.reasons: Counter[str] = Counter()  # of what was added: the error, and how many images it cost

    def forget(self, stems: Container[str]) -> None:
        """Take out images asked for now, by their names without suffix, and lines that are blank or cut by a crash."""
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        whole = (line for line in lines if line.endswith(b"\n") and line.strip())
        kept = [line for line in whole if json.loads(line)["image"] not in stems]
        if not kept:
            discard(self._path)
        elif kept != lines:
            replace(self._path, b"".join(kept))

    def add(self, task: Task, error: Exception) -> None:
        """Note one image, and what was raised for it."""
        self.reasons[f"{type(error).__name__}: {error}"] += 1
        prompt = task.planned.prompt
        what = {"image": task.stem, "model": task.point.label, "prompt": prompt.text, "seed": task.seed}
        append(self._path, [{**what, "where": prompt.where, "error": type(error).__name__, "reason": str(error)}])


def append(path: Path, rows: list[dict[str, Any]]) -> None:
    """Add lines to a file of JSON Lines, and wait until they are on the disk. Raises StoreError."""
    data = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    with explaining(path), path.open("ab", buffering=0) as file:
        rest = memoryview(data)
        while rest:  # in one call, so that who reads meanwhile sees whole lines, but where the disk is full
            rest = rest[file.write(rest) :]
    with explaining(path, "fsync"):
        flush(path)
