"""A tree of images and what is known of them: the Source that most kinds of input become."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pyarrow as pa

from semscale.errors import InputError
from semscale.model import Failure, Sample
from semscale.sources.layout import Described, Layout, describe, detect, folder_of
from semscale.sources.listing import BLOCK
from semscale.sources.metadata import Metadata
from semscale.sources.names import key_of
from semscale.sources.places import digest
from semscale.sources.trees import File, Told, Tree


class TreeSource:
    """Images of a tree, described by a table, by files beside them, or by their names alone.

    `group_by` is None (the text of an image where there is one, else its parent folder), "parent", or a column, which
    `metadata` or the tree has been opened with.
    """

    def __init__(self, tree: Tree, metadata: Metadata | None = None, *, group_by: str | None = None) -> None:
        self._tree, self._metadata, self._group_by = tree, metadata, group_by
        self.uri, self.n_ignored = tree.uri, tree.n_ignored
        self._rows = None if metadata is None else metadata.rows_of(self._names())
        self._layout, self.n_strays = self._detected()
        self.layout = self._layout.value

    def _names(self) -> pa.ChunkedArray:
        slices = (self._tree.names(start, start + BLOCK) for start in range(0, len(self), BLOCK))
        return pa.chunked_array([pa.array(names, pa.large_binary()) for names in slices], pa.large_binary())

    def _detected(self) -> tuple[Layout, int]:
        if self._metadata is not None:
            return Layout.METADATA, 0
        if self._tree.described:
            return Layout.BESIDE, 0
        slices = (self.keys(start, start + BLOCK) for start in range(0, len(self), BLOCK))
        return detect(itertools.chain.from_iterable(slices), len(self))

    def __len__(self) -> int:
        return len(self._tree)

    def keys(self, start: int, stop: int) -> list[str]:
        """Relative paths with forward slashes; `names.key_of` says how odd names are shown."""
        return [key_of(name) for name in self._tree.names(start, stop)]

    def uris(self, start: int, stop: int) -> list[str]:
        """Absolute paths, or URIs."""
        return [self._tree.uri_of(index) for index in range(start, min(stop, len(self)))]

    def read(self, indices: Iterable[int]) -> Iterator[Sample | Failure]:
        """The bytes of each image and what is known of it, or why there are none."""
        asked, wanted = itertools.tee(indices)
        for index, file in zip(asked, self._tree.read(wanted), strict=True):
            yield self._item(index, file)

    def _item(self, index: int, file: File) -> Sample | Failure:
        key, uri = self._key(index), self._tree.uri_of(index)
        known = self._describe(index, key, file.told)
        said = (known.group, known.text, known.model, known.seed)
        if isinstance(file.data, InputError):
            return Failure(key, uri, file.data.code, file.data.message, *said, self._fingerprint(file.stamp, known))
        return Sample(key, uri, file.data, *said, self._fingerprint(file.stamp, known))

    def fingerprint(self, index: int) -> str:
        """A digest of the file's stamp and of what its name or the table says of it."""
        stamp = self._tree.stamp(index)
        return self._fingerprint(stamp, self._describe(index, self._key(index), None)) if stamp else ""

    def _fingerprint(self, stamp: str, known: Described) -> str:
        if self._tree.described or not stamp:  # the stamp of a tree with texts beside its images covers them too
            return stamp
        return digest(stamp, known.group, known.text, known.model, known.seed)

    def _key(self, index: int) -> str:
        return self.keys(index, index + 1)[0]

    def _describe(self, index: int, key: str, told: Told | None) -> Described:
        known = self._known(index, key, told)
        if self._group_by == "parent":
            return Described(describe(key, Layout.PARENT).group, known.text, known.model, known.seed)
        return known

    def _known(self, index: int, key: str, told: Told | None) -> Described:
        if self._metadata is not None and self._rows is not None:
            return self._metadata.describe(self._rows[index].as_py(), key)
        if told is None:
            return describe(key, self._layout)
        named = told.text if self._group_by is None else told.group
        return Described(folder_of(key) if named is None else named, told.text, told.model, told.seed)
