"""semscale as a contestant: `semscale.score` on a list of images into a fresh folder, in a process like the others'.

A run opens its encoders and tokenizer, and the others' are loaded before the clock starts; so they stay open from the
first run on. The time is the run's own, which ends when all scores and tables are written; the pages of the report come
after it, and the others have none.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import semscale
from semscale import filling
from semscale.checked import open_checked
from semscale.errors import InputError
from semscale.gate import Comparison
from semscale.model import Array, Encoder
from semscale.settings import Settings
from semscale.tokens import Tokenizer
from semscale_bench.peers.job import Found, Model, Task

VERSION_OF = "semscale"


class KeptOpen:
    """An encoder that whoever opened it does not close."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.spec = encoder.spec

    def encode(self, inputs: Array) -> Array:
        """What the encoder does."""
        return self._encoder.encode(inputs)

    def close(self) -> None:
        """The next run needs it."""


@cache
def kept_open(folder: Path, **how: Any) -> tuple[Encoder, Comparison | None]:
    """`open_checked`, once."""
    encoder, comparison = open_checked(folder, **how)
    return KeptOpen(encoder), comparison


def load(model: Model, backend: str, precision: str, decode: str) -> Callable[[Task], Found]:
    """Runs on a back end, which is opened, and compared with float32, on the first."""
    filling.open_checked, filling.Tokenizer = kept_open, cache(Tokenizer)
    numbers = itertools.count()

    def score(task: Task) -> Found:
        run = model.work / f"run-{next(numbers)}"
        listed = write_list(task, run.with_suffix(".csv"))
        done = semscale.score(
            listed, out=run, model=str(model.exported), backend=backend, precision=precision,
            decode=decode, settings=Settings(batch_size=model.batch_size),
        )  # fmt: skip
        return _found(done, task)

    return score


def write_list(task: Task, path: Path) -> Path:
    """The images with their captions, as a list that semscale reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file_name", "text"))
        rows.writerows(zip(task.images, task.captions, strict=True))
    return path


def _found(done: semscale.Run, task: Task) -> Found:
    rows = _embeddings(done, task)
    clip = done.scores["clip-score"].value
    groups = pq.read_table(done.out / "groups.parquet").to_pydict()
    of_caption = dict(zip(groups["group"], groups["scs"], strict=True))
    consistency = tuple(of_caption[task.captions[numbers[0]]] for numbers in task.sets())
    seconds = done.summary["seconds"]["total"]
    return Found(clip, consistency, rows, seconds)


def _embeddings(done: semscale.Run, task: Task) -> Array:
    store = next(path for path in sorted((done.out / "stores").iterdir()) if path.is_dir())
    opened = semscale.open_store(store)
    if len(opened.images) != len(task.images):
        raise InputError("failed", f"{len(task.images) - len(opened.images)} images failed; leave them out")
    return opened.images.take(np.arange(len(task.images)))
