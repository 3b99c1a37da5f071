"""Reference captions: what people have said of an image, or of what a text stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from semscale.errors import SourceError, UsageError
from semscale.model import Array
from semscale.sources.places import LocalFile
from semscale.sources.tables import READERS, read_table, suffix_of

OF_IMAGES, OF_TEXTS = ("key", "file_name"), ("text", "prompt")  # columns that say what a caption is of
CAPTION = ("reference", "caption")


@dataclass(frozen=True, slots=True)
class Captions:
    """(R,) reference captions, in the order of their table."""

    path: Path
    of_texts: bool  # whether they belong to whatever has a text, else to single images by key
    owner: list[str]
    caption: list[str]

    def owners(self, keys: list[str], texts: list[str | None]) -> tuple[Array, Array]:
        """(N,) keys of images and (N,) their texts -> (P,) images and (P,) captions, every pair of them."""
        of: dict[str, list[int]] = {}
        for number, name in enumerate(self.owner):
            of.setdefault(name, []).append(number)
        pairs = [
            (row, number)
            for row, name in enumerate(texts if self.of_texts else keys)
            if name is not None
            for number in of.get(name, ())
        ]
        both = np.array(pairs, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]


def read_captions(path: str | Path) -> Captions:
    """Read a table (CSV, JSON Lines, Parquet) of one reference caption a row: a column `reference` or `caption`, and a
    column `key` or `file_name` for the image it is of, or `text` or `prompt` for all images of that text.

    Raises UsageError for a missing or empty table or column, SourceError for one that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such table; give a file with the columns key (or text) and reference")
    if suffix_of(path.name) not in READERS:
        raise UsageError(f"{path}: not a table; give one of {', '.join(READERS)}")
    names, table = read_table(LocalFile(path), [*OF_IMAGES, *OF_TEXTS, *CAPTION])
    owner = _only(path, names, (*OF_IMAGES, *OF_TEXTS))
    caption = _only(path, names, CAPTION)
    if not len(table):
        raise UsageError(f"{path}: no rows; give one for each caption")
    return Captions(path, owner in OF_TEXTS, _texts(table, owner, path), _texts(table, caption, path))


def _only(path: Path, names: list[str], known: tuple[str, ...]) -> str:
    """The one of some columns that is there."""
    found = [name for name in known if name in names]
    if len(found) != 1:
        there = f"both {' and '.join(found)}" if found else f"none of {', '.join(known)}"
        raise UsageError(f"{path}: has {there} among its columns ({', '.join(names) or 'none'}); give one of them")
    return found[0]


def _texts(table: pa.Table, name: str, path: Path) -> list[str]:
    values = table.column(name).to_pylist()
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str) or not value.strip():
            raise SourceError(f"{path}: row {row} has no {name}; fill it in, or leave the row out")
    return values
