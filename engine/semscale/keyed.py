"""A store's images in the order of their keys, so that whatever compares rows breaks ties by key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import UsageError
from semscale.model import Array
from semscale.paths import checksums, name_of
from semscale.scoring import group_rows
from semscale.search.index import survey
from semscale.search.selected import Selected
from semscale.store import Store, open_store
from semscale.verify import stores_in

TOLD = ("backend", "decode", "dtype")  # settings of two stores that move similarities a little


@dataclass(frozen=True, slots=True)
class Keyed:
    """The N embedded images of a store, sorted by the code points of their keys."""

    store: Store
    keys: pa.Array  # (N,) large_string, rising
    order: Array  # (N,) row of the store of each

    @property
    def vectors(self) -> Selected:
        """(N, D) embeddings."""
        return Selected(self.store.images, self.order)

    def __len__(self) -> int:
        return len(self.order)

    def metadata(self, rows: Array, *columns: str) -> pa.Table:
        """(k,) places in the order of the keys -> k rows of some columns of the store's metadata."""
        return self.store.metadata(columns).take(pa.array(self.order[rows]))

    def groups(self) -> Array:
        """(N,) int64: the group of each image, the same as scores are of: a model and a prompt or folder."""
        return group_rows(self.store).of_row[self.order].astype(np.int64)


def by_key(store: Store) -> Keyed:
    """Sort the images of a store's finished shards. Holds all keys."""
    column = store.metadata(["key"]).column(0).cast(pa.large_string())  # over 2 GiB of keys are one array, too
    keys = pa.concat_arrays([*column.chunks, pa.array([], pa.large_string())])
    order = pc.sort_indices(keys)
    return Keyed(store, keys.take(order), order.to_numpy().astype(np.int64))


def open_keyed(path: str | Path) -> Keyed:
    """Open a store, or the only one in the results of `semscale score`.

    Raises StoreError where there is none, UsageError where there are several.
    """
    found = stores_in(path)
    if len(found) > 1:
        raise UsageError(f"{path}: has {len(found)} stores; name one of {', '.join(map(str, found))}")
    return by_key(open_store(found[0]))


def refuse_inside(path: Path | None, *stores: Keyed | None) -> None:
    """Raise UsageError where results would go among the files of a store that they are about."""
    for keyed in stores:
        if path is not None and keyed is not None:
            root, there = keyed.store.path.resolve(), path.resolve()
            if root == there or root in there.parents:
                raise UsageError(f"{path}: lies inside the store {keyed.store.path}; choose a place outside")


def count_invalid(keyed: Keyed) -> int:
    """Images whose vector is zero or not finite, which are in no pair."""
    return len(keyed) - int(survey(keyed.store.images).sum())


def comparable(one: Store, other: Store) -> list[str]:
    """What to know when vectors of two stores are compared: settings that differ and move similarities a little.

    Raises UsageError where the vectors are of different encoders or of images prepared otherwise, which makes every
    similarity meaningless, or where both are the same store.
    """
    if one.path.resolve() == other.path.resolve():
        raise UsageError(f"{one.path}: compared with itself; name another store")
    for name in ("name", "sha256", "dim", "preprocess"):
        left, right = getattr(one.spec.image, name), getattr(other.spec.image, name)
        if left != right:
            raise UsageError(
                f"{one.path} and {other.path} are of different encoders: {name} {left!r} and {right!r}; "
                f"embed both with one model"
            )
    pairs = [(name, getattr(one.spec, name), getattr(other.spec, name)) for name in TOLD]
    pairs.append(("precision", one.spec.image.precision, other.spec.image.precision))
    return [
        f"the stores differ in {name}: {left} and {right}; similarities move a little"
        for name, left, right in pairs
        if left != right
    ]


def identity(store: Store) -> str:
    """A digest of what a store holds: of its specification and the checksums of its finished shards.

    A shard without checksums counts by the size and time of change of its files.
    """
    digest = hashlib.sha256((store.path / "store.json").read_bytes())
    for index in store.readable:
        recorded = checksums(store.path, f"{index:05d}")
        digest.update(recorded.read_bytes() if recorded.exists() else _stamp(store.path, index))
    return digest.hexdigest()


def _stamp(root: Path, index: int) -> bytes:
    files = [root / name_of(kind, index) for kind in ("img_emb", "metadata", "errors")]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
    return repr(stats).encode()
