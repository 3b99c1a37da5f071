"""The tables of `compare.html`: prompts by difference, and what has no partner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from semscale.report.format import DASH, plain, shorten, signed
from semscale.report.names import LONGEST_NAME, apart
from semscale.report.tables import Cell
from semscale.study.comparison.comparing import ahead_first
from semscale.study.comparison.findings import MetricFindings

MAX_PROMPTS = 500  # lines of a table
MAX_UNMATCHED = 100
IN_HEAD = 24  # characters of a model


@dataclass(frozen=True, slots=True)
class Table:
    """The first lines of a long table, and how long it is."""

    heads: list[str]
    lines: list[list[Cell]]
    total: int


def isolated(labels: Sequence[str], limit: int = LONGEST_NAME) -> list[str]:
    """Models as parts of a line, kept apart: a name written from right to left turns nothing else round."""
    return [f"\u2068{name}\u2069" for name in apart(labels, limit)]


def prompts_table(labels: Sequence[str], compared: MetricFindings) -> Table:
    """Every prompt with its values, by falling difference of the first two models, of the one ahead to the other.

    Numbers of images are left out where all are the same.
    """
    a, b = ahead_first(compared.pairs[0]).columns
    differences, counts = compared.values[:, a] - compared.values[:, b], compared.counts
    order = np.argsort(-differences, kind="stable")[:MAX_PROMPTS]
    same = bool((counts == counts[:1]).all()) and len(set(counts[:1].ravel().tolist())) == 1
    lines = [
        [
            Cell(shorten(compared.prompts[row], 200), numeric=False),
            *(Cell(plain(value), repr(value)) for value in compared.values[row].tolist()),
            Cell(signed(float(differences[row])), repr(float(differences[row]))),
            *([] if same else [Cell(" / ".join(map(str, counts[row])))]),
        ]
        for row in order
    ]
    heads = isolated(labels, IN_HEAD)
    images = [] if same else ["Images"]
    return Table(["Prompt", *heads, f"{heads[a]} − {heads[b]}", *images], lines, len(compared.prompts))


def unmatched_table(unmatched: pa.Table) -> Table:
    """The first prompts and seeds that some models lack."""
    lines = [
        [
            Cell(row["what"], numeric=False),
            Cell(shorten(row["prompt"], 200), numeric=False),
            Cell(DASH if row["seed"] is None else str(row["seed"]), numeric=False),
            Cell(shorten(", ".join(row["present_in"]), 120), numeric=False),
            Cell(shorten(", ".join(row["missing_in"]), 120), numeric=False),
        ]
        for row in unmatched.slice(0, MAX_UNMATCHED).to_pylist()
    ]
    return Table(["What", "Prompt", "Seed", "Present in", "Missing in"], lines, len(unmatched))
