"""The listing of a tar: where its images lie, what describes them, and what is damaged."""

from __future__ import annotations

import re
import tarfile
from array import array
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import SourceError
from semscale.sources.layout import is_image_name
from semscale.sources.members import GrowingNames, is_damage, is_unsafe
from semscale.sources.sidecars import MAX_SIDECAR_BYTES
from semscale.sources.tar_headers import STREAM_ERRORS, Cut, Gap, headers

STEM = r"(?s)^(.*)\.[^./]*$"  # all before the last dot
SAMPLE = r"(?s)^((?:.*/)?\.?[^./]*)\.[^/]*$"  # all before the first dot of the last part, as WebDataset groups files
HERE = re.compile(rb"^(?:\./+)+")  # what `tar -C folder .` puts before every name
NOT_STORED = -1  # the size of a sidecar that is a link or has holes
# What is known of an image before it is read.
SOUND, LINK, SPARSE, UNSAFE, DUPLICATE, GAP, BROKEN, CUT, SPECIAL = range(9)


class Members:
    """Names of members, with where the data of each starts and how long it is, in bytes."""

    def __init__(self) -> None:
        self.names = GrowingNames()
        self.offsets, self.sizes = array("q"), array("q")

    def append(self, name: bytes, offset: int, size: int) -> None:
        """Add one member at the end."""
        self.names.append(name)
        self.offsets.append(offset)
        self.sizes.append(size)


class TarListing:
    """What one pass over a tar finds. `kept` is where the sidecars of a compressed one are written to."""

    def __init__(self, *, kept: BinaryIO | None) -> None:
        self.kept = kept
        self.images, self.texts, self.words = Members(), Members(), Members()
        self.states = array("B")  # of the images, and of the damage that stands among them
        self.n_ignored = 0  # regular files that are neither images nor sidecars
        self._end = 0  # of the last member or gap

    def scan(self, stream: BinaryIO, where: str) -> None:
        """List a tar. Raises SourceError, naming `where`, when it is none, and OSError when it cannot be read."""
        found_any = False
        try:
            for found in headers(stream):
                if isinstance(found, Gap):
                    self._damage(found.start, found.stop - found.start, GAP)
                elif isinstance(found, Cut):
                    self._damage(found.at, 0, CUT)
                else:
                    found_any = True
                    self._take(found, stream)
        except STREAM_ERRORS as error:
            if not is_damage(error):
                raise
            self._damage(self._end, 0, BROKEN)
        if not found_any and (self.states or not stream.tell()):
            raise SourceError(f"{where}: not a tar, or nothing of it is whole; copy or make it again")

    def _take(self, header: tarfile.TarInfo, stream: BinaryIO) -> None:
        name = HERE.sub(b"", header.name.encode("utf-8", "surrogateescape"))
        self._end = header.offset_data + (header.size if header.isreg() else 0)
        is_link = header.issym() or header.islnk()
        if header.ischr() or header.isblk() or header.isfifo():
            if is_image_name(header.name):
                self._image(name, header, SPECIAL)
            return
        if not is_link and not header.isreg():
            return
        if header.name.lower().endswith((".txt", ".json")):
            self._sidecar(name, header, stream, is_stored=header.isreg() and not header.issparse())
        elif is_image_name(header.name):
            self._image(name, header, LINK if is_link else SPARSE if header.issparse() else SOUND)
        elif not is_link:
            self.n_ignored += 1

    def _image(self, name: bytes, header: tarfile.TarInfo, state: int) -> None:
        self.images.append(name, header.offset_data, header.size)
        self.states.append(UNSAFE if is_unsafe(name) else state)

    def _sidecar(self, name: bytes, header: tarfile.TarInfo, stream: BinaryIO, *, is_stored: bool) -> None:
        part = self.texts if name.lower().endswith(b".txt") else self.words
        size = header.size if is_stored else NOT_STORED
        if self.kept is None:
            part.append(name, header.offset_data, size)
            return
        part.append(name, self.kept.tell(), size)  # before it is read, so that a break in it is not a missing text
        if 0 < size <= MAX_SIDECAR_BYTES:
            stream.seek(header.offset_data)
            self.kept.write(stream.read(size))

    def _damage(self, start: int, size: int, state: int) -> None:
        self.images.append(b"damaged-at-byte-%d" % start, start, size)
        self.states.append(state)
        self._end = start + size


class Beside:
    """Which of the sidecars of one suffix describes each image: (N,) int32 `rows`, null where none does.

    That of the image's own name without the suffix, or else of its WebDataset sample key.
    """

    def __init__(self, sidecars: Members, images: Members) -> None:
        stems = [_first_group(STEM, images.names.column), _first_group(SAMPLE, images.names.column)]
        own = _first_group(STEM, sidecars.names.column)
        self.rows = pc.coalesce(*(pc.index_in(stem, value_set=own) for stem in stems))
        used = pc.sum(pc.is_in(own, value_set=pa.concat_arrays(stems))).as_py() or 0
        self.n_unused = len(own) - used


def _first_group(pattern: str, names: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(names, pattern, r"\1")
