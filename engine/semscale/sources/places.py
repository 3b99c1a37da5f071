"""One file, on this machine or anywhere that fsspec reaches."""

from __future__ import annotations

import datetime
import hashlib
import importlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote_to_bytes

from semscale.errors import MissingDependencyError, SourceError

REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
BLOCK_BYTES = 8 << 20  # read ahead from a remote file


class Place(Protocol):
    """A file that can be opened. Errors of the file system come as OSError."""

    uri: str  # what opens it again
    name: str  # the last part of its path

    def open(self) -> BinaryIO:
        """The file for reading; it can seek."""
        ...

    def stamp(self) -> str:
        """Changes when the file does; "" where it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def uri(self) -> str:
        """The absolute path."""
        return str(self.path.absolute())

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    def open(self) -> BinaryIO:
        """The file for reading."""
        return self.path.open("rb")

    def stamp(self) -> str:
        """Size and time of change."""
        try:
            status = self.path.stat()
        except OSError:
            return ""
        return digest(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file behind fsspec."""

    filesystem: Any
    path: str

    @property
    def uri(self) -> str:
        """The path with its protocol."""
        return cast(str, self.filesystem.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def open(self) -> BinaryIO:
        """The file for reading, a few megabytes ahead."""
        return cast(BinaryIO, self.filesystem.open(self.path, "rb", block_size=BLOCK_BYTES, cache_type="readahead"))

    def stamp(self) -> str:
        """Whatever the remote side offers to tell versions of a file apart."""
        try:
            return remote_stamp(self.filesystem.info(self.path))
        except OSError:
            return ""


def remote_stamp(info: dict[str, Any]) -> str:
    """A stamp from what fsspec says of a file: its size, and the checksum or the time of change where there is one."""
    names = ("ETag", "etag", "md5Hash", "md5", "LastModified", "mtime", "last_modified", "updated", "created")
    told = next((info[name] for name in names if info.get(name) is not None), None)
    return digest(info.get("size"), told.isoformat() if isinstance(told, datetime.datetime) else str(told))


def digest(*values: object) -> str:
    """16 digits that differ when the values do."""
    return hashlib.blake2b(repr(values).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def is_remote(uri: str) -> bool:
    """Whether `uri` names a protocol, such as `s3://`, that fsspec must open."""
    return REMOTE.match(uri) is not None and not uri.lower().startswith("file://")


def local_path(place: str) -> Path:
    """The path of something on this machine, which may be written as a `file://` URI."""
    is_uri = place.lower().startswith("file://")
    return Path(os.fsdecode(unquote_to_bytes(place[len("file://") :]))) if is_uri else Path(place)


def remote(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the path in it. Raises what to install where that is missing."""
    if importlib.util.find_spec("fsspec") is None:
        raise MissingDependencyError(uri, "fsspec", "remote")
    fsspec = importlib.import_module("fsspec")
    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(uri))
    except ImportError as error:
        raise SourceError(f"{uri}: {error}: pip install 'semscale[remote]'") from error
    except ValueError as error:
        raise SourceError(f"{uri}: {error}") from error
