"""A contact sheet: the images that a search found, on one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semscale.files import replacing
from semscale.report.format import clean, number, shorten, tail
from semscale.report.html import environment, frame
from semscale.report.images import Member
from semscale.report.thumbs import Thumb, thumbnail


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a sheet."""

    key: str
    uri: str
    sha256: str | None  # of the file, when it was embedded
    group: str = ""
    similarity: float | None = None  # to what was looked for; None for that itself


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a sheet says about its images."""

    title: str  # what was looked for
    facts: tuple[str, ...]  # how and where
    note: str = ""  # a warning that comes with the model
    subject: Entry | None = None  # the picture that was looked for, where it is one


@dataclass(frozen=True, slots=True)
class _Cell:
    thumb: Thumb
    label: str
    similarity: str  # "" for what was looked for
    key: str
    short_key: str
    group: str
    alt: str


def write_sheet(path: Path, sheet: Sheet, entries: Sequence[Entry]) -> Path:
    """Write the page, pictures of files on this machine included; return its path. Raises StoreError.

    A picture that is elsewhere, gone, or changed since it was embedded leaves a frame that says so.
    """
    subject = None if sheet.subject is None else _cell(sheet.subject, "query", "Query image")
    page = (
        environment()
        .get_template("sheet.html")
        .render(
            style=frame()["style"],  # without tables there is no need of the script
            sheet=sheet,
            subject=subject,
            cells=[_cell(entry, str(rank), f"Result {rank}") for rank, entry in enumerate(entries, start=1)],
        )
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _cell(entry: Entry, label: str, role: str) -> _Cell:
    group = f", group {shorten(entry.group, 80)}" if entry.group else ""
    return _Cell(
        thumb=thumbnail(Member(entry.key, entry.uri, entry.sha256, None)),
        label=label,
        similarity="" if entry.similarity is None else number(entry.similarity, 4),
        key=clean(entry.key),
        short_key=tail(entry.key, 44),
        group="" if entry.group in entry.key else shorten(entry.group, 80),  # the key says it already
        alt=f"{role}: {tail(entry.key, 60)}{group}",
    )
