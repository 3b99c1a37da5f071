"""Images named by a list: a table of paths, a text file of paths, or paths on standard input."""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import SourceError
from semscale.prefetch import ordered_map
from semscale.sources.bucket import AHEAD, READERS, read_remote, stamp_remote
from semscale.sources.folder import read_file, stamp_of
from semscale.sources.listing import Names
from semscale.sources.metadata import Metadata, paths_alone
from semscale.sources.names import uri_of
from semscale.sources.places import is_remote, remote
from semscale.sources.trees import File

STANDARD_INPUT = "-"


class ListTree:
    """The images that `metadata` names, in its order. Relative paths start at `base`, a folder or a remote one."""

    described = False
    n_ignored = 0

    def __init__(self, uri: str, metadata: Metadata, *, base: str) -> None:
        self.uri = uri
        self._base = base
        self.column = Names(metadata.file_names.to_pylist())
        self._refuse_repeats()
        self._remote = is_remote(base) or any(is_remote(os.fsdecode(name)) for name in self.names(0, len(self)))

    def _refuse_repeats(self) -> None:
        places = (self._resolve(index) for index in range(len(self)))
        normal = pa.array(
            (p.encode() if isinstance(p, str) else os.path.normpath(p) for p in places), pa.large_binary()
        )
        first = pc.index_in(normal, value_set=normal).to_numpy(zero_copy_only=False)
        repeats = np.flatnonzero(first != np.arange(len(first)))
        if len(repeats):
            one, other = (os.fsdecode(self.column[int(row)]) for row in (first[repeats[0]], repeats[0]))
            raise SourceError(f"{self.uri}: {one!r} and {other!r} are the same file; keep one row")

    def __len__(self) -> int:
        return len(self.column)

    def names(self, start: int, stop: int) -> list[bytes]:
        """Paths as they are written in the list."""
        return self.column.slice(start, stop)

    def uri_of(self, index: int) -> str:
        """The absolute path, or the URI."""
        found = self._resolve(index)
        return found if isinstance(found, str) else uri_of(found)

    def read(self, indices: Iterable[int]) -> Iterator[File]:
        """The bytes of each file, or why there are none; several at a time where some are remote."""
        if self._remote:
            return ordered_map(self._read, indices, workers=READERS, depth=AHEAD)
        return map(self._read, indices)

    def stamp(self, index: int) -> str:
        """Size and time of change; "" where there is no file."""
        found = self._resolve(index)
        return stamp_remote(*remote(found)) if isinstance(found, str) else stamp_of(found)

    def _read(self, index: int) -> File:
        found = self._resolve(index)
        return read_remote(*remote(found)) if isinstance(found, str) else read_file(found)

    def _resolve(self, index: int) -> bytes | str:
        """A local path as bytes, or the URI of something remote."""
        name = self.column[index]
        text = os.fsdecode(name)
        if text.lower().startswith("file://"):
            return unquote_to_bytes(text.removeprefix("file://"))
        if is_remote(text):
            return text
        if is_remote(self._base):
            return posixpath.join(self._base, text)
        return os.path.join(os.fsencode(os.path.abspath(self._base)), name)


def read_paths(file: BinaryIO, where: str) -> Metadata:
    """One path a line, or separated by NUL as `find -print0` writes them; blank lines are skipped.

    Raises SourceError for a path given twice.
    """
    data = file.read()
    ends = b"\0" if b"\0" in data else b"\n"
    paths = (path.removesuffix(b"\r") if ends == b"\n" else path for path in data.split(ends))
    return paths_alone([os.fsdecode(path) for path in paths if path.strip()], where)


def standard_input() -> Metadata:
    """The list of paths on standard input. Raises SourceError where that is a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError(
            "no list of paths on standard input; for example: find images -name '*.png' | semscale score -"
        )
    return read_paths(sys.stdin.buffer, "standard input")
