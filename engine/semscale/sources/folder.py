"""The files below a folder of this machine, read with care."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from semscale.errors import InputError
from semscale.sources.layout import is_image_name
from semscale.sources.listing import Names
from semscale.sources.metadata import NAMES
from semscale.sources.names import uri_of
from semscale.sources.places import digest
from semscale.sources.trees import File
from semscale.sources.walk import walk

MAX_FILE_BYTES = 1 << 30  # a larger file is no image that anyone means to score, and might not fit into memory
ATTEMPTS = 3  # at a file that changes while it is read
END_MARKER = "_SUCCESS"  # the file by which a producer says that it has written its last image
ADVICE = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.ELOOP: "it is a link that leads to itself: remove it",
    errno.ENXIO: "it is not a regular file: remove it, or replace it by the image itself",
    errno.ENODEV: "it is not a regular file: remove it, or replace it by the image itself",
    errno.ENAMETOOLONG: "rename it",
}
LASTING = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV}


class FolderTree:
    """Images under one folder, in the order of `walk`, then those that are listed but not there.

    `listed` names files that count as images whatever they are called. The listing takes the bytes of the relative
    path and 8 more for each file, the only thing that grows with the folder.
    """

    described = False

    def __init__(self, root: Path, listed: Collection[bytes] = (), *, leave_out: Path | None = None) -> None:
        self._root = os.fsencode(os.path.abspath(root))
        self.uri = uri_of(self._root)
        self.n_ignored = 0
        left_out = None if leave_out is None else os.fsencode(os.path.abspath(leave_out))
        self.column = Names(self._images(frozenset(listed), left_out))

    def _images(self, listed: frozenset[bytes], leave_out: bytes | None) -> Iterator[bytes]:
        met = set()
        for name in walk(self._root, leave_out=leave_out):
            if name in listed:
                met.add(name)
                yield name
            elif is_image_name(text := os.fsdecode(name)):
                yield name
            elif text not in NAMES and text != END_MARKER:
                self.n_ignored += 1
        yield from sorted(listed - met)

    def __len__(self) -> int:
        return len(self.column)

    def names(self, start: int, stop: int) -> list[bytes]:
        """Relative paths."""
        return self.column.slice(start, stop)

    def uri_of(self, index: int) -> str:
        """The absolute path, or a `file://` URI where it is not UTF-8."""
        return uri_of(self._path(index))

    def read(self, indices: Iterable[int]) -> Iterator[File]:
        """The bytes of each file, or why there are none."""
        return (read_file(self._path(index)) for index in indices)

    def stamp(self, index: int) -> str:
        """Size, time of change and readability of a file; "" where there is none."""
        return stamp_of(self._path(index))

    def _path(self, index: int) -> bytes:
        return os.path.join(self._root, self.column[index])


def stamp_of(path: bytes) -> str:
    """Size, time of change and readability of a file; "" where there is none."""
    try:
        return _stamp(os.stat(path), os.access(path, os.R_OK))
    except (OSError, ValueError):  # ValueError: no file can have such a name
        return ""


def read_file(path: bytes) -> File:
    """The bytes of a file with its stamp, or why there are none."""
    try:
        data, status = _bytes_of(path)
    except InputError as error:
        return File(error, "" if error.code == "changed" else stamp_of(path))
    except FileNotFoundError:
        said = "it is not there, or is a link that leads nowhere; restore it, or take it out of the list or folder"
        return File(InputError("missing", said), "")
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        said = getattr(error, "strerror", None) or str(error)
        problem = InputError("unreadable", f"it cannot be read: {said}; {ADVICE.get(number, 'check its disk')}")
        return File(problem, stamp_of(path) if number in LASTING else "")
    return File(data, _stamp(status, True))


def _stamp(status: os.stat_result, readable: bool) -> str:
    return digest(status.st_size, status.st_mtime_ns, readable)


def _bytes_of(path: bytes) -> tuple[bytes, os.stat_result]:
    """The bytes of a file that did not change meanwhile."""
    for _ in range(ATTEMPTS):
        with open(path, "rb", opener=_open_at_once) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise InputError("unreadable", "not a regular file; remove it or replace it by the image itself")
            if before.st_size > MAX_FILE_BYTES:
                raise InputError("too-large", f"the file is {before.st_size} bytes, over {MAX_FILE_BYTES}; shrink it")
            data = file.read(MAX_FILE_BYTES + 1)
            after = os.fstat(file.fileno())
        if len(data) == after.st_size and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return data, after
    raise InputError("changed", "the file changed while it was read; run again when nobody writes to it any more")


def _open_at_once(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would make us wait for ever
