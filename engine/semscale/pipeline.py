"""Read, decode, encode and write, each shard's batches in order, all stages at once, everything bounded.

    read -> decode and preprocess (threads) -> batch -> encode (this thread) -> write (one thread)

Batches never cross shards, so the bytes of a shard do not depend on what ran before it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from semscale import plan
from semscale.decode import decode
from semscale.errors import InputError, UsageError
from semscale.headers import jpeg_size
from semscale.model import Array, Encoder, Failure, Preprocess, Sample, Shard, Source
from semscale.prefetch import ahead, ordered_map
from semscale.preprocess import preprocess
from semscale.store import METADATA, ShardData, Store
from semscale.texts import TextTower
from semscale.timing import Clock

T = TypeVar("T")
BATCHES_AHEAD = 3  # enough to hide an uneven decode; more would only hold memory


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run; none of it changes a result beyond the encoder's own rounding."""

    batch_size: int = 32
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    shard_size: int = 4096
    limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "shard_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, in items."""

    done: int
    failed: int
    total: int


class Pixels(NamedTuple):
    """One decoded image, ready for the encoder, and what is known of it."""

    sample: Sample  # without its bytes
    pixels: Array  # (H, W, 3) uint8 as the encoder wants them
    width: int  # of the upright image, whatever size it was decoded at
    height: int
    sha256: str  # of the encoded file


@dataclass(frozen=True, slots=True)
class Batch:
    """Part of one shard; `last` marks its final part."""

    shard: Shard
    images: list[Pixels]
    failures: list[Failure]
    last: bool


def extend_plan(store: Store, source: Source, settings: Settings) -> None:
    """Plan what the source holds and the store does not know yet, up to `limit` items in all."""
    keys = source.keys()
    planned = store.plan()
    new = plan.unplanned(keys, planned.column("key").to_pylist())
    if settings.limit is not None:
        if settings.limit < len(planned):
            raise UsageError(
                f"limit {settings.limit}: {store.path} already holds {len(planned)}; choose another folder"
            )
        new = new[: settings.limit - len(planned)]
    if new:
        first = planned.column("shard")[-1].as_py() + 1 if len(planned) else 0
        shards = plan.cut(len(new), settings.shard_size, first_index=first)
        uris = source.uris()
        column = [shard.index for shard in shards for _ in range(shard.count)]
        store.append_plan([keys[i] for i in new], [uris[i] for i in new], column)


def discard_changed(store: Store, source: Source) -> int:
    """Forget the finished shards in which an input is no longer what it was; return how many inputs that are.

    What vanished keeps its embedding: it was there when it was scored.
    """
    index_of = {key: index for index, key in enumerate(source.keys())} if store.finished() else {}
    changed = 0
    for shard in store.finished():
        known = store.fingerprints(shard).items()
        differ = [key for key, old in known if key in index_of and source.fingerprint(index_of[key]) != old]
        if differ:
            store.discard(shard)
        changed += len(differ)
    return changed


def embed(
    source: Source,
    store: Store,
    encoder: Encoder,
    *,
    texts: TextTower | None,
    settings: Settings,
    clock: Clock,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Embed every planned item that no finished shard holds."""
    planned = store.plan()
    shards = plan.remaining(plan.from_column(planned.column("shard").to_pylist()), store.finished())
    items = _items(source, planned, shards)
    spec = encoder.spec.preprocess
    assert spec is not None, f"{encoder.spec.name}: an image tower without preprocessing"
    prepare = _Prepare(spec, store.spec.decode, clock)
    prepared = ordered_map(prepare, items, workers=settings.workers, depth=4 * settings.workers + settings.batch_size)
    batches = ahead(_batches(prepared, settings.batch_size), BATCHES_AHEAD)
    data = _encoded(batches, encoder, texts, clock, _Counter(sum(s.count for s in shards), on_progress))
    for _ in ordered_map(lambda shard: _write(store, shard, clock), data, workers=1, depth=2):
        pass


def _items(source: Source, planned: pa.Table, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Sample | Failure]]:
    index_of = pc.index_in(planned.column("key"), value_set=pa.array(source.keys(), pa.string()))
    for shard in shards:
        for position in range(shard.start, shard.stop):
            index = index_of[position].as_py()
            if index is None:
                key, uri = (planned.column(name)[position].as_py() for name in ("key", "uri"))
                yield shard, Failure(key, uri, "missing", "listed by an earlier run, no longer there; restore it")
            else:
                yield from ((shard, item) for item in source.read([index]))


class _Prepare:
    """Turn one sample into encoder pixels, or into the reason why not. Called by many threads."""

    def __init__(self, spec: Preprocess, mode: str, clock: Clock) -> None:
        self._spec, self._clock = spec, clock
        self._exact = mode == "exact"
        self._shrink_to = None if self._exact else spec.size

    def __call__(self, item: tuple[Shard, Sample | Failure]) -> tuple[Shard, Pixels | Failure]:
        shard, sample = item
        if isinstance(sample, Failure):
            return shard, sample
        with self._clock.stage("decode"):
            return shard, self._pixels(sample)

    def _pixels(self, sample: Sample) -> Pixels | Failure:
        torch.set_num_threads(1)  # per thread: the pool is the parallelism, nested threads only fight over the cores
        try:
            image = decode(sample.image, shrink_to=self._shrink_to)
            pixels = preprocess(image, self._spec, exact=self._exact)
        except InputError as error:
            return _failure(sample, error)
        digest = hashlib.sha256(sample.image).hexdigest()
        width, height = (None if self._exact else jpeg_size(sample.image)) or (image.shape[1], image.shape[0])
        return Pixels(replace(sample, image=b""), pixels, width, height, digest)


def _failure(sample: Sample, error: InputError) -> Failure:
    known = (sample.group, sample.text, sample.model, sample.seed, sample.fingerprint)
    return Failure(sample.key, sample.uri, error.code, error.message, *known)


def _batches(prepared: Iterable[tuple[Shard, Pixels | Failure]], size: int) -> Iterator[Batch]:
    images: list[Pixels] = []
    failures: list[Failure] = []
    seen = 0
    for shard, item in prepared:
        seen += 1
        (images if isinstance(item, Pixels) else failures).append(item)  # type: ignore[arg-type]
        last = seen == shard.count
        if last or len(images) == size:
            yield Batch(shard, images, failures, last)
            images, failures, seen = [], [], 0 if last else seen


def _encoded(
    batches: Iterable[Batch], encoder: Encoder, texts: TextTower | None, clock: Clock, counter: _Counter
) -> Iterator[ShardData]:
    images: list[Pixels] = []
    failures: list[Failure] = []
    vectors: list[Array] = []
    for batch in batches:
        if batch.images:
            with clock.stage("encode images"):
                vectors.append(encoder.encode(np.stack([image.pixels for image in batch.images])))
        images += [image._replace(pixels=np.empty(0, np.uint8)) for image in batch.images]
        failures += batch.failures
        counter.add(len(batch.images), len(batch.failures))
        if batch.last:
            with clock.stage("encode texts"):
                data = _shard_data(batch.shard, vectors, images, failures, encoder.spec.dim, texts)
            yield data
            images, failures, vectors = [], [], []


def _shard_data(
    shard: Shard, vectors: list[Array], images: list[Pixels], failures: list[Failure], dim: int, texts: TextTower | None
) -> ShardData:
    captions = list(dict.fromkeys(i.sample.text for i in images if i.sample.text is not None)) if texts else []
    row_of = {caption: row for row, caption in enumerate(captions)}
    encoded, truncated = texts.encode(captions) if texts else (np.empty((0, dim), np.float32), [])
    empty = np.empty((0, dim), np.float32)
    rows = [row_of.get(image.sample.text) for image in images]  # type: ignore[arg-type]
    flags = [row is not None and bool(truncated[row]) for row in rows]
    return ShardData(shard, np.concatenate([empty, *vectors]), encoded, _metadata(images, rows, flags), failures)


def _metadata(images: list[Pixels], rows: list[int | None], truncated: list[bool]) -> pa.Table:
    samples = [image.sample for image in images]
    columns = {
        "key": [s.key for s in samples],
        "uri": [s.uri for s in samples],
        "image_path": [s.uri for s in samples],  # the name that embedding-reader and its kin look for
        "caption": [s.text for s in samples],
        "group": [s.group for s in samples],
        "model": [s.model for s in samples],
        "seed": [s.seed for s in samples],
        "width": [image.width for image in images],
        "height": [image.height for image in images],
        "sha256": [image.sha256 for image in images],
        "text_row": rows,
        "text_truncated": truncated,
        "fingerprint": [s.fingerprint for s in samples],
    }
    return pa.table(columns, schema=METADATA)


def _write(store: Store, data: ShardData, clock: Clock) -> None:
    with clock.stage("write"):
        store.write(data)


class _Counter:
    """Counts items and tells whoever listens."""

    def __init__(self, total: int, tell: Callable[[Progress], None]) -> None:
        self._now = Progress(0, 0, total)
        self._tell = tell
        tell(self._now)

    def add(self, ok: int, failed: int) -> None:
        self._now = Progress(self._now.done + ok + failed, self._now.failed + failed, self._now.total)
        self._tell(self._now)
