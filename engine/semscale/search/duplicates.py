"""Groups of near-copies: equal rows, connected components, complete linkage. Pure functions of vectors and pairs.

Rows are in the order of their keys throughout, so a group's label is its first member and every tie goes to the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.model import Array
from semscale.search.exact import pairs_above
from semscale.search.groups import Groups
from semscale.search.selected import Selected
from semscale.search.tiles import DEFAULT, Tuning
from semscale.search.vectors import Vectors

CHUNK = 4096  # rows read at a time
COMPONENT_PAIRS = 1 << 22  # of distinct rows that complete linkage holds at once: at the worst about 1 GB


def first_equal(vectors: Vectors, rows: Array) -> Array:
    """(k,) rising row numbers -> (k,) the first of them that holds the same values, told by a 128-bit digest.

    About 50 k bytes.
    """
    digests = np.empty(len(rows), "S16")
    for at in range(0, len(rows), CHUNK):
        found = vectors.take(rows[at : at + CHUNK])
        joined = b"".join(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in found)
        digests[at : at + CHUNK] = np.frombuffer(joined, "S16")
    _, first, place = np.unique(digests, return_index=True, return_inverse=True)
    return rows[first[place]]


class Components:
    """Connected components of `n` rows, of pairs that come in any order: 8 n bytes, however many pairs."""

    def __init__(self, n: int) -> None:
        self.labels = np.arange(n)  # (n,) the first row of each row's component

    def add(self, a: Array, b: Array) -> None:
        """Join the rows of (P,) pairs."""
        left, right = self.labels[a], self.labels[b]
        apart = left != right
        if not apart.any():
            return
        met, place = np.unique(np.concatenate([left[apart], right[apart]]), return_inverse=True)
        ends = place.reshape(2, -1)
        graph = scipy.sparse.coo_array((np.ones(ends.shape[1], bool), (ends[0], ends[1])), shape=(len(met), len(met)))
        count, component = scipy.sparse.csgraph.connected_components(graph, directed=False)
        first = np.full(count, len(self.labels))
        np.minimum.at(first, component, met)
        moved = np.arange(len(self.labels))
        moved[met] = first[component]
        self.labels = moved[self.labels]


def complete_linkage(n: int, a: Array, b: Array, similarity: Array) -> Array:
    """(P,) pairs of `n` rows and their similarities -> (n,) labels of groups in which every pair is one of those given.

    Textbook complete linkage (Defays 1977): two groups are worth the least similar pair between them, and the best two
    are put together until no two have all their pairs in the list. Pairs are gone through from the most similar one
    down, equal ones by row numbers; the last missing pair between two groups merges them.
    """
    owner, sizes = list(range(n)), [1] * n
    seen: list[dict[int, int]] = [{} for _ in range(n)]  # group -> other group -> pairs between them met so far
    order = np.lexsort((b, a, -similarity))
    for i, j in zip(a[order].tolist(), b[order].tolist(), strict=True):
        one, other = _root(owner, i), _root(owner, j)
        count = seen[one].get(other, 0) + 1
        seen[one][other] = seen[other][one] = count
        if count == sizes[one] * sizes[other]:
            large, small = (one, other) if len(seen[one]) >= len(seen[other]) else (other, one)
            _absorb(seen, large, small)
            sizes[large] += sizes[small]
            owner[small] = large
    roots = np.array([_root(owner, i) for i in range(n)], np.int64)
    first = np.full(n, n)
    np.minimum.at(first, roots, np.arange(n))
    return first[roots]


def _root(owner: list[int], i: int) -> int:
    while owner[i] != i:
        owner[i] = i = owner[owner[i]]
    return i


def _absorb(seen: list[dict[int, int]], large: int, small: int) -> None:
    """Count the pairs of one group as those of another."""
    del seen[large][small], seen[small][large]
    for third, count in seen[small].items():
        del seen[third][small]
        seen[large][third] = seen[third][large] = seen[large].get(third, 0) + count
    seen[small] = {}


def split(vectors: Vectors, labels: Array, threshold: float, *, tuning: Tuning = DEFAULT) -> Array:
    """(N,) components -> (N,) labels of their complete-linkage groups at `threshold`, component by component.

    Holds the pairs of one component at a time. Raises UsageError for one of more than COMPONENT_PAIRS pairs.
    """
    found = np.arange(len(labels))
    for rows in _batches(labels):
        a, b, similarity = _pairs(Selected(vectors, rows), labels[rows], threshold, tuning)
        found[rows] = rows[complete_linkage(len(rows), a, b, similarity)]
    return found


def _batches(labels: Array) -> Iterator[Array]:
    """Rising rows of some whole components of two rows or more, as many as surely fit, at least one."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    batch: list[Array] = []
    most = 0
    for rows in np.split(order, starts[1:]):
        if len(rows) < 2:
            continue
        pairs = len(rows) * (len(rows) - 1) // 2
        if batch and most + pairs > COMPONENT_PAIRS:
            yield np.sort(np.concatenate(batch))
            batch, most = [], 0
        batch.append(rows)
        most += pairs
    if batch:
        yield np.sort(np.concatenate(batch))


def _pairs(vectors: Vectors, labels: Array, threshold: float, tuning: Tuning) -> tuple[Array, Array, Array]:
    """All pairs inside components, in memory."""
    found, count = [], 0
    for pairs in pairs_above(vectors, threshold, groups=Groups("within", labels), tuning=tuning):
        found.append(pairs)
        count += len(pairs.a)
        if count > COMPONENT_PAIRS:
            raise UsageError(
                f"{len(labels)} images hang together by more than {COMPONENT_PAIRS} pairs at the threshold "
                f"{threshold:g}, more than complete linkage can hold; give a higher --threshold, or --linkage single"
            )
    a, b = (np.concatenate([getattr(pairs, name) for pairs in found]) for name in ("a", "b"))
    return a, b, np.concatenate([pairs.similarity for pairs in found])


def best_of(labels: Array, worth: Array) -> Array:
    """(N,) labels and (N,) worths -> (N,) the member of each group that is worth most, the first of equal ones."""
    order = np.lexsort((np.arange(len(labels)), -worth, labels))
    group, place = np.unique(labels[order], return_index=True)
    return order[place][np.searchsorted(group, labels)]
