"""The pipeline as `semscale score` runs it, over one folder, with the roof of each of its stages.

A roof is the same stage function looped on input that is in memory, by as many threads as the pipeline gives it:

    read      the source's own reading, files in the page cache
    prepare   decode, preprocess and hash, by the decoding threads
    encode    the encoder on batches that are ready
    write     the store's own writing of the shards, with its checksums and fsyncs
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semscale import pipeline, planning
from semscale.cores import usable_cores
from semscale.errors import UsageError
from semscale.journal import Journal
from semscale.model import Array, Sample, Shard, Source
from semscale.pipeline import Target
from semscale.pixels import Item, Pixels, Preparer
from semscale.prefetch import ordered_map
from semscale.settings import Settings
from semscale.sources import open_source
from semscale.store import ShardData, Store
from semscale.store_spec import StoreSpec
from semscale.timing import Clock
from semscale_bench.bottleneck import Accounts
from semscale_bench.measure import Contestant
from semscale_bench.threads import processor
from semscale_bench.towers import Tower

BATCHES_A_SHARD = 2  # small shards, so that writing overlaps with the rest as in a long run
ENCODE = "encode images"  # as the pipeline's clock calls it


@dataclass(frozen=True, slots=True)
class Inputs:
    """A folder as the pipeline sees it."""

    source: Source
    settings: Settings
    tower: Tower


class Streamed:
    """Files to a store, again and again, each time into a new one; keeps the accounts of every go."""

    def __init__(self, inputs: Inputs, work: Path, reference: Array) -> None:
        """`reference` are the embeddings, (N, D), that what is stored is compared with while timing."""
        self._inputs, self._work, self._reference = inputs, work, reference
        self.accounts: list[Accounts] = []
        self.worst = 0.0  # cosine distance
        self.store = self._new()

    def __call__(self) -> int:
        """One pass; the images that were stored."""
        self.store = self._new()
        index = planning.index_of(self._inputs.source)
        planning.extend_plan(self.store, self._inputs.source, index, self._inputs.settings)
        target, clock = Target(self.store, self._inputs.tower.encoder, None), Clock()
        before, started = processor(), time.perf_counter()
        pipeline.embed(
            self._inputs.source, index, [target],
            settings=self._inputs.settings, clock=clock, device=self._inputs.tower.device,
        )  # fmt: skip
        elapsed, used = time.perf_counter() - started, processor() - before
        self.accounts.append(_accounts(self._inputs, clock, elapsed, used.process, used.libraries))
        self.store = Store(self.store.path)
        stored = self.store.images.take(np.arange(len(self.store.images)))
        self.worst = max(self.worst, cosine_distance(stored, self._reference))
        return len(stored)

    def _new(self) -> Store:
        shutil.rmtree(self._work, ignore_errors=True)
        return Store.create(self._work, _spec(self._inputs))


def inputs_of(folder: Path, count: int, tower: Tower) -> Inputs:
    """Open the first `count` images of a folder for a tower."""
    shard_size = BATCHES_A_SHARD * tower.batch_size
    settings = Settings(batch_size=tower.batch_size, shard_size=shard_size, limit=count)
    return Inputs(open_source(folder), settings, tower)


def samples_of(inputs: Inputs) -> list[Sample]:
    """Every image that can be read, its bytes in memory."""
    assert inputs.settings.limit is not None, "by `inputs_of`"
    found = inputs.source.read(range(min(len(inputs.source), inputs.settings.limit)))
    return [sample for sample in found if isinstance(sample, Sample)]


def ready_pixels(inputs: Inputs, samples: list[Sample], work: Path) -> Array:
    """Encoder input of every sample that decodes, (N, H, W, 3). Raises UsageError where none does."""
    found = [pixels for pixels in prepare(inputs, samples, work) if pixels is not None]
    if not found:
        raise UsageError(f"{inputs.source.uri}: no image that decodes; give others")
    return np.stack(found)


def prepare(inputs: Inputs, samples: list[Sample], work: Path) -> list[Array | None]:
    """Decode, preprocess and hash, by the pipeline's own threads; None for what does not decode."""
    spec = inputs.tower.encoder.spec.preprocess
    assert spec is not None, "an image tower without preprocessing"
    work.mkdir(parents=True, exist_ok=True)
    whole = Shard(0, 0, len(samples))
    items = (Item(whole, position, sample) for position, sample in enumerate(samples))

    def journal(slots: int) -> Journal:
        return Journal.open(work, slots)

    device, settings = inputs.tower.device, inputs.settings
    opened = Preparer([spec], "exact", device=device, journal=journal, settings=settings, clock=Clock())
    with closing(opened) as preparer:
        depth = 4 * preparer.threads
        made = list(preparer.resized(ordered_map(preparer, items, workers=preparer.threads, depth=depth)))
        preparer.journal.finish()
    return [item.pixels[0] if isinstance(item, Pixels) else None for _, item in made]


def roofs(
    inputs: Inputs, samples: list[Sample], pixels: Array, streamed: Streamed, work: Path
) -> dict[str, Contestant]:
    """Each stage alone, as `measure` wants it; `streamed` has made a store whose shards are written again."""
    size = inputs.tower.batch_size

    def encode() -> int:
        for start in range(0, len(pixels), size):
            inputs.tower.encoder.encode(pixels[start : start + size])
        return len(pixels)

    return {
        "read": lambda: len(samples_of(inputs)),
        "prepare": lambda: len(prepare(inputs, samples, work / "journal")),
        "encode": encode,
        "write": _writing(inputs, streamed, work / "written"),
    }


def cosine_distance(ours: Array, theirs: Array) -> float:
    """The largest 1 - cosine of the rows of two (N, D) arrays; NaN counts as infinite."""
    a, b = (rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours, theirs))
    worst = float(np.max(1 - np.einsum("nd,nd->n", a, b)))
    return worst if worst == worst else float("inf")


def _writing(inputs: Inputs, streamed: Streamed, folder: Path) -> Contestant:
    made: list[ShardData] = []

    def write() -> int:
        if not made:
            made.extend(_shards(streamed.store))
        shutil.rmtree(folder, ignore_errors=True)
        store = Store.create(folder, _spec(inputs))
        for data in made:
            store.write(data)
        return sum(len(data.vectors) for data in made)

    return write


def _shards(store: Store) -> list[ShardData]:
    """What a store holds, as it was handed over."""
    vectors, metadata, at = store.images, store.metadata(), 0
    found = []
    for shard in planning.shards(store):
        rows = slice(at, at + shard.count)
        mine = vectors.take(np.arange(rows.start, rows.stop))
        found.append(ShardData(shard, mine, mine[:0], metadata.slice(rows.start, shard.count), []))
        at = rows.stop
    return found


def _spec(inputs: Inputs) -> StoreSpec:
    source, tower = inputs.source, inputs.tower
    return StoreSpec(source.uri, source.layout, "text", "exact", "float32", "", tower.backend, tower.encoder.spec, None)


def _accounts(inputs: Inputs, clock: Clock, elapsed: float, process: float, libraries: float) -> Accounts:
    named: Callable[[dict[str, float]], dict[str, float]] = lambda seconds: {  # noqa: E731 (used twice, here)
        "encode" if name == ENCODE else name: value for name, value in seconds.items()
    }
    worked = named(clock.processor_seconds())
    worked["encode"] = worked.get("encode", 0.0) + libraries
    return Accounts(elapsed, usable_cores(), inputs.settings.workers, named(clock.seconds()), worked, process)
