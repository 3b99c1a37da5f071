"""The table that describes images: `metadata.csv`, `.jsonl` or `.parquet` beside them, or a list of paths.

The Hugging Face ImageFolder convention: the column `file_name` (in a list of paths also `path` or `image_path`) holds
the path relative to the folder; all else is optional: `text`, `prompt` or `caption`, of which the first that is not
blank counts; `model`; `seed`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import SourceError
from semscale.sources.layout import Described, folder_of
from semscale.sources.places import Place
from semscale.sources.tables import read_table

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
TEXT_COLUMNS = ("text", "prompt", "caption")
PATH_COLUMNS = ("file_name", "path", "image_path")  # of a list; beside images it is file_name


@dataclass(frozen=True, slots=True)
class Metadata:
    """The rows of a table, reduced to what matters; null where a row says nothing."""

    file_names: pa.Array  # large_binary, each once
    text: pa.ChunkedArray  # string
    model: pa.ChunkedArray  # string
    seed: pa.ChunkedArray  # int64
    group: pa.ChunkedArray  # string: the column to group by, else the text

    def rows_of(self, names: pa.ChunkedArray) -> pa.ChunkedArray:
        """(N,) int32: the row of each name (large_binary), null where the table does not name it."""
        return pc.index_in(names, value_set=self.file_names)

    def describe(self, row: int | None, key: str) -> Described:
        """What the table says of one image; where it names no group, that is the folder: see `folder_of`."""
        if row is None:
            return Described(folder_of(key))
        group, text, model, seed = (c[row].as_py() for c in (self.group, self.text, self.model, self.seed))
        return Described(folder_of(key) if group is None else group, text, model, seed)


def find_metadata(beside: Callable[[str], Place | None], where: str) -> Place | None:
    """The metadata file among those that `beside` finds by name. Raises SourceError where there are two."""
    found = [place for name in NAMES if (place := beside(name)) is not None]
    if len(found) > 1:
        raise SourceError(f"{where}: has both {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None


def read_metadata(place: Place, *, group_column: str | None = None) -> Metadata:
    """Read a metadata file, whose names are relative to its folder and stay in it.

    Raises SourceError for an unreadable file, a column that is missing or there twice, a name given twice, a name that
    leaves the folder or cannot be one, or a value of the wrong type.
    """
    return _read(place, ("file_name",), _inside, group_column)


def read_list(place: Place, *, group_column: str | None = None) -> Metadata:
    """Read a list of paths: as `read_metadata`, but a path may lead anywhere and have any name of PATH_COLUMNS."""
    return _read(place, PATH_COLUMNS, _anywhere, group_column)


def _read(
    place: Place, path_columns: tuple[str, ...], check: Callable[[str, str], str], group_column: str | None
) -> Metadata:
    asked = () if group_column is None else (group_column,)
    names, table = read_table(place, list(dict.fromkeys((*path_columns, *TEXT_COLUMNS, "model", "seed", *asked))))
    path_column = next((name for name in path_columns if name in names), None)
    if path_column is None:
        raise SourceError(f"{place.uri}: no column {' or '.join(map(repr, path_columns))}; columns: {_listed(names)}")
    if group_column is not None and group_column not in names:
        raise SourceError(f"{place.uri}: no column {group_column!r} to group by; columns: {_listed(names)}")
    read = (path_column, *TEXT_COLUMNS, "model", "seed", *asked)
    strings = {name: _blank_to_null(_strings(table.column(name), name, place)) for name in read}
    text = pc.coalesce(*(strings[name] for name in TEXT_COLUMNS))
    group = text if group_column is None else strings[group_column]
    file_names = unique_names((cell.as_py() for cell in strings[path_column]), check, place.uri)
    return Metadata(file_names, text, strings["model"], _seeds(strings["seed"], place), group)


def paths_alone(lines: list[str], where: str) -> Metadata:
    """A list of paths of which nothing else is known."""
    names = unique_names(lines, _anywhere, where)
    nothing, no_seed = (pa.chunked_array([pa.nulls(len(names), kind)]) for kind in (pa.string(), pa.int64()))
    return Metadata(names, nothing, nothing, no_seed, nothing)


def unique_names(cells: Iterable[str | None], check: Callable[[str, str], str], where: str) -> pa.Array:
    """File names as `check` makes them of cells. Raises SourceError for one that is missing, wrong or repeated."""
    named = (_name(cell, f"{where}: row {row}", check) for row, cell in enumerate(cells, start=1))
    names = pa.array(map(os.fsencode, named), pa.large_binary())
    counts = pc.value_counts(names)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        name, count = (repeated[0][field].as_py() for field in ("values", "counts"))
        raise SourceError(f"{where}: names {os.fsdecode(name)!r} {count} times; keep one row")
    return names


def _name(name: str | None, where: str, check: Callable[[str, str], str]) -> str:
    if name is None or not name.strip("/"):
        raise SourceError(f"{where} names no file")
    if "\0" in name:
        raise SourceError(f"{where}: {name!r} holds a NUL character, which no file name can")
    return check(name, where)


def _inside(name: str, where: str) -> str:
    relative = PurePosixPath(name)
    if not relative.parts:
        raise SourceError(f"{where} names no file")
    if relative.is_absolute() or ".." in relative.parts:
        raise SourceError(f"{where}: file_name {name!r} leaves the folder; use paths relative to the folder")
    return str(relative)


def _anywhere(name: str, where: str) -> str:
    del where
    return name


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _seeds(column: pa.ChunkedArray, place: Place) -> pa.ChunkedArray:
    column = pc.replace_substring_regex(column, r"^(-?[0-9]+)\.0+$", r"\1")  # as pandas writes whole numbers
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        row, value = next((row, cell.as_py()) for row, cell in enumerate(column, start=1) if not _is_int64(cell))
        raise SourceError(
            f"{place.uri}: row {row}, column 'seed': {value!r:.80} is not a whole number of at most 64 bits"
        ) from error


def _is_int64(cell: pa.Scalar) -> bool:
    try:
        cell.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _strings(column: pa.ChunkedArray, name: str, place: Place) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowException as error:
        raise SourceError(f"{place.uri}: column {name!r} is {column.type}, not text: {error}") from error


def _blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, pa.string()), column)
