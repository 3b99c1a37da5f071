"""Which files lie below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import SourceError
from semscale.sources.names import uri_of

OWN_RESULTS = ({b".lock", b"stores"}, {b"store.json", b"plan"})  # what semscale writes: a run, a store
BLOCK = 65_536  # names held as Python objects at a time


@dataclass(slots=True)
class _Seen:
    """Real folders that were entered, and links to folders that wait."""

    folders: set[tuple[int, int]] = field(default_factory=set)
    links: list[bytes] = field(default_factory=list)

    def enter(self, folder: bytes) -> bool:
        """Whether this real folder is entered for the first time."""
        here = os.stat(folder)
        identity = (here.st_dev, here.st_ino)
        new = identity not in self.folders
        self.folders.add(identity)
        return new


def walk(root: bytes, *, leave_out: bytes | None = None) -> Iterator[bytes]:
    """Paths of all files below `root`, relative to it: the files of a folder, then its folders, each in byte order.

    Links to folders come after everything else and are followed, but every real folder is visited once: by the path
    with the fewest links, and of those by the link that is first in byte order. So loops end and no file is met twice.
    Folders below `root` that hold semscale's own results, and `leave_out`, are left out. Raises SourceError for a
    folder that cannot be listed.
    """
    seen = _Seen()
    if leave_out is not None and os.path.isdir(leave_out) and not os.path.samefile(root, leave_out):
        seen.enter(leave_out)
    starts = [b""]
    while starts:
        seen.links = []
        for start in sorted(starts):
            yield from _below(root, start, seen)
        starts = seen.links


def _below(root: bytes, start: bytes, seen: _Seen) -> Iterator[bytes]:
    """Files reached from `start` by real folders alone."""
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        try:
            files, folders, links = _entries(os.path.join(root, folder), seen)
        except OSError as error:
            where = uri_of(os.path.join(root, folder))
            raise SourceError(
                f"{where}: cannot be listed: {error.strerror}; make it readable or take it out"
            ) from error
        if folder and _is_own(os.path.join(root, folder)):
            continue
        for name in files:
            yield os.path.join(folder, name)
        seen.links += [os.path.join(folder, name) for name in links]
        waiting += [os.path.join(folder, name) for name in sorted(folders, reverse=True)]


def _entries(folder: bytes, seen: _Seen) -> tuple[Iterable[bytes], list[bytes], list[bytes]]:
    """Names of the files (sorted), folders and links to folders in a folder; nothing when it was seen before."""
    folders: list[bytes] = []
    links: list[bytes] = []
    if not seen.enter(folder):
        return [], folders, links
    blocks: list[pa.Array] = []
    files: list[bytes] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.name)
                continue
            files.append(entry.name)
            if len(files) == BLOCK:
                blocks.append(pa.array(files, pa.large_binary()))
                files = []
    return sorted(files) if not blocks else _sorted(blocks, files), folders, links


def _sorted(blocks: list[pa.Array], rest: list[bytes]) -> Iterator[bytes]:
    """The names of a very large folder in byte order: ten million Python objects would take a gigabyte."""
    names = pa.concat_arrays([*blocks, pa.array(rest, pa.large_binary())])
    blocks.clear()
    order = pc.sort_indices(names)
    for start in range(0, len(order), BLOCK):
        yield from names.take(order.slice(start, BLOCK)).to_pylist()


def _is_own(folder: bytes) -> bool:
    return any(all(os.path.exists(os.path.join(folder, name)) for name in own) for own in OWN_RESULTS)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, for example to itself: as good as a file that cannot be read
        return False
