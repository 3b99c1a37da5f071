"""The table beside the images: `metadata.csv`, `.jsonl` or `.parquet`, one row an image.

The Hugging Face ImageFolder convention: the column `file_name` holds the path relative to the folder; all else
is optional: `text`, `prompt` or `caption`, of which the first that is not blank counts; `model`; `seed`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import SourceError
from semscale.sources.layout import Described
from semscale.sources.tables import read_table

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
TEXT_COLUMNS = ("text", "prompt", "caption")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The rows of a metadata file, reduced to what matters; null where a row says nothing."""

    file_names: pa.Array  # binary, relative paths, each once
    text: pa.ChunkedArray  # string
    model: pa.ChunkedArray  # string
    seed: pa.ChunkedArray  # int64
    group: pa.ChunkedArray  # string: the column to group by, else the text

    def rows_of(self, names: pa.Array) -> pa.Array:
        """(N,) int32: the row of each relative path (binary), null where the file does not name it."""
        return pc.index_in(names, value_set=self.file_names)

    def describe(self, row: int | None, key: str) -> Described:
        """What the file says of one image; where it names no group, that is the folder, as `./folder`.

        The dot keeps a folder `dog` apart from the images whose text is `dog`.
        """
        folder = "/".join((".", *PurePosixPath(key).parent.parts))
        if row is None:
            return Described(folder)
        group, text, model, seed = (c[row].as_py() for c in (self.group, self.text, self.model, self.seed))
        return Described(folder if group is None else group, text, model, seed)


def read_metadata(folder: Path, *, group_column: str | None = None) -> Metadata | None:
    """Read the metadata file of a folder, or return None where there is none.

    Raises SourceError for two files, an unreadable file, a column that is missing or there twice, a name given twice,
    a name that leaves the folder or cannot be one, or a value of the wrong type.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise SourceError(f"{folder}: has both {found[0].name} and {found[1].name}; keep one")
    if not found:
        return None
    path = found[0]
    asked = () if group_column is None else (group_column,)
    wanted = list(dict.fromkeys(("file_name", *TEXT_COLUMNS, "model", "seed", *asked)))
    names, table = read_table(path, wanted)
    for name, use in (("file_name", ""), (group_column, " to group by")):
        if name is not None and name not in names:
            raise SourceError(f"{path}: no column {name!r}{use}; columns: {', '.join(names)}")
    strings = {name: _blank_to_null(_strings(table.column(name), name, path)) for name in wanted}
    text = pc.coalesce(*(strings[name] for name in TEXT_COLUMNS))
    group = text if group_column is None else strings[group_column]
    file_names = _file_names(strings["file_name"], path)
    return Metadata(file_names, text, strings["model"], _seeds(strings["seed"], path), group)


def _file_names(column: pa.ChunkedArray, path: Path) -> pa.Array:
    names = pa.array((_file_name(cell.as_py(), row, path) for row, cell in enumerate(column, start=1)), pa.string())
    counts = pc.value_counts(names)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        name, count = (repeated[0][field].as_py() for field in ("values", "counts"))
        raise SourceError(f"{path}: names {name!r} {count} times; keep one row")
    return pa.array(map(os.fsencode, names.to_pylist()), pa.binary())


def _file_name(name: str | None, row: int, path: Path) -> str:
    relative = PurePosixPath(name or "")
    if not relative.parts:
        raise SourceError(f"{path}: row {row} has no file_name")
    if relative.is_absolute() or ".." in relative.parts:
        raise SourceError(f"{path}: row {row}: file_name {name!r} leaves the folder; use paths relative to the folder")
    if "\0" in str(relative):
        raise SourceError(f"{path}: row {row}: file_name {name!r} holds a NUL character, which no file name can")
    return str(relative)


def _seeds(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        row, value = next((row, cell.as_py()) for row, cell in enumerate(column, start=1) if not _is_int64(cell))
        raise SourceError(
            f"{path}: row {row}, column 'seed': {value!r:.80} is not a whole number of at most 64 bits"
        ) from error


def _is_int64(cell: pa.Scalar) -> bool:
    try:
        cell.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _strings(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowException as error:
        raise SourceError(f"{path}: column {name!r} is {column.type}, not text: {error}") from error


def _blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, pa.string()), column)
