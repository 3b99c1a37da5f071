"""Where images come from: `open_source(uri)` gives a Source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semscale.errors import SourceError, UsageError
from semscale.model import Source
from semscale.sources import kinds
from semscale.sources.several import SeveralSources

__all__ = ["Location", "ended", "is_read_once", "name_of", "open_source"]

Location = str | Path


def open_source(
    where: Location | Sequence[Location], *, group_by: str | None = None, leave_out: Path | None = None
) -> Source:
    """Open images wherever they are, one place or several in a row.

    A place is a folder of images; a folder of archives; a list of paths (.csv, .jsonl, .parquet, .txt, or "-" for
    standard input); a WebDataset tar, compressed or not; a zip; a Parquet file with a column of images; or any of these
    behind a protocol of fsspec such as `s3://`. `group_by` is None (the text of an image where there is one, else its
    parent folder), "parent", or a column. Below folders `leave_out`, where results go, is not looked into.

    Raises SourceError when a place is missing, is none of these or holds no image, UsageError for a wrong `group_by`.
    """
    places = _places(where)
    if not places:
        raise UsageError("no source given; name a folder, a list or an archive")
    if "" in places:
        raise UsageError("an empty name of a source; name a folder, a list or an archive")
    opened = [_opened(place, group_by, leave_out) for place in places]
    for place, source in zip(places, opened, strict=True):
        if not len(source):
            raise SourceError(f"{place}: {_nothing(place, source.n_ignored)}")
    if len(opened) == 1:
        return opened[0]
    uris = [source.uri for source in opened]
    if len(set(uris)) < len(uris):
        raise UsageError(f"{next(uri for uri in uris if uris.count(uri) > 1)}: given twice; name each source once")
    uri = ", ".join(uris)
    names = [kinds.name_of(place) for place in places]
    return SeveralSources(uri, list(zip(names, opened, strict=True)), group_by=group_by)


def ended(where: Location | Sequence[Location]) -> bool:
    """Whether the producers of all these folders have left their end marker, the file `_SUCCESS`."""
    return all(kinds.has_end_marker(place) for place in _places(where))


def is_read_once(where: Location | Sequence[Location]) -> bool:
    """Whether a place is standard input, which cannot be opened again."""
    return kinds.STANDARD_INPUT in _places(where)


def name_of(where: Location | Sequence[Location]) -> str:
    """A short name: the last part of the path, and how many more places there are."""
    first, *more = _places(where)
    return kinds.name_of(first)[:150] + (f"-and-{len(more)}-more" if more else "")


def _places(where: Location | Sequence[Location]) -> list[str]:
    return [str(where)] if isinstance(where, str | Path) else [str(place) for place in where]


def _nothing(place: str, n_ignored: int) -> str:
    if kinds.kind_of(place) in kinds.LISTS and not n_ignored:
        return "no images: it names none"
    return f"no images among {n_ignored} files; known suffixes end in .jpg, .png, .webp ..."


def _opened(place: str, group_by: str | None, leave_out: Path | None) -> Source:
    kind = kinds.kind_of(place)
    if kind is kinds.Kind.FOLDER:
        return kinds.open_folder(place, group_by=group_by, leave_out=leave_out)
    return kinds.open_file(place, kind, group_by=group_by)
