"""Read, decode, encode and write, each shard's batches in order, all stages at once, everything bounded.

    read -> decode and preprocess (threads) -> batch -> encode (this thread) -> write (one thread)

Batches never cross shards, so the bytes of a shard do not depend on what ran before it. Several encoders share the
decoded images of one pass, and each writes a store of its own.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from semscale import plan
from semscale.journal import Journal
from semscale.model import Array, Encoder, Failure, Progress, Shard, Source
from semscale.pixels import Device, Found, Item, Look, Pixels, Preparer
from semscale.planning import places, unfinished
from semscale.prefetch import ahead, ordered_map
from semscale.reuse import Known
from semscale.settings import Settings
from semscale.store import ShardData, Store
from semscale.tables import METADATA
from semscale.texts import TextTower
from semscale.timing import Clock

BATCHES_AHEAD = 3  # enough to hide an uneven decode; more would only hold memory


@dataclass(frozen=True, slots=True)
class Target:
    """One encoder and the store that its embeddings go to."""

    store: Store
    encoder: Encoder
    texts: TextTower | None
    known: Sequence[Known] = ()  # embeddings to take instead of making them again, the first that has one counts


@dataclass(frozen=True, slots=True)
class Batch:
    """Part of one shard; `last` marks its final part."""

    shard: Shard
    images: list[Pixels]
    failures: list[Failure]
    last: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What became of the inputs of a call."""

    decoded: dict[str, int]  # what `Preparer.counts` says in the end
    reused: list[int]  # for each target, images whose embedding was known


def embed(
    source: Source,
    index: plan.KeyIndex,
    targets: Sequence[Target],
    *,
    settings: Settings,
    clock: Clock,
    device: Device = Device(),  # noqa: B008 (frozen)
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_shard: Callable[[int], None] = lambda _: None,
    look: Look | None = None,
) -> Done:
    """Embed every planned item that no finished shard holds.

    Stores of the same plan are filled in one pass over what they all lack, each image read and decoded once. `on_shard`
    is told the number of each shard that is finished, in order, by the thread that writes them; `look` is shown every
    image as it was decoded, by the threads that decode. What a target knows of an image is not computed again.
    """
    todo = _passes(targets, settings)
    counter = _Counter(sum(shard.count for _, shards in todo for shard in shards), on_progress)
    work = _Work(source, index, settings, clock, device, counter, on_shard, look)
    counts: Counter[str] = Counter()
    for together, shards in todo:
        counts.update(_pass(work, [targets[number] for number in together], shards))
    return Done(dict(counts), [counter.reused[target.store.path] for target in targets])


@dataclass(frozen=True, slots=True)
class _Work:
    """What every pass is given."""

    source: Source
    index: plan.KeyIndex
    settings: Settings
    clock: Clock
    device: Device
    counter: _Counter
    on_shard: Callable[[int], None]
    look: Look | None


def _passes(targets: Sequence[Target], settings: Settings) -> list[tuple[tuple[int, ...], list[Shard]]]:
    """Which targets lack which shards: those that lack the same are filled together, where they plan the same."""
    lacking: dict[tuple[str, Shard], list[int]] = {}
    for number, target in enumerate(targets):
        known = target.store.plan_digest()
        for shard in unfinished(target.store):
            if settings.owns(shard.index):
                lacking.setdefault((known, shard), []).append(number)
    passes: dict[tuple[int, ...], list[Shard]] = {}
    for (_, shard), together in lacking.items():
        passes.setdefault(tuple(together), []).append(shard)
    return list(passes.items())


def _pass(work: _Work, targets: Sequence[Target], shards: Sequence[Shard]) -> dict[str, int]:
    """Embed some shards for targets of one plan."""
    batch_size, clock = work.settings.batch_size, work.clock
    assert batch_size is not None, "who runs the pipeline knows the back end"
    with closing(_preparer(work, targets)) as prepare:
        items = _items(work, targets[0].store, shards)
        depth = 4 * prepare.threads + (0 if prepare.resizes else batch_size)
        prepared = prepare.resized(ordered_map(prepare, items, workers=prepare.threads, depth=depth))
        batches = ahead(_batches(prepared, batch_size), BATCHES_AHEAD)
        data = _encoded(batches, targets, clock, work.counter)
        for _ in ordered_map(lambda part: _write(targets, part, clock, work.on_shard), data, workers=1, depth=2):
            pass
        prepare.journal.finish()
        return prepare.counts


def _preparer(work: _Work, targets: Sequence[Target]) -> Preparer:
    specs = [target.encoder.spec.preprocess for target in targets]
    wanted = [spec for spec in specs if spec is not None]
    assert len(wanted) == len(specs), "an image tower without preprocessing"
    store, part = targets[0].store, work.settings.part
    return Preparer(
        wanted,
        store.spec.decode,
        device=work.device,
        journal=lambda slots: Journal.open(store.path, slots, "" if part is None else str(part.index)),
        settings=work.settings,
        clock=work.clock,
        find=partial(_find, targets),
        look=work.look,
    )


def _find(targets: Sequence[Target], sha256: str) -> Found | None:
    """What the targets know of an image."""
    rows = [next(filter(None, (known.find(sha256) for known in target.known)), None) for target in targets]
    sizes = [(row.width, row.height) for row in rows if row is not None]
    return Found(tuple(None if row is None else row.vector for row in rows), *sizes[0]) if sizes else None


def _items(work: _Work, store: Store, shards: Sequence[Shard]) -> Iterator[Item]:
    """Every item of the shards, read in one pass over the source."""
    asked, found_at = itertools.tee(places(store, work.index, {shard.index: shard for shard in shards}))
    found = work.source.read(place for *_, place in found_at if place >= 0)
    for shard, position, key, uri, place in asked:
        if place < 0:
            gone = Failure(key, uri, "missing", "listed by an earlier run, no longer there; restore it")
            yield Item(shard, position, gone)
        else:
            with work.clock.stage("read"):
                sample = next(found)
            yield Item(shard, position, sample)


def _batches(prepared: Iterable[tuple[Shard, Pixels | Failure]], size: int) -> Iterator[Batch]:
    """Batches of `size` images that are new, and what is known or failed between them."""
    images: list[Pixels] = []
    failures: list[Failure] = []
    seen = new = 0
    for shard, item in prepared:
        seen += 1
        (images if isinstance(item, Pixels) else failures).append(item)  # type: ignore[arg-type]
        new += isinstance(item, Pixels) and item.is_new
        last = seen == shard.count
        if last or new == size:
            yield Batch(shard, images, failures, last)
            images, failures, seen, new = [], [], 0 if last else seen, 0


def _encoded(
    batches: Iterable[Batch], targets: Sequence[Target], clock: Clock, counter: _Counter
) -> Iterator[list[ShardData]]:
    """One finished shard at a time, as each target wants it."""
    images: list[Pixels] = []
    failures: list[Failure] = []
    vectors: list[list[Array]] = [[] for _ in targets]
    for batch in batches:
        if batch.images:
            with clock.stage("encode images"):
                for number, target in enumerate(targets):
                    vectors[number].append(_vectors(batch.images, number, target.encoder))
        counter.reuse(batch.images, targets)
        images += [image._replace(pixels=(), vectors=()) for image in batch.images]
        failures += batch.failures
        counter.add(len(batch.images), len(batch.failures))
        if batch.last:
            with clock.stage("encode texts"):
                data = [
                    _shard_data(batch.shard, rows, images, failures, target)
                    for rows, target in zip(vectors, targets, strict=True)
                ]
            yield data
            images, failures, vectors = [], [], [[] for _ in targets]


def _vectors(images: Sequence[Pixels], number: int, encoder: Encoder) -> Array:
    """(B, D): what is known, and from the encoder of this number what is not, in the order of the images."""
    known = [image.vectors[number] for image in images]
    new = [image.pixels[number] for image, vector in zip(images, known, strict=True) if vector is None]
    made = iter(encoder.encode(np.stack(new)) if new else ())
    return np.stack([next(made) if vector is None else vector for vector in known])


def _shard_data(
    shard: Shard, vectors: list[Array], images: list[Pixels], failures: list[Failure], target: Target
) -> ShardData:
    texts, empty = target.texts, np.empty((0, target.encoder.spec.dim), np.float32)
    captions = list(dict.fromkeys(i.sample.text for i in images if i.sample.text is not None)) if texts else []
    row_of = {caption: row for row, caption in enumerate(captions)}
    encoded, truncated = texts.encode(captions) if texts else (empty, [])
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


def _write(targets: Sequence[Target], data: Sequence[ShardData], clock: Clock, on_shard: Callable[[int], None]) -> None:
    with clock.stage("write"):
        for target, part in zip(targets, data, strict=True):
            target.store.write(part)
    on_shard(data[0].shard.index)


class _Counter:
    """Counts items and tells whoever listens."""

    def __init__(self, total: int, tell: Callable[[Progress], None]) -> None:
        self._now = Progress(0, 0, total)
        self._tell = tell
        self.reused: Counter[Path] = Counter()  # by store
        tell(self._now)

    def add(self, ok: int, failed: int) -> None:
        self._now = Progress(self._now.done + ok + failed, self._now.failed + failed, self._now.total)
        self._tell(self._now)

    def reuse(self, images: Sequence[Pixels], targets: Sequence[Target]) -> None:
        for number, target in enumerate(targets):
            self.reused[target.store.path] += sum(image.vectors[number] is not None for image in images)
