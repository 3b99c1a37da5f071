"""What generated images are compared with: stores of real images, results that hold several, or saved statistics.

A file of statistics is a NumPy archive, readable without semscale: `mu` (D,), `sigma` (D, D) and `n`, as other programs
of this kind name them, `rows` where there were fewer images than dimensions, and `encoder`, JSON that says what made
them. Another encoder, or another way of resizing, is refused: the numbers would look like any others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semscale.accounts import tallied
from semscale.errors import StoreError, UsageError
from semscale.files import replacing
from semscale.measures.rows import all_rows
from semscale.metrics.moments import Moments, moments
from semscale.model import Array, ModelSpec
from semscale.store import Store, open_store
from semscale.verify import stores_in

SUFFIX = ".npz"
FORMAT = 1
IDENTITY = ("sha256", "dim", "preprocess", "normalized")  # of an encoder: what makes two embeddings comparable


@dataclass(frozen=True, slots=True)
class Statistics:
    """The moments of a reference set, from a file."""

    path: Path
    encoder: ModelSpec
    moments: Moments


@dataclass(frozen=True, slots=True)
class References:
    """Every reference that was given."""

    stores: tuple[Store, ...]
    statistics: tuple[Statistics, ...]

    def store(self, encoder: ModelSpec) -> Store | None:
        """The stored embeddings that this encoder made, or None."""
        return next((store for store in self.stores if same(store.spec.image, encoder)), None)

    def saved(self, encoder: ModelSpec) -> Moments | None:
        """The saved statistics of embeddings that this encoder made, or None."""
        return next((one.moments for one in self.statistics if same(one.encoder, encoder)), None)

    def refuse_other(self, encoder: ModelSpec, *, rows: bool) -> None:
        """Raise UsageError unless there is a reference that this encoder made; `rows`: of single embeddings."""
        if self.store(encoder) is not None or (not rows and self.saved(encoder) is not None):
            return
        if rows and self.saved(encoder) is not None:
            raise UsageError(
                f"{self.statistics[0].path}: holds a mean and a covariance alone, and this metric compares single "
                "embeddings; give the store that it was made from"
            )
        made = [f"{s.path} by {shown(s.spec.image)}" for s in self.stores]
        made += [f"{s.path} by {shown(s.encoder)}" for s in self.statistics]
        raise UsageError(
            f"no reference made by {shown(encoder)}; there is {'; '.join(made)}. Embed the reference set with the same "
            "encoder, or give its folder of images"
        )


def same(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether two encoders give comparable embeddings: weights, sizes and preprocessing are the same."""
    return all(getattr(one, name) == getattr(other, name) for name in IDENTITY)


def shown(spec: ModelSpec) -> str:
    """An encoder as a message names it."""
    resize = "" if spec.preprocess is None else f", {spec.preprocess.filter} to {spec.preprocess.size}"
    return f"{spec.name} ({spec.sha256[:12]}{resize})"


def is_reference(path: Path) -> bool:
    """Whether this is a store, results with stores or a file of statistics; images are none of these."""
    if path.suffix == SUFFIX:
        return True
    try:
        return bool(stores_in(path))
    except StoreError:
        return False


def open_references(paths: Sequence[Path]) -> References:
    """Open stores, results of `semscale score` and files of statistics.

    Raises UsageError where there is none, where a store is not finished, and where two are of one encoder.
    """
    files = [path for path in paths if path.suffix == SUFFIX]
    stores = [open_store(found) for path in paths if path.suffix != SUFFIX for found in stores_in(path)]
    for number, store in enumerate(stores):
        _refuse_unfinished(store)
        for other in stores[:number]:
            if same(store.spec.image, other.spec.image):
                raise UsageError(f"{other.path} and {store.path}: two references by {store.spec.image.name}; give one")
    return References(tuple(stores), tuple(read_statistics(path) for path in files))


def _refuse_unfinished(store: Store) -> None:
    """Raise UsageError for a store without embeddings, and for one of a run that has not ended."""
    if not len(store.images):
        raise UsageError(f"{store.path}: holds no embeddings; `semscale score` into it first")
    if left := tallied(store)["n_left"]:
        raise UsageError(f"{store.path}: {left} of its images are still to be embedded; let that run end first")


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file of statistics was made from."""

    n: int
    n_invalid: int  # embeddings that are not finite, which count in nothing
    dim: int
    encoder: str


def save_reference(path: Path, out: Path) -> Saved:
    """Write the statistics of a store, or of the only one in some results, to `out`.

    Raises UsageError where there are several, where `out` has another suffix than .npz, and for under two embeddings.
    """
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: statistics are a NumPy archive; give a name that ends in {SUFFIX}")
    found = stores_in(path)
    if len(found) > 1:
        raise UsageError(f"{path}: holds {len(found)} stores; give one of {', '.join(map(str, found))}")
    store = open_store(found[0])
    _refuse_unfinished(store)
    made = moments(all_rows(store))  # type: ignore[arg-type]
    if made.n < 2:
        raise UsageError(f"{store.path}: has {made.n} valid embeddings, and a covariance takes two")
    save_statistics(out, store.spec.image, made)
    return Saved(made.n, made.n_invalid, made.dim, shown(store.spec.image))


def save_statistics(path: Path, encoder: ModelSpec, moments: Moments) -> None:
    """Write the moments of a reference set, whole or not at all."""
    few = {} if moments.rows is None else {"rows": moments.rows}
    facts = {"n": moments.n, "n_invalid": moments.n_invalid, "format": FORMAT, "encoder": encoder.to_json()}
    arrays: dict[str, Any] = {"mu": moments.mean, "sigma": moments.covariance, **few, **facts}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_statistics(path: Path) -> Statistics:
    """Read a file that `semscale reference` wrote. Raises UsageError for any other, saying what is missing."""
    try:
        with np.load(path, allow_pickle=False) as loaded:
            found = {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; make one with `semscale reference STORE -o {path.name}`") from error
    except Exception as error:  # a damaged archive raises anything
        raise UsageError(f"{path}: not a file of reference statistics ({error}); make it again") from error
    return _statistics(path, found)


def _statistics(path: Path, found: dict[str, Array]) -> Statistics:
    if "encoder" not in found:
        raise UsageError(
            f"{path}: does not say which encoder and which resizing made it, so nothing can be compared with it; make "
            "one with `semscale reference STORE -o FILE`"
        )
    if int(found["format"]) != FORMAT:
        raise UsageError(f"{path}: written by another version of semscale; make it again")
    encoder = ModelSpec.from_json(str(found["encoder"]), where=str(path))
    made = Moments.given(found["mu"], found["sigma"], int(found["n"]))
    if made.dim != encoder.dim:
        raise UsageError(f"{path}: {made.dim} dimensions, and its encoder gives {encoder.dim}; make it again")
    rows = found.get("rows")
    return Statistics(path, encoder, dataclasses.replace(made, rows=rows, n_invalid=int(found["n_invalid"])))
