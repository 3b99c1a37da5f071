"""Results of `semscale score` as a comparison reads them: summary.json, groups.parquet and images.parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from semscale.errors import StoreError, UsageError
from semscale.report.summary import Summary, read_summary

OF_GROUPS = ("model", "group", "text", "n")  # columns that every groups.parquet has
OF_IMAGES = ("model", "group", "seed", "status")


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """One folder of results. Images are read when they are asked for."""

    folder: Path
    summary: Summary
    entries: Mapping[str, Mapping[str, Any]]  # of summary.json, by the name of the score
    groups: pa.Table  # all of groups.parquet
    image_columns: tuple[str, ...]  # of images.parquet, those that hold numbers

    @property
    def models(self) -> list[str | None]:
        """The models that have groups, sorted, None (not named) last."""
        found = self.groups["model"].unique().to_pylist()
        return sorted(found, key=lambda name: (name is None, name or ""))

    @property
    def group_columns(self) -> tuple[str, ...]:
        """Columns of groups.parquet that hold numbers."""
        return _numeric(self.groups.schema)

    def groups_of(self, model: str | None) -> pa.Table:
        """The groups of one model."""
        return self.groups.filter(_is(self.groups["model"], model))

    def images_of(self, model: str | None, columns: Sequence[str]) -> pa.Table:
        """The scored images of one model: group, seed and `columns`. Raises StoreError."""
        path = self.folder / "images.parquet"
        is_model = ds.field("model").is_null() if model is None else ds.field("model") == model
        try:
            found = ds.dataset(path).to_table(
                ["group", "seed", *columns], filter=is_model & (ds.field("status") == "ok")
            )
            return found.set_column(1, "seed", found["seed"].cast(pa.int64()))
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path}: not a table of images ({error}); score again") from error


def read_results(folder: Path) -> Results:
    """Read a folder that `semscale score` wrote.

    Raises UsageError when one of its three files is missing, StoreError when one cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the results of `semscale score`")
    summary = read_summary(folder / "summary.json")
    raw = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    groups_file, images_file = folder / "groups.parquet", folder / "images.parquet"
    _schema(groups_file, OF_GROUPS, "groups")
    images = _schema(images_file, OF_IMAGES, "images")
    try:
        groups = pq.read_table(groups_file)
        for name in ("model", "group", "text"):
            groups = groups.set_column(groups.schema.get_field_index(name), name, groups[name].cast(pa.string()))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{groups_file}: not a table of groups ({error}); score again") from error
    if not len(groups):
        raise UsageError(f"{folder}: has no groups, so there is nothing to compare")
    entries = {str(name): dict(entry) for name, entry in raw["scores"].items()}
    return Results(folder, summary, entries, groups, _numeric(images))


def _schema(path: Path, needed: Sequence[str], what: str) -> pa.Schema:
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; run `semscale score` into this folder first") from error
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not a table of {what} ({error}); score again") from error
    if missing := sorted(set(needed) - set(schema.names)):
        raise StoreError(f"{path}: has no column {', '.join(missing)}; score again")
    return schema


def _numeric(schema: pa.Schema) -> tuple[str, ...]:
    return tuple(
        field.name
        for field in schema
        if (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)) and field.name != "seed"
    )


def _is(column: pa.ChunkedArray, model: str | None) -> Any:
    return pc.is_null(column) if model is None else pc.fill_null(pc.equal(column, model), False)
