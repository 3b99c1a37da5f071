"""Stores of given vectors, and the commands about pairs, for tests."""

import dataclasses

import numpy as np
import pyarrow as pa
from click.testing import CliRunner
from fake_model import IMAGE

from semscale.cli_pairs import dedup, novelty, pairs
from semscale.model import Shard
from semscale.store import ShardData, Store
from semscale.store_spec import StoreSpec
from semscale.tables import METADATA

COMMANDS = {"pairs": pairs, "dedup": dedup, "novelty": novelty}


def spec_of(dim, **changes):
    image = dataclasses.replace(IMAGE, dim=dim)
    return dataclasses.replace(
        StoreSpec("/images", "group/image", "text", "exact", "float32", "", "onnx", image, None), **changes
    )


def write_store(path, vectors, keys, *, shard_size=7, spec=None, **columns):
    """A finished store of (N, D) vectors; more columns of metadata as lists."""
    store = Store.create(path, spec or spec_of(vectors.shape[1]))
    n = len(keys)
    uris = columns.pop("uri", [f"/images/{key}" for key in keys])
    store.append_plan([(keys, uris, [i // shard_size for i in range(n)])])
    filled = {name: columns.get(name, [None] * n) for name in METADATA.names} | {"key": keys, "uri": uris}
    filled["group"] = columns.get("group", ["."] * n)
    table = pa.table(filled, schema=METADATA)
    for index, start in enumerate(range(0, n, shard_size)):
        part = slice(start, min(start + shard_size, n))
        shard = Shard(index, part.start, part.stop)
        rows = table.slice(part.start, part.stop - part.start)
        store.write(ShardData(shard, vectors[part], np.empty((0, vectors.shape[1]), np.float32), rows, []))
    return path


def call(command, *arguments):
    """Run a command as it is; errors are raised as they are."""
    return CliRunner().invoke(
        COMMANDS[command], [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False
    )
