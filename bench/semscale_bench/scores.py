"""Case `scores`: a store of embeddings to all consistency scores.

Regime: embeddings on disk, read back from the page cache; no image is touched. Ceiling: the float64 matrix products of
all pairs inside groups, from memory, nothing else. Baseline: the published way, one pair at a time in torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from semscale.metrics.alignment import PRESETS
from semscale.model import ModelSpec, Preprocess, Shard
from semscale.scoring import score_store
from semscale.store import ShardData, Store
from semscale.store_spec import StoreSpec
from semscale.tables import METADATA
from semscale_bench.measure import Contestant

DIM, GROUP, SHARD = 512, 20, 4000  # ViT-B/32 and the published study: 512 dimensions, 20 seeds a prompt
CHECKED = 5  # groups compared with the double loop at every repeat
LOOPED = 50  # groups the one-pair-at-a-time baseline is run on


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


def contestants(store: Store) -> dict[str, Contestant]:
    """semscale, its ceiling and its baseline over one store."""
    groups = len(store.images) // GROUP
    block = store.images.take(np.arange(min(groups, 1000) * GROUP)).astype(np.float64).reshape(-1, GROUP, DIM)

    def semscale() -> int:
        found = score_store(store, PRESETS["raw"])
        for group in np.random.default_rng(len(store.images)).integers(0, groups, CHECKED):
            expected = _double_loop(store.images.take(np.arange(group * GROUP, (group + 1) * GROUP)))
            assert abs(found.scs[group] - expected) < 1e-9
        return groups

    def ceiling() -> int:
        for _ in range(groups // len(block)):
            np.matmul(block, np.swapaxes(block, 1, 2))
        return groups // len(block) * len(block)

    def one_pair_at_a_time() -> int:
        for group in block[:LOOPED]:
            _loop_in_torch(torch.from_numpy(group.astype(np.float32)))
        return min(LOOPED, len(block))

    return {"semscale": semscale, "ceiling": ceiling, "one pair at a time": one_pair_at_a_time}


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
