"""What a folder, an archive and a bucket have in common: image files with names, read in any order."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from semscale.errors import InputError


@dataclass(frozen=True, slots=True)
class Told:
    """What files beside an image say of it; None where they say nothing."""

    text: str | None = None
    model: str | None = None
    seed: int | None = None
    group: str | None = None  # the column to group by, where one was asked for


@dataclass(frozen=True, slots=True)
class File:
    """One image file as it was read, or the reason why it could not be."""

    data: bytes | InputError
    stamp: str  # changes when the file does; "" where it should be tried again whatever happens
    told: Told | None = None  # None where the tree has no files beside its images


class Tree(Protocol):
    """Named image files. The listing is fixed when the tree is opened; its entries may be damage that was met."""

    uri: str
    n_ignored: int  # files that are not images
    described: bool  # whether `read` tells what files beside the images say

    def __len__(self) -> int:
        """Entries in the listing."""
        ...

    def names(self, start: int, stop: int) -> list[bytes]:
        """Names of a slice of the listing, relative to the tree, with forward slashes, each once."""
        ...

    def uri_of(self, index: int) -> str:
        """Where one entry lies, so that people and programs find it again."""
        ...

    def read(self, indices: Iterable[int]) -> Iterator[File]:
        """One File for each index, in the order given; rising indices are read in one pass."""
        ...

    def stamp(self, index: int) -> str:
        """The stamp that `read` gives the file, as it was listed or is now, without reading it; "" where it is gone."""
        ...


class WithAbsent:
    """A tree, and after its entries the names that a table lists and it does not have: each a file that is missing."""

    described = False

    def __init__(self, tree: Tree, absent: list[bytes]) -> None:
        self._tree, self._absent = tree, absent
        self.uri, self.n_ignored = tree.uri, tree.n_ignored

    def __len__(self) -> int:
        return len(self._tree) + len(self._absent)

    def names(self, start: int, stop: int) -> list[bytes]:
        """Names of the tree, then the absent ones."""
        own = len(self._tree)
        return [*self._tree.names(start, min(stop, own)), *self._absent[max(start - own, 0) : max(stop - own, 0)]]

    def uri_of(self, index: int) -> str:
        """As the tree has it, or where the file would be."""
        own = len(self._tree)
        return self._tree.uri_of(index) if index < own else f"{self.uri}#{os.fsdecode(self._absent[index - own])}"

    def read(self, indices: Iterable[int]) -> Iterator[File]:
        """As the tree reads them; the absent ones are missing."""
        own = len(self._tree)
        for is_own, run in itertools.groupby(indices, lambda index: index < own):
            read = self._tree.read if is_own else self._missing
            yield from read(run)

    def stamp(self, index: int) -> str:
        """As the tree has it; "" for what is absent."""
        return self._tree.stamp(index) if index < len(self._tree) else ""

    def _missing(self, indices: Iterable[int]) -> Iterator[File]:
        said = f"{self.uri} has no such image; add it, or remove its row from the metadata"
        for _ in indices:
            yield File(InputError("missing", said), "")
