"""What a metric of a run is computed from: a store's rows, who they belong to, and what the user gave beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from semscale.measures.captions import Captions
from semscale.measures.labels import Labels
from semscale.measures.pair_pixels import PairPixels
from semscale.measures.pairs_table import PairTable
from semscale.measures.references import References
from semscale.measures.rows import StoredRows, all_rows, some_rows
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
    encode_texts: Callable[[tuple[str, ...]], tuple[Array, Array]]  # as `arrays.encode_texts`, each once
    references: References | None
    pairs: PairTable | None
    pair_pixels: PairPixels | None  # of those pairs, where a metric compares pixels
    labels: Labels | None
    captions: Captions | None
    head: Path | None
    scores: Callable[[str], Scores]  # by preset of the CLIP score, "" for the run's own; each computed once
    subsets: Mapping[str, Subset]  # "" for all images, and one for each named model
    real: Subset | None  # the reference set's embeddings by this encoder; None where there are none

    @property
    def models(self) -> Array:
        """(N,) object: the model of each row, None where it has none."""
        names = np.array([*self.groups.model, None], dtype=object)
        return names[self.groups.of_row]


def subsets_of(store: Store, groups: Groups) -> dict[str, Subset]:
    """All images, and where models have names, those of each; the very same where one model made all."""
    found = {"": Subset(all_rows(store))}
    names = sorted({name for name in groups.model if name is not None})
    number = {name: at for at, name in enumerate(names)}
    of_row = np.array([*(number.get(name, -1) for name in groups.model), -1])[groups.of_row]  # type: ignore[arg-type]
    for name in names:
        rows = np.flatnonzero(of_row == number[name])
        found[name] = found[""] if len(rows) == len(of_row) else Subset(some_rows(store, rows))
    return found
