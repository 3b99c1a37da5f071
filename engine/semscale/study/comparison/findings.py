"""What `compare.html` is made from: the files of a comparison, and nothing else."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semscale.errors import StoreError, UsageError, explained
from semscale.model import Array
from semscale.report.images import Member
from semscale.report.side_by_side import member
from semscale.report.summary import Summary, summary_of
from semscale.stats.comparison import Comparison
from semscale.study.comparison.comparing import ComparedPair
from semscale.study.comparison.measured import Metric

FORMAT = 1
FILES = ("comparison.json", "pairs.parquet", "unmatched.parquet")
AGAIN = "run `semscale compare` again"
LEAVES: Mapping[Any, Any] = {str: str, int: int, float: int | float}  # kind -> what JSON has in its place


@dataclass(frozen=True, slots=True, eq=False)
class MetricFindings:
    """All models by one metric."""

    metric: Metric
    prompts: list[str]  # (n,) that have a value in all models
    values: Array  # (n, S) float64
    counts: Array  # (n, S) images
    left_out: list[str]  # the first prompts without a value in some model
    n_left_out: int
    pairs: tuple[ComparedPair, ...]


@dataclass(frozen=True, slots=True)
class Pictured:
    """One model's images of a prompt."""

    model: str
    value: float  # of the prompt, by the first metric
    images: tuple[Member, ...]  # one for each column


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One prompt with pictures."""

    prompt: str
    columns: tuple[str, ...]
    paired: bool  # whether a column is of one seed
    models: tuple[Pictured, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Several models compared, as the files say it."""

    labels: list[str]
    n_prompts: int
    n_images: int
    paired: bool  # whether images are joined by seed
    metrics: tuple[MetricFindings, ...]
    unmatched: pa.Table
    warnings: list[str]
    runs: tuple[tuple[str, list[str], Summary], ...]  # each folder of results, its models, and what made it
    side_by_side: tuple[SideBySide, ...]
    made: Mapping[str, Any]  # the provenance


def read_findings(out: Path) -> Findings:
    """Read comparison.json, pairs.parquet and unmatched.parquet in `out`.

    Raises UsageError when one is missing, StoreError when one cannot be read or they are not of one comparison.
    """
    path = out / "comparison.json"
    if missing := [name for name in FILES if not (out / name).is_file()]:
        raise UsageError(f"{out / missing[0]}: no such file; {AGAIN} with -o {out}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT or "runs" not in raw:
            raise StoreError(f"{path}: of another version of semscale; {AGAIN}")
        return _findings(out, raw)
    except pa.ArrowException as error:
        raise StoreError(f"{out}: its tables cannot be read ({error}); {AGAIN}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: not a comparison ({explained(error)}); {AGAIN}") from error


def _findings(out: Path, raw: Mapping[str, Any]) -> Findings:
    labels = [str(model["name"]) for model in raw["models"]]
    joined = pq.read_table(out / "pairs.parquet")
    return Findings(
        labels=labels,
        n_prompts=int(raw["n_prompts"]),
        n_images=sum(raw["n_images"]),
        paired=raw["joined_by"] != "prompt",
        metrics=tuple(_metric(out, labels, name, each, joined) for name, each in raw["metrics"].items()),
        unmatched=pq.read_table(out / "unmatched.parquet"),
        warnings=list(map(str, raw["warnings"])),
        runs=tuple((str(run["out"]), list(run["models"]), summary_of(run["summary"])) for run in raw["runs"]),
        side_by_side=tuple(map(_side_by_side, raw["side_by_side"])),
        made=dict(raw["provenance"]),
    )


def _side_by_side(raw: Mapping[str, Any]) -> SideBySide:
    models = tuple(
        Pictured(str(each["model"]), float(each["value"]), tuple(map(member, each["images"]))) for each in raw["models"]
    )
    return SideBySide(str(raw["prompt"]), tuple(map(str, raw["columns"])), bool(raw["paired"]), models)


def _metric(out: Path, labels: list[str], name: str, raw: Mapping[str, Any], joined: pa.Table) -> MetricFindings:
    rows, n = joined.filter(pc.equal(joined["metric"], name)), int(raw["n"])
    both = list(combinations(range(len(labels)), 2))
    if len(rows) != n * len(both):
        raise StoreError(f"{out}: pairs.parquet and comparison.json are of different comparisons; {AGAIN}")
    with_first = [rows.slice(n * k, n) for k in range(len(labels) - 1)]  # the first model and each of the others
    low, high = (math.copysign(math.inf, sign) if raw[end] is None else float(raw[end])
                 for end, sign in (("low", -1), ("high", 1)))  # fmt: skip
    return MetricFindings(
        metric=Metric(name, raw["column"], raw["per"], raw["better"], raw["what"], low, high),
        prompts=with_first[0]["prompt"].to_pylist(),
        values=_of_models(with_first, "a", "b"),
        counts=_of_models(with_first, "n_a", "n_b"),
        left_out=list(map(str, raw["left_out"])),
        n_left_out=int(raw["n_left_out"]),
        pairs=tuple(_pair(each, columns, len(both) > 1) for each, columns in zip(raw["pairs"], both, strict=True)),
    )


def _of_models(with_first: list[pa.Table], first: str, other: str) -> Array:
    return np.column_stack([with_first[0][first].to_numpy(), *(table[other].to_numpy() for table in with_first)])


def _pair(raw: Mapping[str, Any], columns: tuple[int, int], adjusted: bool) -> ComparedPair:
    statistics = rebuilt(Comparison, raw["statistics"])
    p = rebuilt(float, raw["p"])
    return ComparedPair(raw["a"], raw["b"], columns, statistics, p, adjusted, raw["ahead"], raw["sentence"])


def rebuilt(kind: Any, value: Any) -> Any:
    """The value of a (nested) dataclass whose `asdict` went through JSON, where null stands for NaN.

    Raises TypeError and KeyError where it is no such value.
    """
    if isinstance(kind, types.UnionType):
        one = next(each for each in typing.get_args(kind) if each is not types.NoneType)
        return None if value is None else rebuilt(one, value)
    if value is None and kind is float:
        return math.nan
    if not is_dataclass(kind):
        if not isinstance(value, LEAVES.get(kind, object)):
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value
    kinds = typing.get_type_hints(kind)
    return kind(**{field.name: rebuilt(kinds[field.name], value[field.name]) for field in fields(kind)})
