"""The nearest reference images of every image of a store, and how many are copies: `novelty.parquet`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale.errors import UsageError
from semscale.files import replacing
from semscale.keyed import Keyed, comparable
from semscale.model import Array, Progress, Score
from semscale.search import Tuning
from semscale.search.blocks import spans
from semscale.search.novelty import authentic, authenticity, copies, copy_share, own_similarity
from semscale.search.selected import Selected, neighbours
from semscale.search.tiles import DEFAULT

SPAN = 32_768  # images asked about at a time
ROWS = 65_536  # of the table made at a time
TABLE = pa.schema(
    [
        ("key", pa.string()),
        ("rank", pa.int32()),  # 1 for the nearest
        ("nearest_key", pa.string()),
        ("similarity", pa.float64()),
        ("copy", pa.bool_()),  # of this reference image; null without a threshold
        ("authentic", pa.bool_()),  # of the image, by its nearest; null where the reference has one image alone
    ]
)


@dataclass(frozen=True, slots=True)
class Novelty:
    """What was found of N images. Images without a valid vector have no neighbour and count in nothing."""

    ids: Array  # (N, k) positions in the order of the reference's keys, -1 where there is none
    similarity: Array  # (N, k) best first, ties by key; NaN where there is none
    own: Array  # (N,) similarity of the nearest reference image to its own nearest; NaN where there is none
    threshold: float | None

    @property
    def valid(self) -> Array:
        """(N,) bool: those that have a neighbour."""
        return self.ids[:, 0] >= 0

    def copies(self) -> Score | None:
        """Share of images that are near-copies of a reference image. None without a threshold."""
        if self.threshold is None:
            return None
        return copy_share(copies(self.similarity[self.valid, 0], self.threshold), self.threshold)

    def authenticity(self) -> Score | None:
        """AuthPct, see `search.novelty.authentic`. None where the reference has one image alone."""
        judged = self.valid & np.isfinite(self.own)
        if not judged.any():
            return None
        return authenticity(authentic(self.similarity[judged, 0], self.own[judged]))


def find_novelty(
    images: Keyed,
    reference: Keyed,
    *,
    k: int = 1,
    threshold: float | None = None,
    tuning: Tuning = DEFAULT,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Novelty:
    """Compare every image with every reference image, and the reference images found with each other.

    Raises UsageError for stores that cannot be compared, an empty reference, k below 1, and a threshold outside -1..1.
    """
    comparable(images.store, reference.store)
    if k < 1 or (threshold is not None and not -1.0 <= threshold <= 1.0):
        raise UsageError(f"k of {k}, threshold of {threshold}: give k of at least 1 and a threshold from -1 to 1")
    if not len(reference):
        raise UsageError(f"{reference.store.path}: holds no embeddings to compare with")
    found = list(_nearest(images, reference, k, tuning, on_progress))
    ids = np.concatenate([np.empty((0, k), np.int64), *(part[0] for part in found)])
    similarity = np.concatenate([np.empty((0, k)), *(part[1] for part in found)])
    own = np.full(len(ids), np.nan)
    valid = ids[:, 0] >= 0
    own[valid] = own_similarity(reference.vectors, ids[valid, 0], tuning=tuning)
    return Novelty(ids, similarity, own, threshold)


def _nearest(
    images: Keyed, reference: Keyed, k: int, tuning: Tuning, on_progress: Callable[[Progress], None]
) -> Iterator[tuple[Array, Array]]:
    n = len(images)
    for span in spans(range(n), SPAN):
        queries = Selected(images.vectors, np.arange(span.start, span.stop))
        yield neighbours(reference.vectors, queries, k, tuning=tuning)
        on_progress(Progress(span.stop, 0, n))


def write_novelty(out: Path, images: Keyed, reference: Keyed, found: Novelty) -> None:
    """Write novelty.parquet: k rows an image, in the order of keys, fewer where the reference has fewer."""
    line, rank = np.nonzero(found.ids >= 0)
    with replacing(out) as temporary, pq.ParquetWriter(temporary, TABLE) as writer:
        for at in range(0, len(line), ROWS):
            part = slice(at, at + ROWS)
            writer.write_table(_rows(images, reference, found, (line[part], rank[part])))


def _rows(images: Keyed, reference: Keyed, found: Novelty, places: tuple[Array, Array]) -> pa.Table:
    line, rank = places
    similarity, own = found.similarity[places], found.own[line]
    nothing = pa.nulls(len(line), pa.bool_())
    columns = [
        images.keys.take(pa.array(line)).cast(pa.string()),
        (rank + 1).astype(np.int32),
        reference.keys.take(pa.array(found.ids[places])).cast(pa.string()),
        similarity,
        nothing if found.threshold is None else copies(similarity, found.threshold),
        pa.array(authentic(found.similarity[line, 0], own), mask=~np.isfinite(own)),
    ]
    return pa.table(columns, schema=TABLE)
