"""The stored images nearest to a text, a picture, or another stored image."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from semscale.decode import decode
from semscale.encoders import load_spec
from semscale.errors import InputError, MissingDependencyError, StoreError, UsageError
from semscale.files import sha256
from semscale.indexing import open_index, present, record_file, told
from semscale.model import Array, ModelSpec
from semscale.search import top_k
from semscale.search.index import Index, rescored
from semscale.search.record import Record, read_record
from semscale.shard_rows import describe, find_failure, find_row
from semscale.store import Store, open_store
from semscale.verify import stores_in

KINDS = ("text", "image", "key")
# What `--model` would find again: a hub id, the encoder that comes along, or those of packages.
NAMED = re.compile(r"demo|(?:fid-inception|efficientnet-lite)[a-z0-9-]*|[\w.-]+/[\w.-]+")
TOWER_FIELDS = ("sha256", "preprocess", "tokens", "input_shape", "dim", "normalized")
COLUMNS = ("key", "group", "uri", "sha256")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for."""

    kind: Literal["text", "image", "key"]
    value: str  # the text, the path of an image file, or the key of a stored image
    model: str | None = None  # what encodes it, as `--model`; None for the model that the store names
    backend: str = "onnx"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown kind of query {self.kind!r}; choose from {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class Hit:
    """One image that was found."""

    rank: int  # from 1
    similarity: float  # float64 cosine of the stored embedding and the query's
    key: str
    group: str
    uri: str
    sha256: str | None  # of the file, when it was embedded


@dataclass(frozen=True, slots=True)
class Subject:
    """A picture that was looked for."""

    key: str  # of a stored image, or the path of a file
    uri: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a query."""

    store: Path
    query: Query
    hits: list[Hit]  # best first, ties by the order of the store
    n: int  # vectors that were searched
    index: str | None  # the kind that was used; None where every row was compared
    recall: float | None  # of the index, as it was measured
    how: str  # the same in words
    note: str  # a warning that comes with the model
    subject: Subject | None  # the picture that was looked for, where it is one


def the_store(path: str | Path) -> Path:
    """The store at `path`, or the only one in the results of `score`. Raises UsageError where there are several."""
    found = stores_in(path)
    if len(found) > 1:
        raise UsageError(f"{path}: holds {len(found)} stores; give one of {', '.join(map(str, found))}")
    return found[0]


def search(path: str | Path, query: Query, *, k: int = 20, exact: bool = False, say: Say = lambda _: None) -> Found:
    """The k stored images most similar to the query, itself left out where it is one of them.

    Uses the index with the best measured recall that is up to date, and compares with every row where there is none or
    `exact` says so; similarities are the float64 cosines of the stored vectors either way. Raises UsageError for a
    query that the store cannot answer, with the reason.
    """
    if k < 1:
        raise UsageError(f"k of {k}; give at least 1")
    store = open_store(the_store(path))
    row = _row_of(store, query.value) if query.kind == "key" else -1
    vector = _vector(store, query, row, say)
    opened = None if exact else _index(store, say)
    if opened is None:
        rows, similarity = _exact(store, vector, k, without=row)
        how = f"exact: compared with all {len(store.images)} vectors"
    else:
        rows, similarity = rescored(opened[0], store.images, vector, k, without=row)
        how = told(opened[1])
    return Found(
        store.path,
        query,
        _hits(store, rows.tolist(), similarity),
        n=len(store.images) if opened is None else opened[1].n_indexed,
        index=None if opened is None else opened[1].shape.kind,
        recall=None if opened is None else opened[1].recall,
        how=how,
        note=store.spec.image.note,
        subject=_subject(store, query, row),
    )


def _subject(store: Store, query: Query, row: int) -> Subject | None:
    if query.kind == "key":
        return Subject(**describe(store, [row], ("key", "uri", "sha256"))[0])
    if query.kind == "image":
        return Subject(query.value, query.value, sha256(Path(query.value)))
    return None


def _hits(store: Store, rows: Sequence[int], similarity: Array) -> list[Hit]:
    known = describe(store, rows, COLUMNS)
    return [
        Hit(rank, float(value), **{**fields, "group": fields["group"] or ""})
        for rank, (fields, value) in enumerate(zip(known, similarity, strict=True), start=1)
    ]


def _exact(store: Store, vector: Array, k: int, *, without: int) -> tuple[Array, Array]:
    found = next(iter(top_k(store.images, min(k + 1, len(store.images)), queries=vector[None])))
    kept = (found.ids[0] >= 0) & (found.ids[0] != without)
    return found.ids[0][kept][:k], found.similarity[0][kept][:k]


def _index(store: Store, say: Say) -> tuple[Index, Record] | None:
    """The index that finds most among those that are up to date; where there is none, say what is wrong with them."""
    refused = []
    for kind in sorted(present(store.path), key=lambda kind: -_recall(store, kind)):
        try:
            return open_index(store, kind)
        except (StoreError, MissingDependencyError) as error:
            refused.append(f"{kind} index left aside: {error}")
    for line in refused:
        say(line)
    return None


def _recall(store: Store, kind: str) -> float:
    try:
        return float(np.nan_to_num(read_record(record_file(store.path, kind)).recall))
    except StoreError:  # opening it says what is wrong
        return -1.0


# -- the query's vector -----------------------------------------------------------------------------------------------


def _row_of(store: Store, key: str) -> int:
    row = find_row(store, key)
    if row is not None:
        return row
    failed = find_failure(store, key)
    why = "no image of this key; keys are paths relative to the source" if failed is None else f"not embedded: {failed}"
    raise UsageError(f"{key!r}: {why}")


def _vector(store: Store, query: Query, row: int, say: Say) -> Array:
    """(D,) float32."""
    if query.kind == "key":
        vector = store.images.take(np.array([row]))[0]
        if not np.isfinite(vector).all() or not vector.any():
            raise UsageError(f"{query.value!r}: its embedding is zero or not finite, so nothing is similar to it")
        return vector
    return _of_text(store, query, say) if query.kind == "text" else _of_image(store, query)


def _of_text(store: Store, query: Query, say: Say) -> Array:
    from semscale.arrays import encode_texts

    if store.spec.text is None:
        raise UsageError(f"{store.path}: its model {store.spec.image.name} reads no texts; search by image or key")
    folder = _model(store, query)
    _refuse_other(store, load_spec(folder / "text"), store.spec.text)
    text = store.spec.text_prefix + query.value
    vectors, truncated = encode_texts([text], model=str(folder), backend=query.backend)
    if truncated[0]:
        say("the text is longer than the encoder reads; its end is left out")
    return vectors[0]


def _of_image(store: Store, query: Query) -> Array:
    from semscale.arrays import encode_images

    try:
        pixels = decode(Path(query.value).read_bytes())
    except OSError as error:
        raise UsageError(f"{query.value}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise UsageError(f"{query.value}: {error.message}") from error
    return encode_images([pixels], model=str(_model(store, query)), backend=query.backend)[0]


def _model(store: Store, query: Query) -> Path:
    """The exported folder of the model that the store was made with. Raises UsageError for any other."""
    from semscale.run import exported_folder

    name = query.model or store.spec.image.name
    if query.model is None and not NAMED.fullmatch(name):
        raise UsageError(f"{store.path}: made with a model called {name!r}; say where it is with --model")
    folder = exported_folder(name)
    _refuse_other(store, load_spec(folder / "image"), store.spec.image)
    return folder


def _refuse_other(store: Store, given: ModelSpec, used: ModelSpec) -> None:
    differing = [name for name in TOWER_FIELDS if getattr(given, name) != getattr(used, name)]
    if differing:
        raise UsageError(
            f"{given.name}: not the model of {store.path}, which is {used.name} "
            f"(the {given.kind} towers differ in {', '.join(differing)}); give that one with --model"
        )


def as_json(found: Found) -> dict[str, object]:
    """What `semscale search --json` prints."""
    values = {name: value for name, value in dataclasses.asdict(found).items() if name != "subject"}
    query = {"kind": found.query.kind, "value": found.query.value}
    return {**values, "store": str(found.store), "query": query}
