"""Several sources as if they were folders of one."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from semscale.model import Failure, Sample, Source


class SeveralSources:
    """Sources in a row; the key of an item is the name of its source, a slash, and its key there.

    Images with the same text share a group wherever they lie; groups that are folders get the source's name too.
    """

    def __init__(self, uri: str, sources: Sequence[tuple[str, Source]], *, group_by: str | None = None) -> None:
        self.uri, self._group_by = uri, group_by
        self._names = _told_apart([name for name, _ in sources])
        self._sources = [source for _, source in sources]
        self._starts = [0, *itertools.accumulate(len(source) for source in self._sources)]
        self.layout = ", ".join(dict.fromkeys(source.layout for source in self._sources))
        self.n_ignored = sum(source.n_ignored for source in self._sources)
        self.n_strays = sum(source.n_strays for source in self._sources)

    def __len__(self) -> int:
        return self._starts[-1]

    def keys(self, start: int, stop: int) -> list[str]:
        """`<source>/<key>`."""
        parts = self._slices(start, stop)
        return [f"{self._names[n]}/{key}" for n, low, high in parts for key in self._sources[n].keys(low, high)]

    def uris(self, start: int, stop: int) -> list[str]:
        """As the sources give them."""
        return [uri for n, low, high in self._slices(start, stop) for uri in self._sources[n].uris(low, high)]

    def read(self, indices: Iterable[int]) -> Iterator[Sample | Failure]:
        """Items of one source after those of another; a run of indices within one source is read in one pass."""
        for owner, run in itertools.groupby(indices, self._owner):
            start = self._starts[owner]
            found = self._sources[owner].read(index - start for index in run)
            yield from (self._renamed(self._names[owner], item) for item in found)

    def fingerprint(self, index: int) -> str:
        """As the source gives it."""
        owner = self._owner(index)
        return self._sources[owner].fingerprint(index - self._starts[owner])

    def _owner(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def _slices(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The sources that a slice of the whole touches, each with the slice of its own."""
        for n, (low, high) in enumerate(itertools.pairwise(self._starts)):
            if low < stop and start < high:
                yield n, max(start, low) - low, min(stop, high) - low

    def _renamed(self, name: str, item: Sample | Failure) -> Sample | Failure:
        return replace(item, key=f"{name}/{item.key}", group=self._group(name, item))

    def _group(self, name: str, item: Sample | Failure) -> str:
        """The group of an item, under its source's name where it is a folder."""
        group = item.group or "."
        if self._group_by == "parent" or (self._group_by is None and item.text is None):
            dot, path = ("./", group[2:]) if group.startswith("./") else ("", group)
            return f"{dot}{name}" if path == "." else f"{dot}{name}/{path}"
        return f"./{name}/{group[2:]}" if group.startswith("./") else group


def _told_apart(names: Sequence[str]) -> list[str]:
    """The names, numbered from the second on where they repeat."""
    met: Counter[str] = Counter()
    taken = set(names)
    found = []
    for name in names:
        met[name] += 1
        number = met[name]
        while number > 1 and (candidate := f"{name} ({number})") in taken:
            number += 1
        found.append(name if number == 1 else candidate)
        taken.add(found[-1])
    return found
