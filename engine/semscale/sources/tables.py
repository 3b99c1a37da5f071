"""Some columns of a CSV, JSON Lines or Parquet file, values as they are written."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from semscale.errors import SourceError
from semscale.sources.places import BLOCK_BYTES, Place
from semscale.sources.quotes import csv_header, refuse_open_quote

ROWS = 10_000  # of JSON Lines held as Python objects at once
PARSE = pa.csv.ParseOptions(newlines_in_values=True)


def read_table(place: Place, wanted: Sequence[str]) -> tuple[list[str], pa.Table]:
    """The names of all columns, and a table of the `wanted` ones; those the file does not have are null.

    CSV and JSON Lines give strings, exactly as they are written, whatever they look like; Parquet its own types.
    Rows in messages are counted from 1, without header and blank lines. Raises SourceError for a file that cannot be
    read, a wanted column that is there twice, and in JSON Lines a value that is not a string; `seed` may be an integer.
    """
    try:
        return READERS[suffix_of(place.name)](place, wanted)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        hint = "; save it as UTF-8" if isinstance(error, UnicodeError) or "UTF8" in str(error) else ""
        raise SourceError(f"{place.uri}: cannot be read: {error}{hint}") from error


def _read_csv(place: Place, wanted: Sequence[str]) -> tuple[list[str], pa.Table]:
    names = csv_header(place)
    refuse_open_quote(place)
    _refuse_repeats(names, wanted, place)
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(wanted, pa.string()),  # or "1984" would be a number, and "null" no text at all
        include_columns=wanted,
        include_missing_columns=True,
    )
    # Arrow's threads may let go of a Python file, or of bytes that it gave, when the interpreter already ends: whoever
    # waits for its lock then takes the process down. So what they read is memory of Arrow's own.
    copied = pa.BufferOutputStream()
    with place.open() as file:
        shutil.copyfileobj(file, copied, BLOCK_BYTES)
    source = pa.BufferReader(copied.getvalue())
    return names, pa.csv.read_csv(source, parse_options=PARSE, convert_options=convert)


def _read_parquet(place: Place, wanted: Sequence[str]) -> tuple[list[str], pa.Table]:
    with place.open() as file, pa.parquet.ParquetFile(file) as opened:
        names = opened.schema_arrow.names
        _refuse_repeats(names, wanted, place)
        table = opened.read(columns=[name for name in wanted if name in names])
        rows = opened.metadata.num_rows
    missing = {name: pa.nulls(rows, pa.string()) for name in wanted if name not in names}
    return names, pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **missing})


def _read_jsonl(place: Place, wanted: Sequence[str]) -> tuple[list[str], pa.Table]:
    schema = pa.schema([(name, pa.string()) for name in wanted])
    names: dict[str, None] = {}
    parts = [schema.empty_table()]
    with io.TextIOWrapper(place.open(), encoding="utf-8-sig", newline="\n") as file:
        rows = enumerate(_objects(file, place), start=1)
        while part := list(islice(rows, ROWS)):
            for _, row in part:
                names.update(dict.fromkeys(row))
            cells = [[_cell(row.get(name), name, number=n, place=place) for n, row in part] for name in wanted]
            parts.append(pa.table(cells, schema=schema))
    return list(names), pa.concat_tables(parts)


def _objects(lines: Iterable[str], place: Place) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{place.uri}: line {number} cannot be read: {error}") from error
        if not isinstance(row, dict):
            raise SourceError(f"{place.uri}: line {number} is not a JSON object; give one {{...}} a line")
        yield row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice in one object; keep one")
    return found


def _cell(value: Any, name: str, *, number: int, place: Place) -> str | None:
    if value is None:
        return None
    where = f"{place.uri}: row {number}, column {name!r}: {value!r:.80}"
    if name == "seed" and (type(value) is int or (isinstance(value, float) and value.is_integer())):  # not bool
        return str(int(value))
    if not isinstance(value, str):
        raise SourceError(f"{where} is {'not a whole number' if name == 'seed' else 'not text; put it in quotes'}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{where} is not valid Unicode: half of a surrogate pair") from error
    return value


def _refuse_repeats(names: Sequence[str], wanted: Sequence[str], place: Place) -> None:
    for name in wanted:
        if names.count(name) > 1:
            raise SourceError(f"{place.uri}: has {names.count(name)} columns {name!r}; keep one")


READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}


def suffix_of(name: str) -> str:
    """The suffix by which the kind of a table is told, in lower case."""
    return PurePosixPath(name).suffix.lower()
