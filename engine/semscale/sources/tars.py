"""A WebDataset: images in a tar, with what a `.txt` and a `.json` of the same name say of them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from semscale.errors import InputError, SourceError
from semscale.sources import tar_listing as listing
from semscale.sources.members import (
    MAX_FILE_BYTES,
    RETRY,
    is_damage,
    member_uri,
    open_listed,
    text_uri,
    unique,
    unreadable,
)
from semscale.sources.places import Place, digest
from semscale.sources.sidecars import MAX_SIDECAR_BYTES, Sidecar, bad, told_by
from semscale.sources.tar_headers import STREAM_ERRORS, decompressed
from semscale.sources.tar_listing import Beside, Members, TarListing
from semscale.sources.trees import File, Told

PROBLEMS = {
    listing.LINK: ("link", "a link to another file; store the image itself (tar -h --hard-dereference)"),
    listing.SPARSE: ("unsupported", "stored with holes, as a sparse file; make the tar without --sparse"),
    listing.UNSAFE: ("unsafe-name", "the name is absolute or leads out of the archive by '..'; rename it"),
    listing.DUPLICATE: ("duplicate-key", "an earlier member has the same name; rename one"),
    listing.GAP: ("broken-archive", "{size} bytes that belong to no member were skipped; copy or make the tar again"),
    listing.CUT: ("broken-archive", "the tar has no end marker and may have been cut here; copy or make it again"),
    listing.SPECIAL: ("unsupported", "a pipe or a device, no file; store the image itself"),
    listing.BROKEN: ("broken-archive", "the compressed stream breaks and all after it is lost; copy or make it again"),
}


class TarTree:
    """The images of a tar: plain, or packed by gzip, bzip2 or xz.

    An image is described by the `.txt` and `.json` that share its name without the suffix, or else its WebDataset
    sample key, its name up to the first dot of the last part; they may lie anywhere. Damage becomes entries of its own,
    also a missing end, and the listing goes on behind it.

    The listing is one pass over the tar, and holds about 50 bytes and the name of each image and sidecar; matching them
    takes some 300 bytes an image for a moment. The sidecars of a compressed tar are kept in a temporary file, so that
    its images, in their order, are read by unpacking it once.

    Raises SourceError when the file cannot be read, or is no tar.
    """

    def __init__(self, place: Place, *, group_column: str | None = None) -> None:
        self._place, self._group_column = place, group_column
        self.uri = text_uri(place)
        self._stamp = place.stamp()
        self._kept: Path | None = None  # what holds the sidecars of a compressed tar
        found = self._listed()
        self._images, self._parts = found.images, (found.images, found.texts, found.words)
        self._names, repeats = unique(found.images.names.column)
        self._states = np.array(found.states, np.uint8)
        self._states[repeats] = listing.DUPLICATE
        beside = [Beside(part, found.images) for part in self._parts[1:]]
        self._rows = [part.rows for part in beside]
        self.described = any(rows.null_count < len(rows) for rows in self._rows)
        self.n_ignored = found.n_ignored + sum(part.n_unused for part in beside)

    def _listed(self) -> TarListing:
        try:
            with contextlib.ExitStack() as closing:
                file = closing.enter_context(contextlib.closing(self._place.open()))
                stream = closing.enter_context(contextlib.closing(decompressed(file, self.uri)))
                found = TarListing(kept=None if stream is file else closing.enter_context(self._temporary()))
                found.scan(stream, self.uri)
                return found
        except OSError as error:
            raise SourceError(f"{self.uri}: cannot be read: {error.strerror or error}") from error

    def _temporary(self) -> BinaryIO:
        """A file that goes with the tree; it is not held open, for a folder may hold thousands of tars."""
        descriptor, path = tempfile.mkstemp(prefix="semscale-")
        self._kept = Path(path)
        weakref.finalize(self, _remove, self._kept, os.getpid())
        return os.fdopen(descriptor, "wb")

    def __len__(self) -> int:
        return len(self._names)

    def names(self, start: int, stop: int) -> list[bytes]:
        """Names of members as they are stored; `#2` after one that was there before; and what damage is called."""
        names: list[bytes] = self._names.slice(start, max(stop - start, 0)).to_pylist()
        return names

    def uri_of(self, index: int) -> str:
        """`tar#member`."""
        return member_uri(self.uri, self._names[index].as_py())

    def stamp(self, index: int) -> str:
        """Of the whole tar, and of the member's place in it."""
        return digest(self._stamp, self._images.offsets[index])

    def read(self, indices: Iterable[int]) -> Iterator[File]:
        """Bytes and description of each image; the tar is opened once, and again after it could not be read."""
        with contextlib.closing(_Reader(self._place, self._stamp, self.uri, kept=self._kept)) as reader:
            for index in indices:
                data, told = self._read(index, reader)
                again = isinstance(data, InputError) and data.code in RETRY
                stamp = "" if again else digest(self._stamp, self._images.offsets[index])
                yield File(data, stamp, told if self.described else None)

    def _read(self, index: int, reader: _Reader) -> tuple[bytes | InputError, Told]:
        rows = (index, *(rows[index].as_py() for rows in self._rows))
        parts = [number for number, row in enumerate(rows) if row is not None]
        found: dict[int, bytes | InputError] = {}
        for number in sorted(parts, key=lambda number: self._parts[number].offsets[rows[number]]):  # only forwards
            found[number] = self._attempt(number, rows[number], reader)
        sidecars = [self._sidecar(number, rows[number], found.get(number)) for number in (1, 2)]
        problems = [found[number] for number in parts if isinstance(found[number], InputError)]
        try:
            told = told_by(*sidecars, group_column=self._group_column)
        except InputError as error:
            return (problems or [error])[0], Told()
        return (problems or [found[0]])[0], told

    def _attempt(self, number: int, row: int, reader: _Reader) -> bytes | InputError:
        try:
            return self._image(row, reader) if number == 0 else self._beside(self._parts[number], row, reader)
        except InputError as error:
            return error

    def _image(self, row: int, reader: _Reader) -> bytes:
        reader.open()  # so that an archive that changed is not accused of the damage it had
        size = self._images.sizes[row]
        if self._states[row] in PROBLEMS:
            code, message = PROBLEMS[self._states[row]]
            raise InputError(code, message.format(size=size))
        if size > MAX_FILE_BYTES:
            said = f"the member claims {size} bytes, over {MAX_FILE_BYTES}; shrink it, or make the tar again"
            raise InputError("too-large", said)
        return reader.read(self._images.offsets[row], size)

    def _beside(self, part: Members, row: int, reader: _Reader) -> bytes:
        offset, size = part.offsets[row], part.sizes[row]
        if size == listing.NOT_STORED:
            raise bad(_shown(part, row), "is a link or stored with holes; store the file itself")
        if size > MAX_SIDECAR_BYTES:
            raise bad(_shown(part, row), f"is {size} bytes, over {MAX_SIDECAR_BYTES}; shorten it")
        return reader.read(offset, size, is_sidecar=True)

    def _sidecar(self, number: int, row: int | None, data: bytes | InputError | None) -> Sidecar | None:
        return Sidecar(_shown(self._parts[number], row), data) if row is not None and isinstance(data, bytes) else None


class _Reader:
    """A tar as it was listed, opened when first read, and the file where the sidecars of a compressed one are kept."""

    def __init__(self, place: Place, stamp: str, where: str, *, kept: Path | None) -> None:
        self._place, self._stamp, self._where, self._kept = place, stamp, where, kept
        self._closing = contextlib.ExitStack()
        self._streams: tuple[BinaryIO, BinaryIO] | None = None  # of images, and of sidecars

    def open(self) -> tuple[BinaryIO, BinaryIO]:
        """What images and what sidecars are read from. Raises InputError `changed` or `unreadable`."""
        if self._streams is None:
            file = self._closing.enter_context(contextlib.closing(open_listed(self._place, self._stamp)))
            try:
                images = self._closing.enter_context(contextlib.closing(decompressed(file, self._where)))
                kept = None if self._kept is None else self._closing.enter_context(self._kept.open("rb"))
            except OSError as error:
                self.close()
                raise unreadable(error) from error
            self._streams = (images, images if kept is None else kept)
        return self._streams

    def read(self, offset: int, size: int, *, is_sidecar: bool = False) -> bytes:
        """`size` bytes. Raises InputError also for `truncated` and `broken-archive`; it can go on after that."""
        stream = self.open()[is_sidecar]
        try:
            stream.seek(offset)
            data = stream.read(size)
        except STREAM_ERRORS as error:
            self.close()  # a decompressor that met damage is of no more use
            raise _reason(error) from error
        if len(data) < size:
            raise InputError("truncated", f"{len(data)} of {size} bytes are there; copy or make the tar again")
        return data

    def close(self) -> None:
        """Close what is open."""
        self._streams = None
        self._closing.close()


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # and not a fork of it, which ends earlier
        path.unlink(missing_ok=True)


def _reason(error: Exception) -> InputError:
    if isinstance(error, EOFError):
        return InputError("truncated", "the compressed stream ends within this member; copy or make the tar again")
    if isinstance(error, OSError) and not is_damage(error):
        return unreadable(error)
    return InputError("broken-archive", f"the compressed stream breaks here: {error}; copy or make the tar again")


def _shown(part: Members, row: int) -> str:
    name: bytes = part.names.column[row].as_py()
    return name.decode("utf-8", "backslashreplace")
