"""`groups.parquet`: one row a group, ranked by consistency, and split by model for the plots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semscale.errors import StoreError, UsageError
from semscale.model import Array

COLUMNS = (
    *("model", "group", "text", "n", "n_invalid", "scs", "scs_low", "scs_high"),
    *("medoid_key", "outlier_key", "min_similarity", "max_similarity"),
)
OPTIONAL_COLUMNS = ("clip_score",)  # absent when the source has no texts


@dataclass(frozen=True, slots=True)
class Group:
    """One row of `groups.parquet`; undefined numbers are None or NaN."""

    model: str | None
    group: str
    text: str | None
    n: int  # valid images
    n_invalid: int
    scs: float | None
    scs_low: float | None
    scs_high: float | None
    medoid_key: str | None
    outlier_key: str | None
    min_similarity: float | None
    max_similarity: float | None
    clip_score: float | None = None


def read_groups(path: Path) -> pa.Table:
    """Read the columns a report needs; NaN becomes null.

    Raises UsageError when there is no such file, StoreError when it is not a table of groups.
    """
    try:
        names = pq.read_schema(path).names
        columns = [*COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in names)]
        if missing := sorted(set(columns) - set(names)):
            raise StoreError(f"{path}: has no column {', '.join(missing)}; score again")
        return without_nan(pq.read_table(path, columns=columns))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; run `semscale score` into this folder first") from error
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not a table of groups ({error}); score again") from error


def without_nan(table: pa.Table) -> pa.Table:
    """Return `table` with null for every number that is not finite."""
    for index, column in enumerate(table.schema):
        if pa.types.is_floating(column.type):
            values = table.column(index)
            cleaned = pc.if_else(pc.is_finite(values), values, pa.scalar(None, column.type))
            table = table.set_column(index, column.name, cleaned)
    return table


def averaged(table: pa.Table) -> pa.Table:
    """Return the groups that have a consistency, the least consistent first; ties by model and group."""
    keys = [("scs", "ascending"), ("model", "ascending"), ("group", "ascending")]
    return table.filter(pc.is_valid(table["scs"])).sort_by(keys)


def not_averaged(table: pa.Table) -> pa.Table:
    """Return the groups without a consistency: fewer than two valid images."""
    few = pc.and_(pc.is_null(table["scs"]), pc.less(table["n"], 2))  # large groups have none where nobody asked for it
    return table.filter(few).sort_by([("model", "ascending"), ("group", "ascending")])


def of_model(table: pa.Table, model: str | None) -> pa.Table:
    """Return the rows of one model; None is the one without a name."""
    is_model = pc.is_null(table["model"]) if model is None else pc.equal(table["model"], model)
    return table.filter(pc.fill_null(is_model, False))


def rows(table: pa.Table) -> list[Group]:
    """Return each row of `table` as a Group."""
    return [Group(**row) for row in table.to_pylist()]


def widest(ranked: pa.Table, limit: int) -> list[list[Group]]:
    """Return the groups of up to `limit` names whose models differ most in consistency, the most different first.

    Each comes with all models that have it, the most consistent first; names that one model alone has are left out.
    """
    told = ranked.filter(pc.is_valid(ranked["model"]))
    ends = told.group_by("group", use_threads=False).aggregate([("scs", "min"), ("scs", "max"), ("scs", "count")])
    ends = ends.filter(pc.greater(ends["scs_count"], 1))
    ends = ends.append_column("gap", pc.subtract(ends["scs_max"], ends["scs_min"]))
    names = ends.sort_by([("gap", "descending"), ("group", "ascending")])["group"].slice(0, limit).to_pylist()
    return [rows(told.filter(pc.equal(told["group"], name)))[::-1] for name in names]


def best_and_worst(ranked: pa.Table, limit: int) -> tuple[list[Group], list[Group]]:
    """Return up to `limit` groups from each end of `ranked`, the extreme first; no group is in both lists."""
    n_worst = min(limit, ranked.num_rows // 2)
    n_best = min(limit, ranked.num_rows - n_worst)
    best = ranked.slice(ranked.num_rows - n_best)
    return rows(best)[::-1], rows(ranked.slice(0, n_worst))


def values_by_model(table: pa.Table, columns: tuple[str, ...]) -> dict[str | None, Array]:
    """Return, for each model, the rows where all `columns` are defined: model -> (G, len(columns)) float64."""
    for name in columns:
        table = table.filter(pc.is_valid(table[name]))
    models = np.asarray(table["model"].to_pylist(), dtype=object)
    values = np.column_stack([table[name].to_numpy() for name in columns]).astype(np.float64)
    return {model: values[models == model] for model in dict.fromkeys(models)}
