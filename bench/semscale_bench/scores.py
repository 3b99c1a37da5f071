"""A store of random embeddings to all consistency scores: semscale, its roof, and the published way.

The roof is the float64 matrix products of all pairs inside groups, from memory, nothing else.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import torch

from semscale.filling import Filled, Place
from semscale.metrics.alignment import PRESETS
from semscale.model import ModelSpec, Preprocess, Shard, Source
from semscale.options import Options
from semscale.planning import Changes
from semscale.provenance import provenance
from semscale.report import write_report
from semscale.run import Job, finish
from semscale.scoring import score_store
from semscale.store import ShardData, Store
from semscale.store_spec import StoreSpec
from semscale.tables import METADATA
from semscale.timing import Clock
from semscale.wanted import wanted
from semscale_bench.measure import Contestant

DIM, GROUP, SHARD = 512, 20, 4000  # ViT-B/32 and the published study: 512 dimensions, 20 seeds a prompt
CHECKED = 5  # groups compared with the double loop at every repeat
LOOPED = 50  # groups the one-pair-at-a-time baseline is run on
BLOCK = 1000  # groups that the roof multiplies at once


def write_store(path: Path, images: int) -> Store:
    """A store of `images` random embeddings in groups of GROUP, similar inside a group."""
    rng = np.random.default_rng(0)
    preprocess = Preprocess(224, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    image = ModelSpec("random", "0" * 64, "image", (224, 224, 3), "uint8", DIM, True, "fp32", preprocess)
    store = Store.create(path, StoreSpec("/random", "group/image", "text", "exact", "float32", "", "none", image, None))
    keys = [f"{i // GROUP:06d}/{i % GROUP:02d}.png" for i in range(images)]
    store.append_plan([(keys, keys, [i // SHARD for i in range(images)])])
    for index, start in enumerate(range(0, images, SHARD)):
        store.write(_shard(Shard(index, start, min(start + SHARD, images)), keys, rng))
    return store


def _shard(shard: Shard, keys: list[str], rng: np.random.Generator) -> ShardData:
    mine = keys[shard.start : shard.stop]
    centres = np.repeat(rng.standard_normal((-(-len(mine) // GROUP), DIM), np.float32), GROUP, axis=0)[: len(mine)]
    vectors = centres + 0.6 * rng.standard_normal((len(mine), DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {name: [None] * len(mine) for name in METADATA.names}
    table = pa.table({**columns, "key": mine, "uri": mine, "group": [key[:6] for key in mine]}, schema=METADATA)
    return ShardData(shard, vectors, vectors[:0], table, [])


class Scores:
    """semscale, its roof and its baseline over one store; the largest error of what was checked while timing."""

    def __init__(self, folder: Path, images: int) -> None:
        """Write a store of so many embeddings into `folder`."""
        self.store = write_store(folder / "store", images)
        self.groups = images // GROUP
        rows = np.arange(min(self.groups, BLOCK) * GROUP)
        self._block = self.store.images.take(rows).astype(np.float64).reshape(-1, GROUP, DIM)
        self.worst = 0.0  # of 100

    def report(self) -> Contestant:
        """Write the report of all scores again, from files that are written here first."""
        chosen, folder = Options(), self.store.path.parent
        place = Place(folder, "none", "fp32", self.store.path)
        job = Job(folder, wanted(chosen), {"": place}, chosen, Clock(), provenance("", 0.0), lambda _: None)
        source = cast(Source, SimpleNamespace(n_ignored=0, n_strays=0))  # all that is asked when all is embedded
        finish(job, Filled(source, [self.store], None, Changes(0, 0, 0), [], {}, 0))

        def write() -> int:
            assert write_report(folder).stat().st_size > 0
            return 1

        return write

    def contestants(self, roof: str) -> dict[str, Contestant]:
        """All three by their names."""
        return {"semscale": self._semscale, roof: self._products, "one pair at a time in torch": self._one_at_a_time}

    def _semscale(self) -> int:
        found = score_store(self.store, PRESETS["raw"])
        for group in np.random.default_rng(self.groups).integers(0, self.groups, CHECKED):
            expected = _double_loop(self.store.images.take(np.arange(group * GROUP, (group + 1) * GROUP)))
            self.worst = max(self.worst, float(abs(found.scs[group] - expected)))
        return self.groups

    def _products(self) -> int:
        for _ in range(self.groups // len(self._block)):
            np.matmul(self._block, np.swapaxes(self._block, 1, 2))
        return self.groups // len(self._block) * len(self._block)

    def _one_at_a_time(self) -> int:
        for group in self._block[:LOOPED]:
            _loop_in_torch(torch.from_numpy(group.astype(np.float32)))
        return min(LOOPED, len(self._block))


def _double_loop(vectors: np.ndarray) -> float:
    rows = vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kept = [max(100 * float(rows[i] @ rows[j]), 0.0) for i in range(len(rows)) for j in range(i + 1, len(rows))]
    return sum(kept) / len(kept)


def _loop_in_torch(rows: torch.Tensor) -> float:
    kept = [
        max(100 * torch.nn.functional.cosine_similarity(rows[i], rows[j], dim=0).item(), 0.0)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
    ]
    return sum(kept) / len(kept)
