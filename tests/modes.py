"""Images of prompts as embeddings with known modes, for tests of plans and of their simulation."""

import numpy as np
from pair_stores import write_store

DIM = 32


def images(n, *, share=0.0, scatter=0.35, seed=0, rng=None):
    """(n, DIM) unit rows around one direction, each with chance `share` around another at 60 degrees from it."""
    rng = rng or np.random.default_rng(seed)
    second = np.concatenate([[0.5, np.sqrt(0.75)], np.zeros(DIM - 2)])
    centre = np.where(rng.random((n, 1)) < share, second, np.eye(DIM)[0])
    rows = centre + scatter * rng.standard_normal((n, DIM)) / np.sqrt(DIM)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_pilot(path, prompts, *, model="m"):
    """A store of prompts, name -> (n, DIM) rows, all of one model or of those that `model` gives by name."""
    names = [name for name, rows in prompts.items() for _ in rows]
    models = [model if isinstance(model, str) else model[name] for name in names]
    rows = np.concatenate(list(prompts.values())).astype(np.float32)
    keys = [f"{name}/{i:06d}.png" for i, name in enumerate(names)]
    return write_store(path, rows, keys, shard_size=64, group=names, model=models)
