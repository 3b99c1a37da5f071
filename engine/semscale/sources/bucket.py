"""The files below a remote folder: whatever fsspec reaches, several files at a time."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from semscale.errors import InputError, SourceError
from semscale.prefetch import ordered_map
from semscale.sources.folder import END_MARKER, MAX_FILE_BYTES
from semscale.sources.layout import is_image_name
from semscale.sources.listing import Names
from semscale.sources.metadata import NAMES
from semscale.sources.places import remote_stamp
from semscale.sources.trees import File

T = TypeVar("T")
READERS = 16  # files fetched at once: a request waits for the other side, not for this machine
AHEAD = 32  # files fetched before they are asked for
PAUSES = (0.5, 2.0)  # seconds before another attempt at what failed


class BucketTree:
    """Images below one remote folder, in the order of their folders' walk; the listing also keeps their stamps."""

    described = False

    def __init__(self, filesystem: Any, root: str, listed: Iterable[bytes] = ()) -> None:
        self._filesystem, self._root = filesystem, root.rstrip("/")
        self.uri: str = filesystem.unstrip_protocol(self._root)
        self.n_ignored = 0
        self._stamps, self._sizes = array("Q"), array("q")
        self.column = Names(self._images(frozenset(listed)))

    def _images(self, listed: frozenset[bytes]) -> Iterator[bytes]:
        met = set()
        for name, info in walk_remote(self._filesystem, self._root):
            encoded = name.encode("utf-8", "surrogateescape")
            if encoded in listed or is_image_name(name):
                met.add(encoded)
                self._stamps.append(int(remote_stamp(info), 16))
                self._sizes.append(-1 if info.get("size") is None else info["size"])
                yield encoded
            elif name not in NAMES and name != END_MARKER:
                self.n_ignored += 1
        for name in sorted(listed - met):
            self._stamps.append(0)
            self._sizes.append(-1)
            yield name

    def __len__(self) -> int:
        return len(self.column)

    def names(self, start: int, stop: int) -> list[bytes]:
        """Paths relative to the root."""
        return self.column.slice(start, stop)

    def uri_of(self, index: int) -> str:
        """The path with its protocol."""
        uri: str = self._filesystem.unstrip_protocol(self._path(index))
        return uri

    def read(self, indices: Iterable[int]) -> Iterator[File]:
        """The bytes of each file, or why there are none."""
        return ordered_map(self._read, indices, workers=READERS, depth=AHEAD)

    def stamp(self, index: int) -> str:
        """What the remote side said of the file when it was listed."""
        return f"{self._stamps[index]:016x}" if self._stamps[index] else ""

    def _read(self, index: int) -> File:
        return _fetched(self._filesystem, self._path(index), Listed(self.stamp(index), self._sizes[index]))

    def _path(self, index: int) -> str:
        return f"{self._root}/{self.column[index].decode('utf-8', 'surrogateescape')}"


def walk_remote(filesystem: Any, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Relative path and description of every file below `root`, folder by folder in the order of their names.

    Raises SourceError for a folder that cannot be listed.
    """
    waiting = [root]
    try:
        while waiting:
            entries = {entry["name"]: entry for entry in filesystem.ls(waiting.pop(), detail=True)}
            for path in sorted(entries):
                if entries[path]["type"] != "directory" and not path.endswith("/"):
                    yield path.removeprefix(root).lstrip("/"), entries[path]
            folders = (path for path in entries if entries[path]["type"] == "directory" and path.rstrip("/") != root)
            waiting += sorted(folders, reverse=True)
    except Exception as error:  # every backend of fsspec raises its own
        where = filesystem.unstrip_protocol(root)
        raise SourceError(f"{where}: cannot be listed: {_said(error)}; check the name and your credentials") from error


def stamp_remote(filesystem: Any, path: str) -> str:
    """What tells versions of one remote file apart; "" where it cannot be reached."""
    try:
        return remote_stamp(filesystem.info(path))
    except Exception:  # every backend of fsspec raises its own; reading the file will say what is wrong
        return ""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing says of a remote file."""

    stamp: str
    size: int  # in bytes, -1 where the listing does not tell


def read_remote(filesystem: Any, path: str) -> File:
    """The bytes of one remote file that was not listed, fetched again where that failed, or why there are none."""
    try:
        info = patiently(lambda: filesystem.info(path))
    except Exception as error:  # every backend of fsspec raises its own
        return _failed(error)
    return _fetched(filesystem, path, Listed(remote_stamp(info), -1 if info.get("size") is None else info["size"]))


def _fetched(filesystem: Any, path: str, listed: Listed) -> File:
    if listed.size > MAX_FILE_BYTES:
        problem = InputError("too-large", f"the file is {listed.size} bytes, over {MAX_FILE_BYTES}; shrink it")
        return File(problem, listed.stamp)
    try:
        data: bytes = patiently(lambda: filesystem.cat_file(path))
    except Exception as error:  # every backend of fsspec raises its own
        return _failed(error)
    if listed.size not in {-1, len(data)}:
        return File(InputError("changed", "the file changed since it was listed; run again"), "")
    return File(data, listed.stamp)


def _failed(error: Exception) -> File:
    if isinstance(error, FileNotFoundError):
        return File(InputError("missing", "the file is not there; restore it, or remove its row from the list"), "")
    said = f"the file cannot be read: {_said(error)}; check your credentials and the network, and run again"
    return File(InputError("unreadable", said), "")


def patiently(request: Callable[[], T]) -> T:
    """The answer to a request, asked again twice when it fails for another reason than that nothing is there."""
    for pause in PAUSES:
        try:
            return request()
        except FileNotFoundError:
            raise
        except Exception:  # every backend of fsspec raises its own; the last attempt lets it out
            time.sleep(pause)
    return request()


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
