"""The images of a zip."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import InputError, SourceError
from semscale.sources.layout import is_image_name
from semscale.sources.members import (
    MAX_FILE_BYTES,
    RETRY,
    GrowingNames,
    is_unsafe,
    member_uri,
    open_listed,
    text_uri,
    unique,
    unreadable,
)
from semscale.sources.places import Place, digest
from semscale.sources.trees import File

PIECE = 1 << 20  # compressed bytes read at once
MAX_OFFSET = 1 << 43  # bytes; file systems refuse to seek much further
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, and how long the name and the extra field after it are
ENCRYPTED_FLAG = 1
# What zipfile lets out of a directory that is damaged or made up.
DIRECTORY_ERRORS = (zipfile.BadZipFile, NotImplementedError, ValueError, ArithmeticError, LookupError, struct.error)
SOUND, LINK, UNSAFE, ENCRYPTED, PACKED, DUPLICATE = range(6)  # what the directory says of a member
PROBLEMS = {
    LINK: ("link", "a link to another file; store the image itself (zip without --symlinks)"),
    UNSAFE: ("unsafe-name", "the name is absolute or leads out of the archive by '..'; rename it"),
    ENCRYPTED: ("unreadable", "the member is encrypted; make the zip again without a password"),
    PACKED: ("unsupported", "packed by another method than deflate; make the zip again with deflate"),
    DUPLICATE: ("duplicate-key", "an earlier member has the same name; rename one"),
}


class ZipTree:
    """The images of a zip, in the order of its directory.

    Listing reads the directory alone, but zipfile holds all of it for that time: about 600 bytes a member. What stays
    is about 40 bytes and the name of each. Only stored and deflated members are read, and never beyond the length that
    the directory states: the decoders of other methods cannot be stopped before they fill the memory.

    Raises SourceError when the file cannot be read, or is no zip.
    """

    described = False

    def __init__(self, place: Place) -> None:
        self.place = place
        self.uri = text_uri(place)
        self._stamp = place.stamp()
        self._directory = _Directory()
        try:
            with contextlib.closing(place.open()) as file, zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    self._directory.append(info)
        except DIRECTORY_ERRORS as error:
            raise SourceError(f"{self.uri}: not a zip, or its end is lost: {error}; copy or make it again") from error
        except OSError as error:
            raise SourceError(f"{self.uri}: cannot be read: {error.strerror or error}") from error
        self._images = np.array(self._directory.images, np.int64)
        self._names, repeats = unique(self._directory.names.column.take(pa.array(self._images)))
        self._states = np.array(self._directory.states, np.uint8)[self._images]
        self._states[repeats] = DUPLICATE
        self.n_ignored = len(self._directory.states) - len(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def names(self, start: int, stop: int) -> list[bytes]:
        """Names of members in UTF-8; `#2` after one that was there before."""
        names: list[bytes] = self._names.slice(start, max(stop - start, 0)).to_pylist()
        return names

    def uri_of(self, index: int) -> str:
        """`zip#member`."""
        return member_uri(self.uri, self._names[index].as_py())

    def stamp(self, index: int) -> str:
        """Of the whole zip, and of the member's place in it."""
        return digest(self._stamp, self._directory.offsets[self._images[index]])

    def read(self, indices: Iterable[int]) -> Iterator[File]:
        """The bytes of each image; the zip is opened once, and again after it could not be read."""
        with contextlib.closing(_Reader(self.place, self._stamp)) as reader:
            for index in indices:
                yield self._read(index, reader)

    def _read(self, index: int, reader: _Reader) -> File:
        stamp = self.stamp(index)
        try:
            reader.open()  # so that an archive that changed is not accused of the damage it had
            if self._states[index] in PROBLEMS:
                return File(InputError(*PROBLEMS[self._states[index]]), stamp)
            return File(reader.read(self._directory, int(self._images[index])), stamp)
        except InputError as error:
            return File(error, "" if error.code in RETRY else stamp)

    def has_member(self, name: bytes) -> bool:
        """Whether there is a member of this name, image or not."""
        return self._row_of(name) >= 0

    def open_member(self, name: bytes) -> BinaryIO:
        """A member, image or not, unpacked into memory. Raises SourceError when it is not there or cannot be read."""
        row = self._row_of(name)
        shown = member_uri(self.uri, name)
        if row < 0:
            raise SourceError(f"{shown}: no such member; add it to the zip")
        code, message = PROBLEMS.get(self._directory.states[row], ("", ""))
        if code:
            raise SourceError(f"{shown}: {message}")
        try:
            with contextlib.closing(_Reader(self.place, self._stamp)) as reader:
                return io.BytesIO(reader.read(self._directory, row))
        except InputError as error:
            raise SourceError(f"{shown}: {error.message}") from error

    def member(self, name: str) -> ZipMember | None:
        """A member as a place that can be opened; None where there is none of this name."""
        return ZipMember(self, name) if self.has_member(name.encode()) else None

    def _row_of(self, name: bytes) -> int:
        names = self._directory.names.column
        row: int = pc.index(names, pa.scalar(name, names.type)).as_py()
        return row


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A Place within a zip."""

    tree: ZipTree
    name: str

    @property
    def uri(self) -> str:
        """`zip#member`."""
        return member_uri(self.tree.uri, self.name.encode())

    def open(self) -> BinaryIO:
        """The unpacked bytes. Raises SourceError when they are damaged."""
        return self.tree.open_member(self.name.encode())

    def stamp(self) -> str:
        """Changes when the zip does."""
        return self.tree.place.stamp()


class _Directory:
    """What is kept of the directory: the regular members and links, and which of them have the names of images."""

    def __init__(self) -> None:
        self.names = GrowingNames()
        self.offsets, self.packed_sizes, self.sizes = array("q"), array("q"), array("q")
        self.sums = array("I")  # CRC-32 of the unpacked bytes
        self.methods, self.states = array("B"), array("B")
        self.images = array("q")

    def append(self, info: zipfile.ZipInfo) -> None:
        """Add a member; folders are left out."""
        if info.is_dir():
            return
        if is_image_name(info.filename):
            self.images.append(len(self.states))
        name = info.filename.encode()
        self.states.append(_state(info, name))
        self.methods.append(min(info.compress_type, 255))
        self.names.append(name)
        self.offsets.append(info.header_offset)
        self.packed_sizes.append(info.compress_size)
        self.sizes.append(info.file_size)
        self.sums.append(info.CRC)


def _state(info: zipfile.ZipInfo, name: bytes) -> int:
    if is_unsafe(name):
        return UNSAFE
    if stat.S_ISLNK(info.external_attr >> 16):
        return LINK
    if info.flag_bits & ENCRYPTED_FLAG:
        return ENCRYPTED
    return SOUND if info.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} else PACKED


class _Reader:
    """A zip as it was listed, opened when first read."""

    def __init__(self, place: Place, stamp: str) -> None:
        self._place, self._stamp = place, stamp
        self._file: BinaryIO | None = None

    def open(self) -> BinaryIO:
        """The file. Raises InputError `changed` or `unreadable`."""
        if self._file is None:
            self._file = open_listed(self._place, self._stamp)
        return self._file

    def read(self, directory: _Directory, row: int) -> bytes:
        """A member's unpacked bytes. Raises InputError, also `too-large` and `broken-archive`."""
        size = directory.sizes[row]
        if size > MAX_FILE_BYTES:
            raise InputError("too-large", f"the member is {size} bytes, over {MAX_FILE_BYTES}; shrink it")
        file = self.open()
        try:
            signature, name, extra = LOCAL_HEADER.unpack(_exactly(file, directory.offsets[row], LOCAL_HEADER.size))
            if signature != zipfile.stringFileHeader:
                raise _broken("there is no member where the directory says")
            file.seek(name + extra, io.SEEK_CUR)
            unpack = _inflated if directory.methods[row] else _stored
            data = unpack(file, directory.packed_sizes[row], size)
        except (OSError, ValueError) as error:  # ValueError: no file has such a place
            self.close()
            raise unreadable(error) if isinstance(error, OSError) else _broken(str(error)) from error
        if len(data) != size or zlib.crc32(data) != directory.sums[row]:
            raise _broken("its bytes are not those that the directory describes")
        return data

    def close(self) -> None:
        """Close the file where it is open."""
        if self._file is not None:
            self._file.close()
        self._file = None


def _exactly(file: BinaryIO, offset: int, size: int) -> bytes:
    if offset > MAX_OFFSET:
        raise _broken("the directory puts it where no file reaches")
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise _broken("the archive ends before the member")
    return data


def _stored(file: BinaryIO, packed_size: int, size: int) -> bytes:
    return file.read(min(packed_size, size))


def _inflated(file: BinaryIO, packed_size: int, size: int) -> bytes:
    """At most `size + 1` bytes, whatever the stream holds."""
    inflate, pieces, left = zlib.decompressobj(-zlib.MAX_WBITS), [], size + 1
    while packed_size > 0 and left > 0 and not inflate.eof:
        packed = file.read(min(packed_size, PIECE))
        if not packed:
            break
        packed_size -= len(packed)
        pieces.append(_inflate(inflate, packed, left))
        left -= len(pieces[-1])
    return b"".join(pieces)


def _inflate(inflate: zlib._Decompress, packed: bytes, most: int) -> bytes:
    try:
        return inflate.decompress(packed, most)
    except zlib.error as error:
        raise _broken(str(error)) from error


def _broken(problem: str) -> InputError:
    return InputError("broken-archive", f"the member is damaged: {problem}; copy or make the zip again")
