"""Writing files so that a reader, or a run after a crash, sees a whole file or none.

Everything that changes the disk goes through the five functions at the end, which tests make fail one by one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from semscale.errors import StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
LACKING = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK})
ONLY_OF_WRITING = FULL | {errno.EROFS, errno.EFBIG}  # what a body that also reads cannot have met elsewhere
_SUFFIX = "semscale-tmp"
_TEMPORARY = re.compile(rf"\..+\.[0-9]+\.{_SUFFIX}")


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of `path`, which holds all of it or what it held before. Raises StoreError."""
    with replacing(path) as temporary, explaining(path), open_new(temporary) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there takes the place of `path` when the block ends well.

    The bytes and then the folder are flushed to disk, so that a file which exists is whole even after a power cut.
    Raises StoreError, which says what to do, when the file cannot be written; other errors of the block pass.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{_SUFFIX}")
    with explaining(path, "fsync"):
        _make_folder(path.parent)
    try:
        with _explaining_body(path, temporary):
            yield temporary
        with explaining(path, "fsync"):
            flush(temporary)
        with explaining(path, "rename"):
            rename(temporary, path)
        with explaining(path, "fsync"):
            flush(path.parent)
    finally:
        with suppress(OSError):  # the error that matters is on its way; `sweep` comes back to this file
            if temporary.exists():
                remove(temporary)


def cache_folder() -> Path:
    """Return where a user's exports and records lie: SEMSCALE_CACHE, else XDG_CACHE_HOME/semscale, else
    ~/.cache/semscale. Raises RuntimeError where there is no home.
    """
    if chosen := os.environ.get("SEMSCALE_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "semscale"


def sweep(folder: Path) -> None:
    """Remove temporary files from `folder` and the folders in it, of whatever process.

    Needs the exclusive lock of `folder`: whoever wrote there under it is dead. Raises StoreError.
    """
    for file in [*folder.glob(f".*.{_SUFFIX}"), *folder.glob(f"*/.*.{_SUFFIX}")]:
        if _TEMPORARY.fullmatch(file.name):
            with explaining(file):
                remove(file)


def discard(path: Path) -> None:
    """Remove a file if it is there, and for good: it does not come back after a power cut. Raises StoreError."""
    if path.exists():
        with explaining(path, "fsync"):
            remove(path)
            flush(path.parent)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; reads it in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explaining(path: Path, operation: str = "") -> Iterator[None]:
    """Raise an OSError of the block as a StoreError that says what is wrong with `path` and what to do.

    `operation` is what a file system may lack altogether: "fsync", "rename" or "flock".
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {_what_to_do(error, operation)}") from error


@contextmanager
def _explaining_body(path: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # pyarrow's, too: it keeps the number, but no name
        if error.errno not in ONLY_OF_WRITING and error.filename != str(temporary):
            raise
        raise StoreError(f"{path}: {_what_to_do(error, '')}") from error


def _what_to_do(error: OSError, operation: str) -> str:
    said = error.strerror or str(error)
    if error.errno in FULL:
        return f"the disk is full ({said}); free space and run the same command again, what is finished is kept"
    if error.errno in FORBIDDEN:
        return f"not writable ({said}); make the folder writable or choose another -o"
    if operation and error.errno in LACKING:
        return f"the file system of this folder lacks {operation} ({said}); choose a folder on a local disk for -o"
    return f"cannot be written ({said}); mend that or choose another -o, and run the same command again"


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        _make_folder(path.parent)
        make_folder(path)
        flush(path.parent)


def open_new(path: Path) -> BinaryIO:
    """Open a file for writing, empty."""
    return path.open("wb")


def flush(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(path: Path, target: Path) -> None:
    """Give a file another name in the same folder, in the place of what had it."""
    os.replace(path, target)


def remove(path: Path) -> None:
    """Remove a file."""
    path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder unless it is there; another process may make it at the same moment."""
    path.mkdir(exist_ok=True)
