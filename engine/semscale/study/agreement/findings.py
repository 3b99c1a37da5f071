"""What `agreement.html` is made from: the files of `semscale agreement -o`, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale.errors import StoreError, UsageError, explained
from semscale.model import Array
from semscale.report.apart import Apart, apart
from semscale.stats.agreement import Coefficient
from semscale.stats.majorities import Share
from semscale.stats.significance import TestResult
from semscale.study.agreement.agreeing import Individual, Two
from semscale.study.agreement.disagreeing import MAX_PICTURED
from semscale.study.agreement.of_metric import Unmatched
from semscale.study.agreement.of_raters import Rater
from semscale.study.comparison.findings import rebuilt

FORMAT = 1
FILES = ("agreement.json", "items.parquet")
AGAIN = "run `semscale agreement` again"
ITEMS = pa.schema(
    [
        *((name, pa.string()) for name in ("item", "prompt", "model_a", "model_b")),
        *((name, pa.int64()) for name in ("votes_a", "votes_b")),
        ("majority", pa.string()),  # null for a tie and for no votes
        ("metric", pa.string()),
        *((name, pa.float64()) for name in ("value_a", "value_b")),
        ("choice", pa.string()),  # the metric's; null where it has none
        ("agree", pa.bool_()),  # null where majority or choice is
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """The N items of a task, in its order, with what was said of them."""

    prompts: list[str]
    counts: Array  # (N, 2) votes
    majority: list[str | None]  # None for a tie and for no votes
    values: Array  # (N, 2) of the metric; NaN where there is none
    choice: list[str | None]  # the metric's


@dataclass(frozen=True, slots=True)
class MetricFindings:
    """A metric against the majority."""

    name: str
    better: str
    agree: Share
    kappa: Coefficient
    chooses: Mapping[str, int]  # how often the metric chose each model
    constant: str | None  # the best constant answer
    baseline: Share
    mcnemar: TestResult
    unmatched: tuple[Unmatched, ...]  # the first of them
    n_unmatched: int
    apart: tuple[Apart, ...]  # items on which raters and metric differ: those with pictures
    n_apart: int


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What a folder of ratings says, as the files have it. Models are in the order of the task."""

    models: tuple[str, str]
    question: str
    headline: list[str]
    warnings: list[str]
    n_raters: int  # with a rating
    n_ratings: int
    n_undone: int
    n_unrated: int
    n_ties: int
    n_unanimous: int
    raters: tuple[Rater, ...]
    left: Share
    seconds: float
    alpha: Coefficient
    fleiss: Coefficient
    cohen: tuple[Two, ...]
    mean_cohen: float
    plain: Individual
    others: Individual
    constant: str | None
    baseline: Share
    items: Items
    metric: MetricFindings | None
    made: Mapping[str, Any]  # the provenance

    @property
    def n_items(self) -> int:
        """Items of the task, rated or not."""
        return len(self.items.prompts)


def read_findings(out: Path) -> Findings:
    """Read agreement.json and items.parquet in `out`, and the images that the first names, where they are still there.

    Raises UsageError when a file is missing, StoreError when one cannot be read or they are not of one agreement.
    """
    if missing := [name for name in FILES if not (out / name).is_file()]:
        raise UsageError(f"{out / missing[0]}: no such file; {AGAIN} with -o {out}")
    path, table = out / FILES[0], _table(out / FILES[1])
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise StoreError(f"{path}: of another version of semscale; {AGAIN}")
        found = _findings(raw, table)
        n_items = int(raw["n_items"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: not an agreement of raters ({explained(error)}); {AGAIN}") from error
    _check_same(out, found, table, n_items)
    return found


def _table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({error!s:.200}); {AGAIN}") from error
    if not table.schema.equals(ITEMS):
        raise StoreError(f"{path}: not a table of rated items; {AGAIN}")
    return table


def _check_same(out: Path, found: Findings, table: pa.Table, n_items: int) -> None:
    """Each file is replaced in one step, not both: a writer that was killed may leave one of an earlier agreement."""
    metrics = {None if found.metric is None else found.metric.name}
    pairs = set(zip(table["model_a"].to_pylist(), table["model_b"].to_pylist(), strict=True))
    if (
        (found.n_items, int(found.items.counts.sum())) != (n_items, found.n_ratings)
        or set(table["metric"].to_pylist()) - metrics
        or pairs - {found.models}
    ):
        raise StoreError(f"{out}: items.parquet and agreement.json are of different agreements; {AGAIN} with -o {out}")


def _findings(raw: Mapping[str, Any], table: pa.Table) -> Findings:
    cohen, individual, same = raw["cohen_kappa"], raw["individual"], raw["always_the_same"]
    first, second = map(str, raw["models"])
    return Findings(
        models=(first, second),
        question=str(raw["question"]),
        headline=list(map(str, raw["headline"])),
        warnings=list(map(str, raw["warnings"])),
        **{f"n_{name}": int(raw[f"n_{name}"]) for name in ("raters", "ratings", "undone", "unrated", "ties")},
        n_unanimous=int(raw["n_unanimous"]),
        raters=tuple(rebuilt(Rater, each) for each in raw["raters"]),
        left=rebuilt(Share, raw["left"]),
        seconds=rebuilt(float, raw["seconds_median"]),
        alpha=rebuilt(Coefficient, raw["krippendorff_alpha"]),
        fleiss=rebuilt(Coefficient, raw["fleiss_kappa"]),
        cohen=tuple(rebuilt(Two, each) for each in cohen["pairs"]),
        mean_cohen=rebuilt(float, cohen["mean"]),
        plain=rebuilt(Individual, individual["with_majority"]),
        others=rebuilt(Individual, individual["with_majority_of_others"]),
        constant=rebuilt(str | None, same["answer"]),
        baseline=rebuilt(Share, same),
        items=_items(table),
        metric=None if raw["metric"] is None else _metric(raw["metric"]),
        made=dict(raw["provenance"]),
    )


def _metric(raw: Mapping[str, Any]) -> MetricFindings:
    return MetricFindings(
        name=str(raw["name"]),
        better=str(raw["better"]),
        agree=rebuilt(Share, raw["agreement"]),
        kappa=rebuilt(Coefficient, raw["kappa"]),
        chooses={model: int(k) for model, k in raw["chooses"].items()},
        constant=rebuilt(str | None, raw["always_the_same"]["answer"]),
        baseline=rebuilt(Share, raw["always_the_same"]),
        mcnemar=rebuilt(TestResult, raw["mcnemar"]),
        unmatched=tuple(
            Unmatched(str(each["prompt"]), *(tuple(map(str, each[f"{where}_in"])) for where in ("present", "missing")))
            for each in raw["unmatched"]
        ),
        n_unmatched=int(raw["n_unmatched"]),
        apart=tuple(map(apart, raw["disagreements"][:MAX_PICTURED])),
        n_apart=int(raw["n_disagreements"]),
    )


def _items(table: pa.Table) -> Items:
    return Items(
        prompts=table["prompt"].to_pylist(),
        counts=np.column_stack([table["votes_a"].to_numpy(), table["votes_b"].to_numpy()]),
        majority=table["majority"].to_pylist(),
        values=np.column_stack([table["value_a"].to_numpy(), table["value_b"].to_numpy()]),
        choice=table["choice"].to_pylist(),
    )
