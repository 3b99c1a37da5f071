"""What Arrow's reader of CSV does not tell: the header alone, and a quote that is never closed."""

from __future__ import annotations

import csv
import io

from semscale.errors import SourceError
from semscale.sources.places import Place

PIECE = 1 << 20  # bytes looked at at a time


def csv_header(place: Place) -> list[str]:
    """Names of the columns. Raises UnicodeError where they are not UTF-8, and SourceError where there are none.

    Python's reader, for Arrow's streaming one leaves threads behind that may abort the process when it ends.
    """
    with io.TextIOWrapper(place.open(), encoding="utf-8-sig", newline="") as file:
        try:
            names = next(csv.reader(file), [])
        except csv.Error as error:
            raise SourceError(f"{place.uri}: cannot be read: {error}") from error
    if not names:
        raise SourceError(f"{place.uri}: cannot be read: it is empty; give it a line with the names of its columns")
    return names


def refuse_open_quote(place: Place) -> None:
    """Raise SourceError for a quote that is opened and never closed: the rest of the file would be one cell."""
    with place.open() as file:
        quotes = sum(piece.count(b'"') for piece in iter(lambda: file.read(PIECE), b""))
    if quotes % 2 == 0:  # each is closed, or doubled
        return
    row = 0
    with io.TextIOWrapper(place.open(), encoding="utf-8-sig", newline="") as file:
        try:
            for row, _ in enumerate(csv.reader(file, strict=True), start=1):  # noqa: B007  the header is row 0
                pass
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                said = f"{place.uri}: row {row} opens a quote that is never closed; close it, or double it"
                raise SourceError(said) from error
