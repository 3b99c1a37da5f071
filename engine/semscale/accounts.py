"""What became of every input of a store, and what made the scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semscale import planning
from semscale.model import Source
from semscale.plan import remaining
from semscale.store import Store


def counts(store: Store, source: Source) -> dict[str, Any]:
    """How many inputs there were and what became of them."""
    errors = store.errors(["code"]).column("code")
    reasons = {entry["values"]: entry["counts"] for entry in errors.value_counts().to_pylist()}
    return {
        "format": 1,
        **tallied(store),
        "n_ignored": source.n_ignored,
        "n_strays": source.n_strays,
        "failures": dict(sorted(reasons.items())),
    }


def tallied(store: Store) -> dict[str, int]:
    """Inputs found, embedded, failed, and left to other parts; every one is accounted for."""
    found, ok, failed = store.n_planned, len(store.images), len(store.errors(["code"]))
    left = sum(shard.count for shard in remaining(planning.shards(store), store.readable))
    assert ok + failed + left == found, f"{ok} embedded + {failed} failed + {left} left != {found} found"
    return {"n_found": found, "n_ok": ok, "n_failed": failed, "n_left": left}


def failures(out: Path) -> pa.Table:
    """The inputs of a finished run that failed: key, reason, message."""
    table = pq.read_table(out / "images.parquet", columns=["key", "status", "reason", "message"])
    return table.filter(pc.equal(table.column("status"), "failed")).drop_columns("status")


def truncated_texts(store: Store) -> int:
    """Distinct texts that were longer than the encoder reads."""
    table = store.metadata(["caption", "text_truncated"])
    return len(table.filter(table.column("text_truncated")).column("caption").unique())


def described(store: Store) -> dict[str, Any]:
    """What made the embeddings: source, models and parameters."""
    spec = store.spec
    models = {"image": spec.image, "text": spec.text}
    return {
        "source": spec.source,
        "layout": spec.layout,
        "models": {name: None if tower is None else dataclasses.asdict(tower) for name, tower in models.items()},
        "backend": spec.backend,
        "parameters": {"group_by": spec.group_by, "decode": spec.decode, "dtype": spec.dtype},
    }
