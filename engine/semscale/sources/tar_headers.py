"""The headers of a tar, compressed or not, and the bytes between them that are none."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from semscale.errors import SourceError

BLOCK = tarfile.BLOCKSIZE  # bytes
MAX_MEMBER = 1 << 40  # bytes; a header that claims more is damaged
MAX_EXTENSION = 1 << 20  # bytes of a header for a long name or other attributes, which tarfile reads at once
EXTENSIONS = frozenset({tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X"})
ZSTD = b"\x28\xb5\x2f\xfd"
STREAM_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)  # from a decompressor, or from the file below it
# What tarfile lets out of its parsing of numbers and lists in a header that someone made up.
HEADER_ERRORS = (tarfile.HeaderError, ValueError, ArithmeticError, LookupError)


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes where a header should be and none is, up to the next one that is."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of a tar without the blocks of zeros that end one: there may have been more."""

    at: int


def decompressed(file: BinaryIO, where: str) -> BinaryIO:
    """The file itself, or a seekable view of what gzip, bzip2 or xz packed, told by its first bytes.

    Raises SourceError for Zstandard, naming `where`.
    """
    file.seek(0)
    head = file.read(10)
    file.seek(0)
    if head.startswith(b"\x1f\x8b\x08"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    if head.startswith(b"BZh") and head[4:] == b"1AY&SY":  # a plain tar may begin with a member named BZh
        return cast(BinaryIO, bz2.BZ2File(file))
    if head.startswith(b"\xfd7zXZ\x00"):
        return cast(BinaryIO, lzma.LZMAFile(file))
    if head.startswith(ZSTD):
        raise SourceError(f"{where}: packed with Zstandard, which is not read here; unpack it with 'zstd -d'")
    return file


def headers(file: BinaryIO) -> Iterator[tarfile.TarInfo | Gap | Cut]:
    """Every member of a tar in its order, every gap between them that is not zeros, and a Cut where the end is missing.

    One pass, a constant amount of memory; where the last member claims to reach beyond the end, its data are searched
    for members that it swallowed. What the file raises while it is read is passed on, after the gap before it.
    """
    scan = _Scan(file)
    try:
        while (found := scan.next()) is not None:
            yield from found
    except STREAM_ERRORS:
        if scan.gap is not None:
            yield scan.gap
        raise
    yield from scan.end()


class _Scan:
    """A place in a tar, and what was met since the last member."""

    def __init__(self, file: BinaryIO) -> None:
        self.gap: Gap | None = None
        self._file, self._offset = file, 0
        self._archive = tarfile.TarFile(fileobj=io.BytesIO(bytes(BLOCK)), encoding="utf-8", errors="surrogateescape")
        self._archive.fileobj = file  # only now, since the constructor would search all of it for a first header
        self._last: tarfile.TarInfo | None = None
        self._ended = False  # by zeros, after the last member
        self._searching = False  # among the data of a member that is longer than the tar

    def next(self) -> list[tarfile.TarInfo | Gap] | None:
        """What comes next: a member, with the gap before it; nothing yet; or None at the end of the file."""
        self._file.seek(self._offset)
        try:
            header = _Header.fromtarfile(self._archive)
            _check(header, self._archive.offset)
        except tarfile.EmptyHeaderError:
            return self._at_the_end()
        except tarfile.EOFHeaderError:  # zeros: the end, or the joint of two tars
            self._offset += BLOCK
            self._ended = not self._searching
        except tarfile.TruncatedHeaderError:
            self._widen(self._file.tell())
            return None
        except RecursionError:  # a made-up chain of long names: what was followed once is not followed again
            self._widen(self._file.tell())
        except HEADER_ERRORS:
            self._widen(self._offset + BLOCK)
        else:
            found = [header] if self.gap is None else [self.gap, header]
            self.gap, self._last, self._ended, self._searching = None, header, False, False
            self._offset = self._archive.offset
            return found
        return []

    def end(self) -> Iterator[Gap | Cut]:
        """What is left when the file is at its end."""
        if self.gap is not None and not self._searching:
            yield self.gap
        elif not self._ended and not self._searching and self._last is not None:
            yield Cut(self._offset)

    def _widen(self, stop: int) -> None:
        self.gap = Gap(self._offset if self.gap is None else self.gap.start, stop)
        self._offset = stop

    def _at_the_end(self) -> list[tarfile.TarInfo | Gap] | None:
        """Go back to the data of a last member that is cut, once: it may only claim to be so long."""
        last, self._last = self._last, None
        if last is None or self._ended or not last.isreg() or self._offset <= _size(self._file, self._offset):
            self._last = last
            return None
        self._offset, self._searching = last.offset_data, True
        return []


def _size(file: BinaryIO, at_least: int) -> int:
    """Where a file ends that was read up to its end; decompressors only seek forwards, and stop there."""
    try:
        return file.seek(0, io.SEEK_END)
    except (ValueError, OSError):
        return file.seek(at_least)


class _Header(tarfile.TarInfo):
    """A header that refuses what would make tarfile read without end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """One block as a header, see the base class."""
        if 0 < len(buf) < BLOCK and not any(buf):
            raise tarfile.EmptyHeaderError("the zeros at the end are cut")
        header = super().frombuf(buf, encoding, errors)
        if header.type in EXTENSIONS and not 0 <= header.size <= MAX_EXTENSION:
            raise tarfile.InvalidHeaderError("a header of impossible length")
        return header


def _check(header: tarfile.TarInfo, after: int) -> None:
    if not 0 <= header.size <= MAX_MEMBER or not header.offset < after <= header.offset + 2 * MAX_MEMBER:
        raise tarfile.InvalidHeaderError("a member of impossible size")
