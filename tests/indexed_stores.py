"""Small stores written directly, for the tests of indexes and searches."""

import hashlib

import numpy as np
import pyarrow as pa

from semscale.model import Failure, ModelSpec, Preprocess, Shard
from semscale.store import ShardData, Store
from semscale.store_spec import StoreSpec
from semscale.tables import METADATA

DIM = 16


def clustered(n, dim=DIM, seed=0, centres=40, spread=0.5):
    """(n, dim) float32 rows around some centres, of length 1."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((centres, dim))[rng.integers(0, centres, n)] + spread * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_store(path, shards, *, dim=DIM, name="some/model", uris=None, keys=None):
    """A store with the rows of each of `shards`; key i is `g<i // 10>/<i>.png` unless `keys` says otherwise."""
    preprocess = Preprocess(16, 16, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    image = ModelSpec(name, "0" * 64, "image", (16, 16, 3), "uint8", dim, True, "fp32", preprocess)
    spec = StoreSpec("/source", "group/image", "text", "exact", "float32", "", "none", image, None)
    for rows in shards:
        append(path, rows, spec=spec, uris=uris, keys=keys)
    return Store(path)


def append(path, rows, *, spec=None, uris=None, keys=None):
    """Plan and write one more shard of a store."""
    store = Store.create(path, spec or Store(path).spec)
    number, start = store.n_shards, store.n_planned
    numbers = range(start, start + len(rows))
    names = [keys[i] for i in numbers] if keys else [f"g{i // 10:04d}/{i:06d}.png" for i in numbers]
    places = [uris[i] for i in numbers] if uris else names
    store.append_plan([(names, places, [number] * len(rows))])
    store.write(shard_data(Shard(number, start, start + len(rows)), rows, names, places))
    return number


def shard_data(shard, rows, keys, uris):
    """The rows of a shard with what a table says of them."""
    columns = {name: [None] * len(keys) for name in METADATA.names}
    columns |= {"key": keys, "uri": uris, "group": [key.partition("/")[0] for key in keys]}
    columns["sha256"] = [hashlib.sha256(_bytes(uri)).hexdigest() for uri in uris]
    return ShardData(shard, rows, rows[:0], pa.table(columns, schema=METADATA), [])


def rewrite(path, index, rows):
    """Write a finished shard again with other rows, as many as it had."""
    store = Store(path)
    keys = store.plan().filter(pa.compute.equal(store.plan().column("shard"), index)).column("key").to_pylist()
    start = store.plan().column("key").to_pylist().index(keys[0])
    store.write(shard_data(Shard(index, start, start + len(keys)), rows, keys, keys))


def append_failures(path, messages):
    """One more shard, all of whose inputs failed."""
    store = Store(path)
    number, start = store.n_shards, store.n_planned
    keys = [f"bad/{start + i}.png" for i in range(len(messages))]
    store.append_plan([(keys, keys, [number] * len(keys))])
    failures = [Failure(key, key, "truncated", message) for key, message in zip(keys, messages, strict=True)]
    empty = np.empty((0, store.spec.image.dim), np.float32)
    shard = Shard(number, start, start + len(keys))
    store.write(ShardData(shard, empty, empty, METADATA.empty_table(), failures))
    return keys


def _bytes(uri):
    try:
        with open(uri, "rb") as file:
            return file.read()
    except OSError:
        return b""
