"""A folder tree of images, with or without a metadata file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from semscale.errors import InputError, SourceError, UsageError
from semscale.model import Failure, Sample
from semscale.sources.layout import Described, Layout, describe, detect, is_image_name
from semscale.sources.metadata import NAMES, Metadata, read_metadata
from semscale.sources.names import key_of, uri_of
from semscale.sources.tree import walk

MAX_FILE_BYTES = 1 << 30  # a larger file is no image that anyone means to score, and might not fit into memory


class FolderSource:
    """Images under one folder, in the byte order of their relative paths.

    The listing holds about 200 bytes a file, the only thing that grows with the folder. Links to
    folders are followed, each real folder once: see `tree.walk`.
    """

    n_ignored: int  # files that are neither images nor named by the metadata
    n_strays: int  # images that do not fit the layout and are grouped by their folder instead

    def __init__(self, root: Path, *, group_by: str | None = None) -> None:
        self._root = os.fsencode(os.path.abspath(root))
        self.uri = uri_of(self._root)
        self._parents_only = group_by == "parent"
        self._metadata = _metadata(root, None if self._parents_only else group_by)
        listed = set() if self._metadata is None else set(self._metadata.file_names.to_pylist())
        names, self.n_ignored = _listing(self._root, listed)
        if not names:
            raise SourceError(
                f"{root}: no images among {self.n_ignored} files; known suffixes end in .jpg, .png, .webp ..."
            )
        self._names = pa.array(names, pa.binary())
        self._keys = pa.array(map(key_of, names), pa.string())
        self._rows = None if self._metadata is None else self._metadata.rows_of(self._names)
        self._layout, self.n_strays = detect(self.keys()) if self._metadata is None else (Layout.METADATA, 0)
        self.layout = self._layout.value

    def keys(self) -> Sequence[str]:
        """Relative paths with forward slashes, each once; `names.key_of` says how odd names are shown."""
        return self._keys.to_pylist()

    def uris(self) -> Sequence[str]:
        """Absolute paths, or `file://` URIs where they are not UTF-8."""
        return [uri_of(os.path.join(self._root, name)) for name in self._names.to_pylist()]

    def read(self, indices: Iterable[int]) -> Iterator[Sample | Failure]:
        """The bytes of each file, or why there are none."""
        for index in indices:
            yield self._read(index)

    def _read(self, index: int) -> Sample | Failure:
        key, path = self._keys[index].as_py(), os.path.join(self._root, self._names[index].as_py())
        uri, known = uri_of(path), self._describe(index, key)
        described = (known.group, known.text, known.model, known.seed)
        try:
            data, status = _bytes_of(path)
        except InputError as error:
            return Failure(key, uri, error.code, error.message, *described, self.fingerprint(index))
        return Sample(key, uri, data, *described, _fingerprint(status, True, known))

    def fingerprint(self, index: int) -> str:
        """Size, time of change, readability and description of a file, in 16 digits; "" where there is no file."""
        path = os.path.join(self._root, self._names[index].as_py())
        try:
            status = os.stat(path)
        except OSError:
            return ""
        return _fingerprint(status, os.access(path, os.R_OK), self._describe(index, self._keys[index].as_py()))

    def _describe(self, index: int, key: str) -> Described:
        if self._metadata is None or self._rows is None:
            known = describe(key, self._layout)
        else:
            known = self._metadata.describe(self._rows[index].as_py(), key)
        if self._parents_only:
            return Described(describe(key, Layout.PARENT).group, known.text, known.model, known.seed)
        return known


def _metadata(root: Path, group_column: str | None) -> Metadata | None:
    found = read_metadata(root, group_column=group_column)
    if found is None and group_column is not None:
        raise UsageError(f"--group-by {group_column}: {root} has no metadata file; use 'parent' or add one of {NAMES}")
    return found


def _listing(root: bytes, listed: set[bytes]) -> tuple[list[bytes], int]:
    """Relative paths of all images and of all files in `listed`, sorted, and how many other files there are."""
    names = set(listed)
    ignored = 0
    for name in walk(root):
        text = os.fsdecode(name)
        if is_image_name(text):
            names.add(name)
        elif name not in listed and text not in NAMES:
            ignored += 1
    return sorted(names), ignored


def _fingerprint(status: os.stat_result, readable: bool, known: Described) -> str:
    told = (status.st_size, status.st_mtime_ns, readable, known.group, known.text, known.model, known.seed)
    return hashlib.blake2b(repr(told).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _bytes_of(path: bytes) -> tuple[bytes, os.stat_result]:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError("unreadable", "not a regular file; remove it or replace it by the image itself")
            if status.st_size > MAX_FILE_BYTES:
                raise InputError("too-large", f"the file is {status.st_size} bytes, over {MAX_FILE_BYTES}; shrink it")
            return file.read(), status
    except FileNotFoundError as error:
        raise InputError("missing", "the file is not there: restore it, or remove its row from the metadata") from error
    except OSError as error:
        raise InputError("unreadable", f"the file cannot be read: {error.strerror}; check its permissions") from error


def _open_at_once(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would make us wait for ever
