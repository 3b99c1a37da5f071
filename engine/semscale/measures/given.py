"""What a metric of a run is computed from: a store's rows, who they belong to, and what the user gave beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from semscale.measures.labels import Labels
from semscale.measures.pair_pixels import PairPixels
from semscale.measures.pairs_table import PairTable
from semscale.measures.references import References
from semscale.measures.rows import StoredRows, all_rows
from semscale.metrics.moments import Moments, moments
from semscale.model import Array
from semscale.scoring import Groups, Scores
from semscale.store import Store


class Subset:
    """Embeddings of one model, or of all images, and what was already found of them."""

    def __init__(self, rows: StoredRows) -> None:
        self.rows = rows

    @cached_property
    def moments(self) -> Moments:
        """Their mean and covariance, read once."""
        return moments(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """The images under one encoder, and what to compare them with."""

    store: Store
    groups: Groups
    tower: Path  # the exported image tower
    encode_texts: Callable[[Sequence[str]], Array]  # (n, D) float32 of the same model's text tower
    references: References | None
    pairs: PairTable | None
    pair_pixels: PairPixels | None  # of those pairs, where a metric compares pixels
    labels: Labels | None
    head: Path | None
    scores: Callable[[], Scores]  # consistency and alignment of the store, computed once
    subsets: Mapping[str, Subset]  # "" for all images, and one for each named model
    real: Subset | None  # the reference set's embeddings by this encoder; None where there are none

    @property
    def models(self) -> Array:
        """(N,) object: the model of each row, None where it has none."""
        names = np.array([*self.groups.model, None], dtype=object)
        return names[self.groups.of_row]


def subsets_of(store: Store, groups: Groups) -> dict[str, Subset]:
    """All images, and where models have names, those of each."""
    found = {"": Subset(all_rows(store))}
    names = np.array([*groups.model, None], dtype=object)[groups.of_row]
    for name in sorted({name for name in groups.model if name is not None}):
        found[name] = Subset(StoredRows(store.images, np.flatnonzero(names == name)))
    return found
