"""A folder tree of images, with or without a metadata file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from semscale.errors import InputError, SourceError, UsageError
from semscale.model import Failure, Sample
from semscale.sources.layout import Described, Layout, describe, detect, is_image_name
from semscale.sources.metadata import NAMES, read_metadata


class FolderSource:
    """Images under one folder, in the byte order of their relative paths.

    The listing holds one compact string a file (about 60 bytes), the only thing that grows with the folder.
    """

    def __init__(self, root: Path, *, group_by: str | None = None) -> None:
        self.root = Path(os.path.abspath(root))
        self.uri = str(self.root)
        names, self.n_ignored = _listing(self.root)
        self._metadata = read_metadata(self.root, group_column=_column(group_by))
        if self._metadata is None and _column(group_by) is not None:
            raise UsageError(f"--group-by {group_by}: {root} has no metadata file; use 'parent' or add one of {NAMES}")
        listed = [] if self._metadata is None else map(os.fsencode, self._metadata.file_names.to_pylist())
        self._names = pa.array(sorted({*names, *listed}), pa.binary())
        if not len(self._names):
            raise SourceError(
                f"{root}: no images among {self.n_ignored} files; known suffixes end in .jpg, .png, .webp ..."
            )
        self._keys = pa.array((_key(name) for name in self._names.to_pylist()), pa.string())
        self._parents_only = group_by == "parent"
        self._layout = Layout.METADATA if self._metadata is not None else detect(self._keys.to_pylist())
        self._rows = None if self._metadata is None else self._metadata.rows_of(self._keys)
        self.layout = self._layout.value

    def keys(self) -> Sequence[str]:
        """Relative paths with forward slashes; bytes that are not UTF-8 are shown as backslash escapes."""
        return self._keys.to_pylist()

    def uris(self) -> Sequence[str]:
        """Absolute paths."""
        return [str(self.root / key) for key in self.keys()]

    def read(self, indices: Iterable[int]) -> Iterator[Sample | Failure]:
        """The bytes of each file, or why there are none."""
        for index in indices:
            yield self._read(index)

    def _read(self, index: int) -> Sample | Failure:
        key = self._keys[index].as_py()
        uri, known = str(self.root / key), self._describe(index, key)
        try:
            data = _bytes_of(os.path.join(os.fsencode(self.root), self._names[index].as_py()))
        except InputError as error:
            return Failure(key, uri, error.code, error.message, known.group, known.text, known.model, known.seed)
        return Sample(key, uri, data, known.group, known.text, known.model, known.seed)

    def _describe(self, index: int, key: str) -> Described:
        if self._metadata is None or self._rows is None:
            known = describe(key, self._layout)
        else:
            known = self._metadata.describe(self._rows[index].as_py(), key)
        if self._parents_only:
            return Described(describe(key, Layout.PARENT).group, known.text, known.model, known.seed)
        return known


def _column(group_by: str | None) -> str | None:
    return None if group_by in (None, "parent") else group_by


def _key(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _listing(root: Path) -> tuple[list[bytes], int]:
    """Relative paths of all images, and how many other files there are. Links to folders are followed once."""
    names: list[bytes] = []
    ignored = 0
    for folder, files in _walk(os.fsencode(root), set()):
        prefix = os.path.relpath(folder, os.fsencode(root))
        for file in files:
            if is_image_name(os.fsdecode(file)):
                names.append(file if prefix == b"." else os.path.join(prefix, file))
            elif not (prefix == b"." and os.fsdecode(file) in NAMES):
                ignored += 1
    return names, ignored


def _walk(folder: bytes, above: set[tuple[int, int]]) -> Iterator[tuple[bytes, list[bytes]]]:
    here = os.stat(folder)
    identity = (here.st_dev, here.st_ino)
    if identity in above:  # a link that leads back to where we came from
        return
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise SourceError(f"{os.fsdecode(folder)}: cannot be listed: {error.strerror}") from error
    yield folder, [entry.name for entry in entries if not entry.is_dir()]
    for entry in sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name):
        yield from _walk(entry.path, above | {identity})


def _bytes_of(path: bytes) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            raise InputError("unreadable", "not a regular file; remove it or replace it by the image itself")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise InputError("missing", "the file is not there: restore it, or remove its row from the metadata") from error
    except OSError as error:
        raise InputError("unreadable", f"the file cannot be read: {error.strerror}; check its permissions") from error
