"""Scores to the files people and programs read: groups.parquet, images.parquet, summary.json."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semscale.files import replacing
from semscale.measures.compute import Measured
from semscale.measures.pairs_table import PairTable
from semscale.metrics.alignment import Preset, mean_score
from semscale.model import Array
from semscale.scoring import Scores, sums_by_group
from semscale.store import Store

NOTHING: Mapping[str, Array] = {}
IMAGE_ROWS = 65_536  # rows of images.parquet held at a time


def write_groups(
    path: Path, store: Store, scores: Scores, convention: Preset, more: Mapping[str, Array] = NOTHING
) -> None:
    """Write groups.parquet: one row a group, sorted by model and group; `more` are columns of further metrics, (G,)."""
    keys = store.metadata(["key"]).column("key")
    columns: dict[str, Any] = {
        "model": pa.array(scores.groups.model, pa.string()),
        "group": pa.array(scores.groups.name, pa.string()),
        "text": _texts(store, scores),
        "n": scores.n,
        "n_invalid": scores.n_invalid,
        "scs": scores.scs,
        "scs_se": scores.se,
        "scs_low": scores.low,
        "scs_high": scores.high,
        "scs_corrected": scores.corrected,
        "n_clamped": scores.n_clamped,
        "medoid_key": keys.take(_index(scores.medoid)),
        "outlier_key": keys.take(_index(scores.outlier)),
        "min_similarity": scores.minimum,
        "max_similarity": scores.maximum,
    }
    if scores.clip is not None:
        columns["clip_score"] = mean_score(*sums_by_group(scores, scores.clip), convention)
    columns |= more
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def write_images(path: Path, store: Store, scores: Scores, more: Mapping[str, Array] = NOTHING) -> None:
    """Write images.parquet: one row an input, embedded ones in plan order and then the failed ones.

    `more` are columns of further metrics, (N,) of the embedded images.
    """
    tables = (*_embedded(store, scores, more), _failed(store, more))
    schema = tables[-1].schema
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in tables:
            writer.write_table(table.select(schema.names).cast(schema))


def write_pairs(path: Path, pairs: PairTable, found: Measured) -> None:
    """Write pairs.parquet: one row a pair in the order of its table, a column for each metric, NaN for no value."""
    columns: dict[str, Any] = {"source": pairs.source, "edited": pairs.edited, **found.of_pairs}
    if found.reasons:
        columns["reason"] = pa.array(found.reasons, pa.string())
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _embedded(store: Store, scores: Scores, more: Mapping[str, Array]) -> Iterator[pa.Table]:
    shown = ["key", "uri", "model", "group", "caption", "seed", "width", "height", "sha256"]
    table = store.metadata(shown).rename_columns({"caption": "text"})
    valid = pa.array(scores.row_valid)
    status = pc.if_else(valid, "ok", "invalid")
    reason = pc.if_else(valid, pa.scalar(None, pa.string()), "invalid-embedding")
    clip = np.full(len(table), np.nan) if scores.clip is None else scores.clip
    for start in range(0, len(table), IMAGE_ROWS):
        rows = slice(start, start + IMAGE_ROWS)
        part = table.slice(start, IMAGE_ROWS)
        part = part.append_column("status", status[rows])
        part = part.append_column("reason", reason[rows])
        part = part.append_column("message", pa.nulls(len(part), pa.string()))
        part = part.append_column("group_similarity", pa.array(scores.row_similarity[rows]))
        part = part.append_column("clip_score", pa.array(clip[rows]))
        for name, values in more.items():
            part = part.append_column(name, pa.array(values[rows]))
        yield part


def _failed(store: Store, more: Mapping[str, Array]) -> pa.Table:
    table = store.errors().rename_columns({"caption": "text", "code": "reason"})
    count = len(table)
    table = table.append_column("status", pa.array(["failed"] * count, pa.string()))
    for name in ("width", "height"):
        table = table.append_column(name, pa.nulls(count, pa.int32()))
    table = table.append_column("sha256", pa.nulls(count, pa.string()))
    scored = ("group_similarity", "clip_score", *more)
    for name in scored:
        table = table.append_column(name, pa.array(np.full(count, np.nan)))
    order = ["key", "uri", "model", "group", "text", "seed", "width", "height", "sha256"]
    order += ["status", "reason", "message"]
    return table.select([*order, *scored])


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write summary.json; numbers that are undefined become null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(finite(summary), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """The same nested value with NaN and infinities as None, which is all that JSON can say of them."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _texts(store: Store, scores: Scores) -> pa.Array:
    """The text of each group, null where its images have none or several."""
    captions = pa.chunked_array(
        [*store.metadata(["caption"]).column(0).chunks, *store.errors(["caption"]).column(0).chunks]
    )
    group = np.concatenate([scores.groups.of_row, scores.groups.of_failure])
    every = pc.CountOptions(mode="all")  # null counts as one more value
    found = pa.table({"group": group, "caption": captions}).group_by("group", use_threads=False)
    found = found.aggregate([("caption", "count_distinct", every), ("caption", "first")]).sort_by("group")
    found = found.filter(pc.greater_equal(found.column("group"), 0))
    single = pc.equal(found.column("caption_count_distinct"), 1)
    return pc.if_else(single, found.column("caption_first"), pa.scalar(None, pa.string()))


def _index(rows: Array) -> pa.Array:
    return pc.if_else(pa.array(rows < 0), None, pa.array(rows))
