"""Every row of a list of prompts, for a comparison by row: duplicates and empty rows keep their places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semscale.errors import UsageError
from semscale.producers.prompt_files import read_rows
from semscale.producers.prompts import COLUMNS

TABLES: Mapping[str, int] = {".csv": 2, ".tsv": 2, ".jsonl": 1}  # suffix -> the line of the first row


def read_prompts(path: Path) -> list[str]:
    """Read every row of a list: text of one prompt a line, or CSV, TSV or JSON Lines with a column of prompts.

    Empty rows keep their place, but at the end they do not count. Raises UsageError.
    """
    lines = _of_table(path) if path.suffix.lower() in TABLES else _of_text(path)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UsageError(f"{path}: has no prompts; give one a line")
    return lines


def _of_text(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error}); give one prompt a line, in UTF-8") from error
    return [line.rstrip("\r") for line in lines]


def _of_table(path: Path) -> list[str]:
    """The prompts of a table. Its reader passes over blank lines, which are rows here."""
    found: list[str] = []
    due = TABLES[path.suffix.lower()]
    for line, row in read_rows(path):
        found += [""] * (line - due)
        found.append(_prompt_of(row, path, line))
        due = line + 1 + sum(cell.count("\n") for cell in row.values() if isinstance(cell, str))
    return found


def _prompt_of(row: Mapping[str, Any], path: Path, line: int) -> str:
    columns = {name.strip().casefold(): name for name in row}
    column = next((columns[name] for name in COLUMNS["text"] if name in columns), None)
    if column is None or not isinstance(row[column], str | None):
        raise UsageError(f"{path}: line {line}: has no text in a column {' or '.join(map(repr, COLUMNS['text']))}")
    return row[column] or ""
