"""What a folder, an archive and a bucket have in common: image files with names, read in any order."""

from __future__ import annotations

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
