"""Which files lie below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

from semscale.errors import SourceError
from semscale.sources.names import uri_of

OWN_RESULTS = ({b".lock", b"stores"}, {b"store.json", b"plan"})  # what semscale writes: a run, a store


def walk(root: bytes) -> Iterator[bytes]:
    """Paths of all files below `root`, relative to it.

    Links to folders are followed, but every real folder is visited once: by the path with the fewest links, and of
    those by the link that is first in byte order. So loops end and no file is met twice. Folders below `root` that
    hold semscale's own results are left out. Raises SourceError for a folder that cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    starts = [b""]
    while starts:
        links: list[bytes] = []
        for start in sorted(starts):
            yield from _files_below(root, start, seen, links)
        starts = links


def _files_below(root: bytes, start: bytes, seen: set[tuple[int, int]], links: list[bytes]) -> Iterator[bytes]:
    """Files reached from `start` by real folders alone; the links to folders on the way go to `links`."""
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        entries = _entries(os.path.join(root, folder), seen)
        if folder and any(own <= {entry.name for entry in entries} for own in OWN_RESULTS):
            continue
        folders = []
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if not _is_folder(entry):
                yield path
            else:
                (links if entry.is_symlink() else folders).append(path)
        waiting += sorted(folders, reverse=True)


def _entries(folder: bytes, seen: set[tuple[int, int]]) -> list[os.DirEntry[bytes]]:
    """What lies in a folder, or nothing when it was seen before."""
    try:
        here = os.stat(folder)
        identity = (here.st_dev, here.st_ino)
        if identity in seen:
            return []
        seen.add(identity)
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise SourceError(
            f"{uri_of(folder)}: cannot be listed: {error.strerror}; make it readable or take it out"
        ) from error


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, for example to itself: as good as a file that cannot be read
        return False
