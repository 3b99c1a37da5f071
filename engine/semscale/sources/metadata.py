"""The table beside the images: `metadata.csv`, `.jsonl` or `.parquet`, one row an image.

The Hugging Face ImageFolder convention: the column `file_name` holds the path relative to the folder; all else
is optional: `text`, `prompt` or `caption`; `model`; `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from semscale.errors import SourceError
from semscale.sources.layout import Described

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
TEXT_COLUMNS = ("text", "prompt", "caption")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The rows of a metadata file, reduced to the columns that matter."""

    path: Path
    file_names: pa.Array  # string, each once
    columns: dict[str, pa.Array]  # "text", "model", "group": string; "seed": int64; only those the file has

    def rows_of(self, keys: pa.Array) -> pa.Array:
        """(N,) int32: the row of each key, null where the file does not name it."""
        return pc.index_in(keys, value_set=self.file_names)

    def describe(self, row: int | None, key: str) -> Described:
        """What the file says of one image; its group is the text where there is one, else the parent folder."""
        found = {name: None if row is None else column[row].as_py() for name, column in self.columns.items()}
        text = found.get("text")
        group = found.get("group") if "group" in self.columns else text
        fallback = str(PurePosixPath(key).parent)
        return Described(fallback if group is None else group, text, found.get("model"), found.get("seed"))


def read_metadata(folder: Path, *, group_column: str | None = None) -> Metadata | None:
    """Read the metadata file of a folder, or return None where there is none.

    Raises SourceError for two files, an unreadable file, a missing column, a name given twice, a name that leaves
    the folder, or a column of the wrong type.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise SourceError(f"{folder}: has both {found[0].name} and {found[1].name}; keep one")
    if not found:
        return None
    path = found[0]
    table = _read_table(path)
    if "file_name" not in table.column_names:
        raise SourceError(f"{path}: no column 'file_name'; columns: {', '.join(table.column_names)}")
    if group_column is not None and group_column not in table.column_names:
        raise SourceError(f"{path}: no column {group_column!r} to group by; columns: {', '.join(table.column_names)}")
    return Metadata(path, _file_names(table, path), _columns(table, path, group_column))


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pa.parquet.read_table(path)
        if path.suffix == ".jsonl":
            return pa.json.read_json(path)
        return pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types=_csv_types(path)),
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def _csv_types(path: Path) -> dict[str, pa.DataType]:
    # Otherwise a prompt "1984" would be read as a number, and "null" or "NA" as no text at all.
    header = pa.csv.open_csv(path, parse_options=pa.csv.ParseOptions(newlines_in_values=True)).schema.names
    return {name: pa.string() for name in header}


def _file_names(table: pa.Table, path: Path) -> pa.Array:
    names = _typed(table, "file_name", pa.string(), path)
    if names.null_count:
        raise SourceError(f"{path}: row {pc.index(names.is_null(), True).as_py()} has no file_name")
    normal = pa.array((str(PurePosixPath(name)) for name in names.to_pylist()), pa.string())
    for name in normal.to_pylist():
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise SourceError(f"{path}: file_name {name!r} leaves the folder; use paths relative to {path.parent}")
    counts = pc.value_counts(normal)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise SourceError(
            f"{path}: names {repeated[0]['values'].as_py()!r} {repeated[0]['counts']} times; keep one row"
        )
    return normal


def _columns(table: pa.Table, path: Path, group_column: str | None) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    text = next((name for name in TEXT_COLUMNS if name in table.column_names), None)
    for ours, theirs in (("text", text), ("model", "model"), ("group", group_column)):
        if theirs is not None and theirs in table.column_names:
            columns[ours] = _blank_to_null(_typed(table, theirs, pa.string(), path))
    if "seed" in table.column_names:
        columns["seed"] = _typed(table, "seed", pa.int64(), path)
    return columns


def _typed(table: pa.Table, name: str, kind: pa.DataType, path: Path) -> pa.Array:
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # a table of no rows
        column = pa.array([], kind)
    if pa.types.is_string(column.type) and pa.types.is_integer(kind):
        column = _blank_to_null(column)
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise SourceError(f"{path}: column {name!r} is {column.type}, not {kind}: {error}") from error


def _blank_to_null(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, column.type), column)
