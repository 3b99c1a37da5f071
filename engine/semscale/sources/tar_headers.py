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


def headers(file: BinaryIO) -> Iterator[tarfile.TarInfo | Gap]:
    """Every member of a tar in its order, and every gap between them that is not zeros.

    One pass, a constant amount of memory. What the file raises while it is read is passed on, after the gap before it.
    """
    archive = tarfile.TarFile(fileobj=io.BytesIO(bytes(BLOCK)), encoding="utf-8", errors="surrogateescape")
    archive.fileobj = file  # only now, since the constructor would search all of it for a first header
    offset, gap = 0, None
    try:
        while True:
            file.seek(offset)
            try:
                header = _Header.fromtarfile(archive)
                _check(header, archive.offset)
            except tarfile.EmptyHeaderError:
                break
            except tarfile.EOFHeaderError:  # zeros: the end, or the joint of two tars
                offset += BLOCK
            except tarfile.TruncatedHeaderError:
                gap = Gap(offset if gap is None else gap.start, file.tell())
                break
            except RecursionError:  # a made-up chain of long names: what was followed once is not followed again
                offset, start = file.tell(), offset
                gap = Gap(start if gap is None else gap.start, offset)
            except HEADER_ERRORS:
                gap = Gap(offset if gap is None else gap.start, offset + BLOCK)
                offset += BLOCK
            else:
                if gap is not None:
                    yield gap
                gap = None
                yield header
                offset = archive.offset
    except STREAM_ERRORS:
        if gap is not None:
            yield gap
        raise
    if gap is not None:
        yield gap


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
