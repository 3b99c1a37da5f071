"""What archives have in common: limits, unique names of members, uris, and a file that is still the listed one."""

from __future__ import annotations

import os
from array import array
from functools import cached_property
from gzip import BadGzipFile
from typing import BinaryIO
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import InputError
from semscale.sources.names import uri_of
from semscale.sources.places import Place, is_remote

MAX_FILE_BYTES = 1 << 30  # a larger file is no image that anyone means to score, and might not fit into memory
RETRY = frozenset({"changed", "unreadable"})  # codes of failures that may be gone at the next run


class GrowingNames:
    """A growing list of byte strings that takes their bytes and 8 more for each."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def append(self, name: bytes) -> None:
        """Add one name at the end."""
        self._bytes += name
        self._ends.append(len(self._bytes))

    @cached_property
    def column(self) -> pa.Array:
        """(N,) large_binary over the same memory; nothing can be added afterwards."""
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._bytes)]
        return pa.Array.from_buffers(pa.large_binary(), len(self._ends) - 1, buffers)


def unique(names: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The names with `#2`, `#3` ... added to every one that was there before, and (R,) the positions of those."""
    first = pc.index_in(names, value_set=names).to_numpy(zero_copy_only=False)
    repeats = np.flatnonzero(first != np.arange(len(names)))
    seen: dict[int, int] = {}
    renamed = []
    for position in repeats.tolist():
        original = int(first[position])
        seen[original] = seen.get(original, 1) + 1
        renamed.append(b"%s#%d" % (names[position].as_py(), seen[original]))
    mask = np.zeros(len(names), bool)
    mask[repeats] = True
    return pc.replace_with_mask(names, pa.array(mask), pa.array(renamed, names.type)), repeats


def is_unsafe(name: bytes) -> bool:
    """Whether a program that unpacks this name would write outside the folder it was told to use."""
    return name.startswith(b"/") or b".." in name.split(b"/")


def text_uri(place: Place) -> str:
    """The uri of a place as text that any table can hold, percent-encoded where its path is not UTF-8."""
    return uri_of(os.fsencode(place.uri))


def member_uri(archive: str, name: bytes) -> str:
    """`archive#name`, the name percent-encoded, and the archive a URI, where the name is not UTF-8."""
    try:
        return f"{archive}#{name.decode()}"
    except UnicodeDecodeError:
        whole = archive if "://" in archive[:10] or is_remote(archive) else "file://" + quote(archive)
        return f"{whole}#{quote(name)}"


def open_listed(place: Place, stamp: str) -> BinaryIO:
    """Open a file that had this stamp when it was listed.

    Raises InputError: `unreadable` where it cannot be opened, `changed` where it is no longer the same file.
    """
    try:
        file = place.open()
    except OSError as error:
        raise unreadable(error) from error
    if place.stamp() == stamp:
        return file
    file.close()
    raise InputError("changed", "the archive changed after it was listed; run again")


def unreadable(error: OSError) -> InputError:
    """The failure of a file system, as a reason that is tried again at the next run."""
    return InputError("unreadable", f"the archive cannot be read: {error.strerror or error}; check it and run again")


def is_damage(error: Exception) -> bool:
    """Whether an error that came up while reading is about the bytes read, and none of the file system's.

    Decoders say OSError too, but without a number, and none of its more exact kinds.
    """
    return not isinstance(error, OSError) or isinstance(error, BadGzipFile) or _is_bare(error)


def _is_bare(error: OSError) -> bool:
    return type(error) is OSError and error.errno is None
