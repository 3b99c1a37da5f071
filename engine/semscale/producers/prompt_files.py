"""Files of prompts as rows of cells, each with the line it begins on: text, CSV, TSV and JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from semscale.errors import UsageError

Row = tuple[int, dict[str, Any]]  # line, and cells by the name of their column
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair, which JSON can write and UTF-8 cannot


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by its suffix; that of a text has the one column `prompt`. Lines end in LF, CR LF or CR.

    Raises UsageError, which names the line, for a file that cannot be read, is not UTF-8 or not what its suffix says.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{path}: not a file of prompts; give one of {', '.join(READERS)}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # lines end in a mere LF from here on
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        raise UsageError(f"{path}: is not UTF-8: {error}; save it as UTF-8") from error
    yield from read(text, str(path))


def _read_text(text: str, where: str) -> Iterator[Row]:
    del where
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        yield number, {"prompt": line}


def _read_csv(text: str, where: str) -> Iterator[Row]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    began = 1
    try:
        for cells in rows:
            if cells and header is None:
                header = _header(cells, where)
            elif cells and header is not None:
                yield began, _row(header, cells, f"{where}: line {began}", "put quotes around a cell with a comma")
            began = rows.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{where}: line {began}: {error}; mend the quotes of this row") from error
    if header is None:
        raise UsageError(f"{where}: is empty; give it a line with the names of its columns")


def _read_tsv(text: str, where: str) -> Iterator[Row]:
    """A row a line. Quotes are text, as in PartiPrompts, unless they are around a whole cell, as pandas writes them."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line]
    if not lines:
        raise UsageError(f"{where}: is empty; give it a line with the names of its columns")
    header = _header([_unquoted(cell) for cell in lines[0][1].split("\t")], where)
    for number, line in lines[1:]:
        cells = [_unquoted(cell) for cell in line.split("\t")]
        yield number, _row(header, cells, f"{where}: line {number}", "a tab ends a cell")


def _read_jsonl(text: str, where: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}: line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UsageError(f'{where}: line {number} is not a JSON object; write {{"prompt": "..."}}')
        if _HALF.search(json.dumps(row, ensure_ascii=False)):
            raise UsageError(f"{where}: line {number} is not valid Unicode: half of a surrogate pair")
        yield number, row


def _header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UsageError(f"{where}: has {names.count(repeated)} columns {repeated!r}; keep one")
    return names


def _row(header: list[str], cells: list[str], where: str, hint: str) -> dict[str, Any]:
    if len(cells) > len(header):
        raise UsageError(f"{where} has {len(cells)} cells, and the header {len(header)}; {hint}")
    return dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell


READERS: dict[str, Callable[[str, str], Iterator[Row]]] = {
    ".txt": _read_text,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
}
