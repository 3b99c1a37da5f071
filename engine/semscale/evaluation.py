"""Scores of a table that holds predictions and truths: a CSV, JSON Lines or Parquet file, one item a row.

Labels are compared as they are written. Whole numbers of JSON Lines and Parquet are written without a fraction, so that
1 and 1.0, which a column with gaps makes of it, are one label. An empty label is a missing one. Label masks are PNG
files of one channel or with a palette, whose indices are the labels.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from semscale.decode import MAX_PIXELS
from semscale.errors import SourceError, UsageError
from semscale.headers import plain_png
from semscale.metrics.predictions import accuracy, bleu, mean_iou
from semscale.model import Array, Score
from semscale.sources.places import LocalFile
from semscale.sources.tables import READERS, read_table, suffix_of

METRICS = ("accuracy", "mean-iou", "bleu")
PNG = b"\x89PNG\r\n\x1a\n"
GREY_STEPS = {2: 85, 4: 17}  # bits of a grey PNG -> what its labels are multiplied by when it is read


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was computed from a table."""

    table: Path
    n_rows: int
    score: Score
    per_class: Mapping[int, float]  # of mean-iou: IoU of each label; empty for other metrics


def evaluate(
    table: Path,
    metric: str,
    *,
    prediction: str = "prediction",
    truths: Sequence[str] = ("truth",),
    ignore_index: int | None = None,
    preset: str = "pooled",
) -> Evaluation:
    """Compute `metric`, one of METRICS, of the columns `prediction` and `truths` of a table.

    `ignore_index` and `preset` are of mean-iou, whose columns hold paths of PNG files, relative to the table; several
    truths are of bleu. Raises UsageError for a metric, column or option that does not fit, and SourceError for a table
    or mask that cannot be read or does not fit, with its row, counted from 1 without the header.
    """
    if metric not in METRICS:
        raise UsageError(f"unknown metric {metric!r} of a table; choose from {', '.join(METRICS)}")
    if metric != "bleu" and len(truths) != 1:
        raise UsageError(f"{metric} compares with one column of truths, not {len(truths)}; only bleu takes several")
    predicted, *true = _columns(table, [prediction, *truths])
    if metric == "bleu":
        return Evaluation(table, len(predicted), bleu(predicted, true), {})
    if metric == "accuracy":
        labels = ([label or None for label in column] for column in (predicted, true[0]))
        return Evaluation(table, len(predicted), accuracy(*labels), {})
    found = mean_iou(_masks(table, predicted, true[0]), ignore_index=ignore_index, preset=preset)
    per_class = dict(zip(found.labels.tolist(), found.iou.tolist(), strict=True))
    return Evaluation(table, len(predicted), found.score, per_class)


def _columns(table: Path, wanted: Sequence[str]) -> list[list[str | None]]:
    """Read some columns, all as text. Raises for one that is not there, and for a table without rows."""
    suffix = suffix_of(table.name)
    if suffix not in READERS:
        raise UsageError(f"{table}: not a table; give a file that ends in {', '.join(READERS)}")
    if suffix == ".jsonl":
        names, columns = _read_jsonl(table, wanted)
    else:
        names, found = read_table(LocalFile(table), list(dict.fromkeys(wanted)))  # pyright: ignore[reportArgumentType]
        columns = [found.column(name).to_pylist() for name in wanted] if set(wanted) <= set(names) else []
    missing = [name for name in wanted if name not in names]
    if missing and names:
        raise UsageError(f"{table}: no column {missing[0]!r}; there are {', '.join(map(repr, names))}")
    if missing or not columns[0]:
        raise SourceError(f"{table}: no rows; give one for each prediction")
    return [
        [_text(value, f"{table}: row {row}, column {name!r}") for row, value in enumerate(column, start=1)]
        for name, column in zip(wanted, columns, strict=True)
    ]


def _read_jsonl(table: Path, wanted: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """The names there are and the wanted columns, numbers too, unlike the lists of images that `read_table` reads."""
    try:
        lines = table.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"{table}: cannot be read: {error}; save it as UTF-8") from error
    rows = [_object(line, f"{table}: line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    names = dict.fromkeys(name for row in rows for name in row)
    return list(names), [[row.get(name) for row in rows] for name in wanted]


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where} cannot be read: {error}") from error
    if not isinstance(row, dict):
        raise SourceError(f"{where} is not a JSON object; give one {{...}} a line")
    return row


def _text(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    raise SourceError(f"{where}: {value!r:.80} is neither text nor a number")


def _masks(table: Path, predicted: Sequence[str | None], true: Sequence[str | None]) -> Iterator[tuple[Array, Array]]:
    """Read the masks of one row after the other. Raises SourceError with row and file."""
    for row, files in enumerate(zip(predicted, true, strict=True), start=1):
        one, other = (_mask(table, name, row) for name in files)
        if one.shape != other.shape:
            sizes = " and ".join(
                f"{name} is {mask.shape[1]} x {mask.shape[0]}" for name, mask in zip(files, (one, other), strict=True)
            )
            raise SourceError(f"{table}: row {row}: {sizes} pixels; both masks must be of one size")
        yield one, other


def _mask(table: Path, name: str | None, row: int) -> Array:
    """The labels of a PNG file, (H, W) uint8 or uint16."""
    where = f"{table}: row {row}"
    if not name:
        raise SourceError(f"{where}: no path of a mask; give the path of a PNG file, relative to the table")
    try:
        data = (table.parent / name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise SourceError(f"{where}: mask {name} cannot be read: {error}") from error
    try:
        return _labels(data)
    except SourceError as error:
        raise SourceError(f"{where}: mask {name} {error}") from None
    except Exception as error:  # decoders raise anything at all on damaged bytes
        raise SourceError(f"{where}: mask {name} is damaged: {error}; write it again") from error


def _labels(data: bytes) -> Array:
    if not data.startswith(PNG):
        raise SourceError("is not a PNG file; other formats change labels or have none")
    image = PngImageFile(io.BytesIO(plain_png(data)))
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise SourceError(f"has {image.size[0]} x {image.size[1]} pixels, more than {MAX_PIXELS}")
    if image.mode not in {"1", "L", "P", "I;16", "I"}:
        raise SourceError(f"holds colours ({image.mode}); labels are PNG files of one channel or with a palette")
    image.load()  # here, for damage met by numpy's own look is told less well
    labels = np.asarray(image).astype(np.uint16)
    return labels // GREY_STEPS.get(data[24], 1) if image.mode == "L" else labels
