"""Read, decode, encode and write, each shard's batches in order, all stages at once, everything bounded.

    read -> decode and preprocess (threads) -> batch -> encode (this thread) -> write (one thread)

Batches never cross shards, so the bytes of a shard do not depend on what ran before it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import torch

from semscale import plan
from semscale.decode import MAX_PIXELS, decode
from semscale.errors import InputError
from semscale.headers import jpeg_size
from semscale.isolated import decode_isolated
from semscale.journal import Journal
from semscale.model import Array, Encoder, Failure, ModelSpec, Sample, Shard, Source
from semscale.planning import places, unfinished
from semscale.prefetch import ahead, ordered_map
from semscale.preprocess import preprocess
from semscale.settings import Settings
from semscale.store import ShardData, Store
from semscale.supervise import confirmed
from semscale.tables import METADATA
from semscale.texts import TextTower
from semscale.timing import Clock

T = TypeVar("T")
BATCHES_AHEAD = 3  # enough to hide an uneven decode; more would only hold memory


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


def embed(
    source: Source,
    index: plan.KeyIndex,
    store: Store,
    encoder: Encoder,
    *,
    texts: TextTower | None,
    settings: Settings,
    clock: Clock,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Embed every planned item that no finished shard holds."""
    shards = [shard for shard in unfinished(store) if settings.owns(shard.index)]
    name = "" if settings.part is None else str(settings.part.index)
    with closing(Journal.open(store.path, settings.workers, name)) as journal:
        prepare = _Prepare(encoder.spec, store.spec.decode, settings, clock, journal)
        items = _items(source, store, index, shards)
        assert settings.batch_size is not None, "who runs the pipeline knows the back end"
        depth = 4 * settings.workers + settings.batch_size
        prepared = ordered_map(prepare, items, workers=settings.workers, depth=depth)
        batches = ahead(_batches(prepared, settings.batch_size), BATCHES_AHEAD)
        data = _encoded(batches, encoder, texts, clock, _Counter(sum(s.count for s in shards), on_progress))
        for _ in ordered_map(lambda shard: _write(store, shard, clock), data, workers=1, depth=2):
            pass
        journal.finish()


class Item(NamedTuple):
    """One planned input on its way."""

    shard: Shard
    position: int  # in the plan
    sample: Sample | Failure


def _items(source: Source, store: Store, index: plan.KeyIndex, shards: Sequence[Shard]) -> Iterator[Item]:
    """Every item of the shards, read in one pass over the source."""
    asked, found_at = itertools.tee(places(store, index, {shard.index: shard for shard in shards}))
    found = source.read(place for *_, place in found_at if place >= 0)
    for shard, position, key, uri, place in asked:
        if place < 0:
            gone = Failure(key, uri, "missing", "listed by an earlier run, no longer there; restore it")
            yield Item(shard, position, gone)
        else:
            yield Item(shard, position, next(found))


class _Prepare:
    """Turn one sample into encoder pixels, or into the reason why not. Called by many threads."""

    def __init__(self, spec: ModelSpec, mode: str, settings: Settings, clock: Clock, journal: Journal) -> None:
        assert spec.preprocess is not None, f"{spec.name}: an image tower without preprocessing"
        self._spec, self._clock, self._journal = spec.preprocess, clock, journal
        self._exact = mode == "exact"
        self._shrink_to = None if self._exact else self._spec.size
        self._max_pixels = MAX_PIXELS if settings.max_pixels is None else settings.max_pixels

    def __call__(self, item: Item) -> tuple[Shard, Pixels | Failure]:
        if isinstance(item.sample, Failure):
            return item.shard, item.sample
        with self._clock.stage("decode"):
            return item.shard, self._pixels(item.sample, item.position)

    def _pixels(self, sample: Sample, position: int) -> Pixels | Failure:
        torch.set_num_threads(1)  # per thread: the pool is the parallelism, nested threads only fight over the cores
        try:
            image = self._decoded(sample, position)
            pixels = preprocess(image, self._spec, exact=self._exact)
        except InputError as error:
            return _failure(sample, error)
        digest = hashlib.sha256(sample.image).hexdigest()
        width, height = (None if self._exact else jpeg_size(sample.image)) or (image.shape[1], image.shape[0])
        return Pixels(replace(sample, image=b""), pixels, width, height, digest)

    def _decoded(self, sample: Sample, position: int) -> Array:
        """The decoded image. What was being decoded when an earlier process died is decoded in a process of its own."""
        if position not in self._journal.suspects:
            with self._journal.decoding(position):
                return decode(sample.image, max_pixels=self._max_pixels, shrink_to=self._shrink_to)
        try:
            return decode_isolated(sample.image, max_pixels=self._max_pixels, shrink_to=self._shrink_to)
        except InputError as error:
            if error.code == "decoder-crashed":
                confirmed(sample.uri)
            raise


def _failure(sample: Sample, error: InputError) -> Failure:
    fingerprint = "" if error.code == "decoder-killed" else sample.fingerprint
    known = (sample.group, sample.text, sample.model, sample.seed, fingerprint)
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
