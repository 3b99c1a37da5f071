"""Sources into stores: everything of a run that comes before its scores. Several encoders share one pass."""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale import gpu, pipeline, planning, reuse
from semscale.checked import as_json, open_checked
from semscale.encoders import BACK_ENDS, auto, load_spec, precision_of
from semscale.errors import UsageError
from semscale.indexing import told
from semscale.locks import exclusive, part
from semscale.locks import planning as planning_lock
from semscale.metrics import alignment
from semscale.model import Encoder, Progress, Source
from semscale.options import Options
from semscale.pipeline import Target
from semscale.pixels import Device, Look
from semscale.plan import KeyIndex
from semscale.reuse import Known
from semscale.settings import Settings
from semscale.store import Store
from semscale.store_spec import StoreSpec
from semscale.streaming import Stream
from semscale.texts import TextTower
from semscale.timing import Clock
from semscale.tokens import Tokenizer

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """One encoder of a run: where its towers lie, what runs them, and where its embeddings go."""

    model: Path  # an exported folder
    backend: str
    precision: str
    store: Path


@dataclass(frozen=True, slots=True)
class Filled:
    """Stores that hold every input of their source, or of this process's part, and how they came to."""

    source: Source  # as it was opened last
    stores: list[Store]  # in the order of the places
    images_per_second: float | None  # that an encoder embedded; None where there was nothing left
    changes: planning.Changes  # what became of inputs of the first store since an earlier run
    gate: list[dict[str, Any]]  # how far each tower is from float32, where it runs otherwise
    decoded: dict[str, int]  # images by who decoded them, where there was a choice
    reused: int  # images whose embedding in the first store is an earlier run's

    @property
    def store(self) -> Store:
        """The first."""
        return self.stores[0]


def place(model: Path, chosen: Options, store: Path, say: Say = lambda _: None) -> Place:
    """Choose what runs an exported model on this machine, as the options say; `say` is told why."""
    backend, precision = chosen.backend, chosen.precision
    if backend == "auto":
        able = [name for name in auto.ORDER if precision is None or precision in BACK_ENDS[name].precisions]
        if not able:
            raise UsageError(f"no back end runs precision {precision!r}; docs/backends.md lists what each has")
        choice = auto.choose(auto.facts(model, precision), able, precision)
        say(choice.why)
        backend, precision = choice.backend, choice.precision
    return Place(model, backend, precision_of(backend, precision), store)


def identity_at(place: Place, chosen: Options) -> reuse.Identity:
    """What embeddings made at a place depend on, known before the encoder is opened."""
    spec = dataclasses.replace(load_spec(place.model / "image"), precision=place.precision)
    return reuse.identity(spec, place.backend, chosen.decode, chosen.dtype)


def sized(chosen: Options, places: Sequence[Place]) -> Options:
    """The options with a batch size: the one that was asked for, else what suits every back end."""
    size = min(BACK_ENDS[each.backend].batch_size for each in places)
    return dataclasses.replace(chosen, settings=chosen.settings.with_batches_of(size))


def slug(model: Path) -> str:
    """The name of an exported model as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "--", load_spec(model / "image").name).strip("-.") or "encoder"


@contextmanager
def writing(folder: Path, settings: Settings) -> Iterator[None]:
    """Keep others out of a folder: everybody, or whoever is not another part of the same run."""
    with exclusive(folder) if settings.part is None else part(folder, settings.part):
        yield


def fill(
    opened: Iterable[Source],
    places: Sequence[Place],
    chosen: Options,
    *,
    clock: Clock,
    on_progress: Callable[[Progress], None],
    say: Say = lambda _: None,
    look: Look | None = None,
) -> Filled:
    """Embed what the stores do not hold yet, or hold of an input that has changed since, in one pass for all.

    `opened` gives the source once, or again and again as it grows; one index, where it was asked for, grows with the
    first store. `look` is shown every image as it was decoded. Embeddings of the same bytes by the same encoder are
    taken from the stores that the options name, and from shards that were set aside as one of their inputs changed.
    """
    chosen = sized(chosen, places)
    with ExitStack() as stack:
        with clock.stage("open model"):
            towers = [_open(each, chosen, stack) for each in places]
        device = _device(towers, chosen)
        for each in places:
            stack.enter_context(writing(each.store, chosen.settings))
        filling = _Filling(towers, chosen, device, clock, on_progress, say, look)
        for source in opened:
            filling.add(source)
        filling.finish()
    for line in filling.told():
        say(line)
    gate = [found for tower in towers for found in tower.gate]
    stores = [Store(each.store) for each in places]
    decoded = {**filling.decoded, **gpu.told(device)}
    return Filled(source, stores, filling.images_per_second, filling.changes, gate, decoded, filling.reused)


@dataclass(frozen=True, slots=True)
class _Towers:
    """One encoder, open."""

    place: Place
    image: Encoder
    texts: TextTower | None
    gate: list[dict[str, Any]]


class _Filling:
    """Stores that are being filled."""

    def __init__(
        self,
        towers: Sequence[_Towers],
        chosen: Options,
        device: Device,
        clock: Clock,
        on_progress: Callable[[Progress], None],
        say: Say,
        look: Look | None,
    ) -> None:
        self._look = look
        self._towers, self._chosen, self._device, self._clock = towers, chosen, device, clock
        self._on_progress, self._say = on_progress, say
        self._stream: Stream | None = None
        self._new, self._seconds, self.reused = 0, 0.0, 0
        self._known = {tower.place: _known(tower.place, chosen) for tower in towers}
        self.decoded: Counter[str] = Counter()
        self.changes = planning.Changes(0, 0, 0)

    @property
    def images_per_second(self) -> float | None:
        """None when nothing was embedded."""
        return self._new / self._seconds if self._new else None

    def add(self, source: Source) -> None:
        """Embed what the source holds and the stores do not."""
        index = planning.index_of(source)
        targets = [self._planned(source, index, tower) for tower in self._towers]
        if self._stream is None and self._chosen.index is not None:
            first = targets[0].store
            self._stream = Stream(first.path, self._chosen.index, planned=first.n_planned, say=self._say)
        before, started = [len(target.store.images) for target in targets], time.perf_counter()
        done = pipeline.embed(
            source, index, targets,
            settings=self._chosen.settings, clock=self._clock, device=self._device, on_progress=self._on_progress,
            on_shard=self._add_to_index, look=self._look,
        )  # fmt: skip
        self.decoded.update(done.decoded)
        self.reused += done.reused[0]
        self._seconds += time.perf_counter() - started
        after = [len(Store(target.store.path).images) for target in targets]
        self._new += max(new - old - same for new, old, same in zip(after, before, done.reused, strict=True))

    def told(self) -> Iterator[str]:
        """Lines on what was reused, and what could not be."""
        if self.reused:
            yield f"reused: {self.reused} embeddings of images with the same bytes, which were not computed again"
        for known in self._known.values():
            yield from known.problems()

    def finish(self) -> None:
        """Complete the index, where there is one."""
        if self._stream is not None:
            with self._clock.stage("index"):
                done = self._stream.finish()
            self._say("no vectors, so no index" if done.record is None else told(done.record))

    def _planned(self, source: Source, index: KeyIndex, towers: _Towers) -> Target:
        """A store with everything planned that the source holds, and without what has changed."""
        path, settings = towers.place.store, self._chosen.settings
        with planning_lock(path):  # parts begin together
            store = Store.create(path, _spec(source, towers, self._chosen))
            changes = planning.discard_changed(store, source, index, settings)
            planning.extend_plan(store, source, index, settings)
        if towers is self._towers[0]:
            self.changes = self.changes + changes
        store = Store(path)
        return Target(store, towers.image, towers.texts, (Known([store], changed=True), self._known[towers.place]))

    def _add_to_index(self, shard: int) -> None:
        if self._stream is not None:
            with self._clock.stage("index"):
                self._stream.add_shard(shard)


def _known(place: Place, chosen: Options) -> Known:
    """What the stores that the options name have by the encoder of a place."""
    stores = [store for path in chosen.reuse for store in reuse.stores_of(path)]
    wanted = identity_at(place, chosen)
    return Known([store for store in stores if reuse.identity_of(store.spec) == wanted])


def _device(towers: Sequence[_Towers], chosen: Options) -> Device:
    first = towers[0]
    return gpu.device_for(first.image.spec, first.place.backend, decode=chosen.decode, settings=chosen.settings)


def _open(place: Place, chosen: Options, stack: ExitStack) -> _Towers:
    gate: list[dict[str, Any]] = []
    texts = _text_tower(place, alignment.preset(chosen.clip_score).prefix, gate)
    image = _opened(place.model / "image", place, gate)
    stack.callback(image.close)
    return _Towers(place, image, texts, gate)


def _opened(path: Path, place: Place, gate: list[dict[str, Any]]) -> Encoder:
    """Open a tower that passes the gate, and note how far from float32 it is."""
    encoder, comparison = open_checked(path, backend=place.backend, precision=place.precision)
    if comparison is not None:
        gate.append({"tower": path.name, **as_json(comparison)})
    return encoder


def _text_tower(place: Place, prefix: str, gate: list[dict[str, Any]]) -> TextTower | None:
    path = place.model / "text"
    if not (path / "model.json").exists():
        return None

    def opened() -> tuple[Tokenizer, Encoder]:
        return Tokenizer(path), _opened(path, place, gate)

    spec = dataclasses.replace(load_spec(path), precision=place.precision)
    return TextTower(spec, opened, prefix=prefix)


def _spec(source: Source, towers: _Towers, chosen: Options) -> StoreSpec:
    return StoreSpec(
        source=source.uri,
        layout=source.layout,
        group_by=chosen.group_by or "text",
        decode=chosen.decode,
        dtype=chosen.dtype,
        text_prefix=towers.texts.prefix if towers.texts else "",
        backend=towers.place.backend,
        image=towers.image.spec,
        text=towers.texts.spec if towers.texts else None,
    )
