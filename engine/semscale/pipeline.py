"""Read, decode, encode and write, each shard's batches in order, all stages at once, everything bounded.

    read -> decode and preprocess (threads) -> batch -> encode (this thread) -> write (one thread)

Batches never cross shards, so the bytes of a shard do not depend on what ran before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from semscale import plan
from semscale.journal import Journal
from semscale.model import Array, Encoder, Failure, ModelSpec, Shard, Source
from semscale.pixels import Device, Item, Pixels, Preparer
from semscale.planning import places, unfinished
from semscale.prefetch import ahead, ordered_map
from semscale.settings import Settings
from semscale.store import ShardData, Store
from semscale.tables import METADATA
from semscale.texts import TextTower
from semscale.timing import Clock

BATCHES_AHEAD = 3  # enough to hide an uneven decode; more would only hold memory


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, in items."""

    done: int
    failed: int
    total: int


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
    device: Device = Device(),  # noqa: B008 (frozen)
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_shard: Callable[[int], None] = lambda _: None,
) -> dict[str, int]:
    """Embed every planned item that no finished shard holds; return what `Preparer.counts` says in the end.

    `on_shard` is told the number of each shard that is finished, in order, by the thread that writes them.
    """
    assert settings.batch_size is not None, "who runs the pipeline knows the back end"
    shards = [shard for shard in unfinished(store) if settings.owns(shard.index)]
    with closing(_preparer(encoder.spec, store, settings, device, clock)) as prepare:
        items = _items(source, store, index, shards)
        depth = 4 * prepare.threads + (settings.batch_size if device.resizer is None else 0)
        prepared = prepare.resized(ordered_map(prepare, items, workers=prepare.threads, depth=depth))
        batches = ahead(_batches(prepared, settings.batch_size), BATCHES_AHEAD)
        data = _encoded(batches, encoder, texts, clock, _Counter(sum(s.count for s in shards), on_progress))
        for _ in ordered_map(lambda shard: _write(store, shard, clock, on_shard), data, workers=1, depth=2):
            pass
        prepare.journal.finish()
        return prepare.counts


def _preparer(spec: ModelSpec, store: Store, settings: Settings, device: Device, clock: Clock) -> Preparer:
    assert spec.preprocess is not None, f"{spec.name}: an image tower without preprocessing"
    name = "" if settings.part is None else str(settings.part.index)
    return Preparer(
        spec.preprocess,
        store.spec.decode,
        device=device,
        journal=lambda slots: Journal.open(store.path, slots, name),
        settings=settings,
        clock=clock,
    )


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


def _write(store: Store, data: ShardData, clock: Clock, on_shard: Callable[[int], None]) -> None:
    with clock.stage("write"):
        store.write(data)
    on_shard(data.shard.index)


class _Counter:
    """Counts items and tells whoever listens."""

    def __init__(self, total: int, tell: Callable[[Progress], None]) -> None:
        self._now = Progress(0, 0, total)
        self._tell = tell
        tell(self._now)

    def add(self, ok: int, failed: int) -> None:
        self._now = Progress(self._now.done + ok + failed, self._now.failed + failed, self._now.total)
        self._tell(self._now)
