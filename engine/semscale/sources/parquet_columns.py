"""Which columns of a Parquet file hold images and what describes them, and what they say in one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from semscale.errors import InputError, SourceError, UsageError
from semscale.sources.sidecars import TEXT_NAMES, bad, is_seed
from semscale.sources.trees import Told

IMAGE = "image"  # the column taken where several could be


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that matter."""

    image: str
    texts: tuple[str, ...]  # in the order in which they count
    model: str | None
    seed: str | None
    group: str | None  # the column to group by; None where that is the text

    @property
    def names(self) -> list[str]:
        """Each once."""
        named = (self.image, *self.texts, self.model, self.seed, self.group)
        return [name for name in dict.fromkeys(named) if name is not None]


def image_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of bytes, or of structs with a field `bytes`."""
    return [field.name for field in schema if _holds_bytes(field.type)]


def choose_columns(schema: pa.Schema, where: str, *, group_by: str | None) -> Columns:
    """The columns to read from the file `where`.

    Raises SourceError when it is not clear which one holds the images, or one has a type that cannot be what its name
    says; UsageError when there is no column `group_by`.
    """
    if group_by is not None and group_by not in schema.names:
        raise UsageError(f"--group-by {group_by}: {where} has no such column; columns: {', '.join(schema.names)}")
    columns = Columns(
        image=_image_column(schema, where),
        texts=tuple(name for name in TEXT_NAMES if name in schema.names),
        model="model" if "model" in schema.names else None,
        seed="seed" if "seed" in schema.names else None,
        group=group_by,
    )
    for name in columns.names:
        if schema.names.count(name) > 1:
            raise SourceError(f"{where}: has {schema.names.count(name)} columns {name!r}; keep one")
    for name in columns.texts:
        _check(schema, name, where, _is_text, "text; write it as strings")
    for name in filter(None, (columns.model, columns.group)):
        _check(schema, name, where, _is_label, "text or whole numbers")
    if columns.seed is not None:
        _check(schema, columns.seed, where, _is_number, "whole numbers")
    return columns


def told_in(cells: Mapping[str, pa.Scalar], columns: Columns, row: int) -> Told:
    """What one row says; the group is the column to group by, or else the text.

    Raises InputError `bad-metadata` for a seed that is not a whole number of at most 64 bits, and text not in UTF-8.
    """
    texts = (_label(cells[name], f"row {row}, column {name!r}") for name in columns.texts)
    text = next((text for text in texts if text is not None), None)
    model, group = (
        None if name is None else _label(cells[name], f"row {row}, column {name!r}")
        for name in (columns.model, columns.group)
    )
    seed = None if columns.seed is None else _seed(cells[columns.seed], f"row {row}, column {columns.seed!r}")
    return Told(text, model, seed, text if columns.group is None else group)


def _label(cell: pa.Scalar, where: str) -> str | None:
    value = value_of(cell, where)
    return None if value is None or not str(value).strip() else str(value)


def _seed(cell: pa.Scalar, where: str) -> int | None:
    value = value_of(cell, where)
    if value is None:
        return None
    whole = int(value) if math.isfinite(value) else value
    if whole == value and is_seed(whole):
        return int(whole)
    raise bad(where, f"is {value!r:.80}, not a whole number of at most 64 bits; correct it")


def value_of(cell: pa.Scalar, where: str) -> Any:
    """The value of a cell. Raises InputError: `bad-metadata` for text that is not UTF-8, `broken-archive`."""
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        raise bad(where, f"is not UTF-8: {error}; write it again") from error
    except pa.ArrowException as error:  # a dictionary without the value that the row refers to
        raise InputError("broken-archive", f"{where} is damaged: {error}; copy or write the file again") from error


def _image_column(schema: pa.Schema, where: str) -> str:
    found = image_columns(schema)
    if not found:
        raise SourceError(f"{where}: no column of images, which are bytes; columns: {', '.join(schema.names)}")
    if len(found) > 1 and IMAGE not in found:
        raise SourceError(f"{where}: several columns of images: {', '.join(found)}; name the one to score {IMAGE!r}")
    return IMAGE if IMAGE in found else found[0]


def _check(schema: pa.Schema, name: str, where: str, fits: Callable[[pa.DataType], bool], what: str) -> None:
    kind = schema.field(name).type
    if not fits(_plain(kind)) and not pa.types.is_null(kind):
        raise SourceError(f"{where}: column {name!r} is {kind}, not {what}")


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _holds_bytes(kind: pa.DataType) -> bool:
    plain = _plain(kind)
    if pa.types.is_struct(plain):
        return plain.get_field_index("bytes") >= 0 and _holds_bytes(plain.field("bytes").type)
    return pa.types.is_binary(plain) or pa.types.is_large_binary(plain) or pa.types.is_binary_view(plain)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_label(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
