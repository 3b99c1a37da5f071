"""A table of pairs of images: the source of each edit, what became of it, and perhaps a text of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from semscale.errors import SourceError, UsageError
from semscale.sources.places import LocalFile
from semscale.sources.tables import READERS, read_table, suffix_of

KEYS, TEXTS = ("source", "edited"), ("source_text", "edited_text")
NAMED = 3  # missing images that an error lists


@dataclass(frozen=True, slots=True)
class PairTable:
    """(P,) pairs, in the order of the table."""

    path: Path
    source: list[str]  # keys of images
    edited: list[str]
    texts: tuple[list[str], list[str]] | None  # of source and edited; None where the table has none

    def __len__(self) -> int:
        return len(self.source)

    @property
    def keys(self) -> list[str]:
        """Every image that is in a pair, once."""
        return list(dict.fromkeys([*self.source, *self.edited]))


def read_pairs(path: str | Path) -> PairTable:
    """Read a table (CSV, JSON Lines, Parquet) with the columns source and edited, which hold keys of images: paths
    relative to the source. `source_text` and `edited_text` are optional and come together.

    Raises UsageError for a missing or empty table or column, SourceError for one that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such table; give a file with the columns {' and '.join(KEYS)}")
    if suffix_of(path.name) not in READERS:
        raise UsageError(f"{path}: not a table; give one of {', '.join(READERS)}")
    names, table = read_table(LocalFile(path), [*KEYS, *TEXTS])
    for name in KEYS:
        if name not in names:
            raise UsageError(f"{path}: no column {name!r}, only {', '.join(names) or 'none'}; name the keys of images")
    if not len(table):
        raise UsageError(f"{path}: no rows; give one for each pair")
    given = [name for name in TEXTS if name in names]
    if len(given) == 1:
        raise UsageError(f"{path}: has {given[0]!r} alone; give both of {' and '.join(TEXTS)}, or neither")
    source, edited = (_whole(table, name, path) for name in KEYS)
    texts = (_whole(table, TEXTS[0], path), _whole(table, TEXTS[1], path)) if given else None
    _refuse_repeats(path, list(zip(source, edited, *(texts or ()), strict=True)))
    return PairTable(path, source, edited, texts)


def _refuse_repeats(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    """Raise UsageError where a pair is there twice, which would count it twice."""
    first: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, start=1):
        if first.setdefault(row, number) != number:
            raise UsageError(f"{path}: row {number} is row {first[row]} again; keep one")


def refuse_missing(pairs: PairTable, missing: Sequence[str]) -> None:
    """Raise UsageError where images of a pair are not in the source."""
    if missing:
        named = ", ".join(repr(key) for key in missing[:NAMED])
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise UsageError(f"{pairs.path}: {named}{more}: no such image; keys are paths relative to the source")


def _whole(table: pa.Table, name: str, path: Path) -> list[str]:
    values = table.column(name).to_pylist()
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str) or (name in KEYS and not value):
            raise SourceError(f"{path}: row {row} has no {name}; fill it in, or leave the row out")
    return values
