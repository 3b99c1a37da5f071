"""A source to scores on disk: the main job, as Python calls. The command line is a thin layer over this."""

from __future__ import annotations

import dataclasses
import html
import importlib
import importlib.util
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale import gpu, outputs, pipeline, planning, sources, streaming
from semscale.accounts import counts, described, truncated_texts
from semscale.checked import as_json, open_checked
from semscale.encoders import BACK_ENDS, DEFAULT_MODEL, auto, find_exported, load_spec, precision_of
from semscale.errors import MissingDependencyError, StoreLockedError, UsageError
from semscale.follow import Watch, followed
from semscale.indexing import told
from semscale.locks import exclusive, part
from semscale.locks import planning as planning_lock
from semscale.metrics import alignment
from semscale.model import DECODES, DTYPES, Encoder, Interval, Score, Source
from semscale.pipeline import Progress
from semscale.plan import KeyIndex
from semscale.provenance import provenance
from semscale.report import write_report
from semscale.scoring import score_store
from semscale.settings import Settings
from semscale.sources import Location, open_source
from semscale.store import Store
from semscale.store_spec import StoreSpec
from semscale.streaming import Stream
from semscale.summary import all_scores
from semscale.texts import TextTower
from semscale.timing import Clock
from semscale.tokens import Tokenizer


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that decides what a run computes, but where from and where to."""

    model: str = DEFAULT_MODEL  # hub id, checkpoint folder, exported folder, or "demo"
    backend: str = "auto"  # a name of encoders.BACK_ENDS, or whatever runs best here
    precision: str | None = None  # None for the back end's own
    clip_score: str = "torchmetrics"  # a preset of metrics.alignment
    group_by: str | None = None  # None: by text, else by parent folder
    decode: str = "exact"
    dtype: str = "float32"  # of the stored vectors
    settings: Settings = dataclasses.field(default_factory=Settings)
    follow: float | None = None  # go on until the producer ends, or nothing new came for so many seconds
    index: str | None = None  # kind of index to keep of the store meanwhile, or "auto"

    def __post_init__(self) -> None:
        if self.follow is not None and self.settings.part is not None:
            raise UsageError("--follow and --shards: parts need a source that is complete; leave one out")
        if self.index is not None and self.settings.part is not None:
            raise UsageError(
                "--index and --shards: one process cannot index what others write; leave out --index, and run "
                "`semscale index STORE` when all parts are done"
            )
        alignment.preset(self.clip_score)
        for name, value, known in (("decode", self.decode, DECODES), ("dtype", self.dtype, DTYPES)):
            if value not in known:
                raise UsageError(f"unknown {name} {value!r}; choose from {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Filled:
    """A store that holds every input of its source, or of this process's part, and how it came to."""

    source: Source  # as it was opened last
    store: Store
    images_per_second: float | None  # None when there was nothing left to embed
    changes: planning.Changes  # what became of inputs since an earlier run
    gate: list[dict[str, Any]]  # how far each tower is from float32, where it runs otherwise
    decoded: dict[str, int]  # images by who decoded them, where there was a choice


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its folder, and what summary.json says."""

    out: Path
    summary: dict[str, Any]

    @property
    def scores(self) -> dict[str, Score]:
        """Every overall score by name."""
        return {name: _score(name, entry) for name, entry in self.summary["scores"].items()}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{name}</td><td>{score.value:.2f}</td><td>{_ends(score.interval)}</td><td>{score.n}</td></tr>"
            for name, score in self.scores.items()
        )
        head = "<tr><th>score</th><th>value</th><th>95 % interval</th><th>n</th></tr>"
        note = html.escape(self.summary["models"]["image"]["note"])
        return f"<table>{head}{rows}</table><p>{html.escape(str(self.out / 'report.html'))}</p><p>{note}</p>"


def score(
    source: Location | Sequence[Location],
    *,
    out: str | Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    command: str = "",
    **options: Any,
) -> Run:
    """Embed the images of `source`, compute every score and write summary.json, tables and report.html into `out`.

    `options` are the fields of Options. A run that was interrupted goes on where it was; one that is complete only
    scores again. With `Settings.part` the scores come from the process whose part is finished last; the summary of the
    others has none. Raises a SemscaleError that says what is wrong before any work where it can.
    """
    chosen, started, clock = _checked(options), time.time(), Clock()
    folder = Path(out) if out is not None else default_out(source)
    with clock.stage("list"):
        opened = open_sources(source, chosen, leave_out=folder)
    model = _prepared(chosen, say)
    chosen = resolved(dataclasses.replace(chosen, model=str(model)), model, say)
    with _writing(folder, chosen.settings):
        store = folder / "stores" / _slug(model)
        filled = fill(opened, store, chosen, clock=clock, on_progress=on_progress, say=say)
        if chosen.settings.part is None:
            return _finished(folder, filled, chosen, clock, provenance(command, started))
    summary = {**counts(filled.store, filled.source), "out": str(folder), "scores": {}}
    if summary["n_left"]:
        return Run(folder, summary)
    try:
        with exclusive(folder):
            return _finished(folder, filled, chosen, clock, provenance(command, started))
    except StoreLockedError:  # another part, finished at the same moment, does it
        return Run(folder, summary)


def _finished(folder: Path, filled: Filled, chosen: Options, clock: Clock, made: dict[str, Any]) -> Run:
    """Compute every score of a complete store, and write the results."""
    store, convention = filled.store, alignment.preset(chosen.clip_score)
    with clock.stage("score"):
        scores = score_store(store, convention)
        outputs.write_groups(folder / "groups.parquet", store, scores, convention)
        outputs.write_images(folder / "images.parquet", store, scores)
    summary = {
        **counts(store, filled.source),
        "n_groups": len(scores.groups),
        "n_invalid": int((~scores.row_valid).sum()),
        "n_truncated_texts": truncated_texts(store),
        "n_changed": filled.changes.changed,
        "n_retried": filled.changes.retried,
        "n_vanished": filled.changes.vanished,
        "images_per_second": filled.images_per_second,
        "out": str(folder),
        "scores": all_scores(scores, convention),
        **_described(store, chosen),
        "seconds": {**clock.seconds(), "total": clock.total()},
        "provenance": {**made, "gate": filled.gate, "decoded": filled.decoded},
    }
    outputs.write_summary(folder / "summary.json", summary)
    write_report(folder)
    return Run(folder, outputs.finite(summary))


def embed(
    source: Location | Sequence[Location],
    store: str | Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Store:
    """Embed the images of `source` into the folder `store`; resumes. `options`: fields of Options.

    With the option `index` there is a fresh index in the end, of whatever the store holds. `say` is told what is done.
    """
    chosen = _checked(options)
    opened = open_sources(source, chosen, leave_out=Path(store))
    model = _prepared(chosen, say)
    chosen = resolved(dataclasses.replace(chosen, model=str(model)), model, say)
    return fill(opened, Path(store), chosen, clock=Clock(), on_progress=on_progress, say=say).store


def _checked(options: dict[str, Any]) -> Options:
    """The options, when everything that they need beside the model is there."""
    chosen = Options(**options)
    gpu.check(chosen.decode)
    if chosen.index is not None:
        streaming.check(chosen.index)
    return chosen


def open_sources(
    source: Location | Sequence[Location], chosen: Options, *, leave_out: Path | None = None
) -> Iterable[Source]:
    """The source as it is now, and where it is followed, as it grows."""
    if chosen.follow is None:
        return [open_source(source, group_by=chosen.group_by, leave_out=leave_out)]
    if sources.is_read_once(source):
        raise UsageError("--follow: standard input cannot be read again; give a folder")
    return followed(
        Watch(
            open=lambda: open_source(source, group_by=chosen.group_by, leave_out=leave_out),
            ended=lambda: sources.ended(source),
            quiet_seconds=chosen.follow,
        )
    )


def default_out(source: Location | Sequence[Location]) -> Path:
    """Where the scores of a source go when nobody says: `./semscale-<its name>`."""
    return Path(f"semscale-{sources.name_of(source)}")


def exported_folder(model: str) -> Path:
    """An exported folder for what `--model` says; exports a checkpoint first where that is needed."""
    found = find_exported(Path(model)) if model != "demo" else None
    if found is not None:
        return found
    export_package()
    return importlib.import_module("semscale_export.cache").ensure_exported(model)


def _prepared(chosen: Options, say: Callable[[str], None] = lambda _: None) -> Path:
    """An exported folder, with TensorRT engines where they were asked for."""
    if chosen.backend != "tensorrt" or find_exported(Path(chosen.model)) is not None:
        return exported_folder(chosen.model)
    engines = export_engines()
    settings = engines.EngineSettings(precision=precision_of("tensorrt", chosen.precision))
    found: Path = engines.ensure_engines(chosen.model, settings, say=say)
    return found


def export_package() -> Any:
    """The part of semscale that exports checkpoints, or an error that says how to get what it needs."""
    for needed in ("optimum", "transformers", "onnx"):
        if importlib.util.find_spec(needed) is None:
            raise MissingDependencyError("exporting a checkpoint", needed, "export")
    return importlib.import_module("semscale_export")


def export_engines() -> Any:
    """The part of semscale that builds TensorRT engines."""
    export_package()
    return importlib.import_module("semscale_export.engines")


def check_export(folder: Path) -> list[Any]:
    """Every back end and precision that runs here compared with float32, on the exported towers in `folder`."""
    export_package()
    if find_exported(folder) is None:
        raise UsageError(f"{folder}: not a folder that `semscale export` made")
    return importlib.import_module("semscale_export.parity").check(folder)


def fill(
    opened: Iterable[Source],
    path: Path,
    chosen: Options,
    *,
    clock: Clock,
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None] = lambda _: None,
) -> Filled:
    """Embed what the store at `path` does not hold yet, or holds of an input that has changed since.

    `opened` gives the source once, or again and again as it grows; one index, where it was asked for, grows with it.
    """
    folder = _prepared(chosen)
    chosen = resolved(chosen, folder)
    gate: list[dict[str, Any]] = []
    texts = _text_tower(folder, chosen, gate)
    with clock.stage("open model"):
        encoder = _opened(folder / "image", chosen, gate)
    decoded: Counter[str] = Counter()
    new, seconds, changes = 0, 0.0, planning.Changes(0, 0, 0)
    stream: Stream | None = None
    try:
        device = gpu.device_for(encoder.spec, chosen.backend, decode=chosen.decode, settings=chosen.settings)
        with _writing(path, chosen.settings):
            for source in opened:
                store, index, found = _planned(source, path, _spec(source, encoder, chosen, texts), chosen.settings)
                changes = changes + found
                if stream is None and chosen.index is not None:
                    stream = Stream(path, chosen.index, planned=store.n_planned, say=say)
                before, started = len(store.images), time.perf_counter()
                counted = pipeline.embed(
                    source, index, store, encoder,
                    texts=texts, settings=chosen.settings, clock=clock, device=device, on_progress=on_progress,
                    on_shard=_adder(stream, clock),
                )  # fmt: skip
                decoded.update(counted)
                seconds += time.perf_counter() - started
                new += len(Store(path).images) - before
            if stream is not None:
                _finish(stream, clock, say)
    finally:
        encoder.close()
    return Filled(source, Store(path), new / seconds if new else None, changes, gate, {**decoded, **gpu.told(device)})


def _adder(stream: Stream | None, clock: Clock) -> Callable[[int], None]:
    """What is to be done with each finished shard."""

    def add(shard: int) -> None:
        if stream is not None:
            with clock.stage("index"):
                stream.add_shard(shard)

    return add


def _finish(stream: Stream, clock: Clock, say: Callable[[str], None]) -> None:
    with clock.stage("index"):
        done = stream.finish()
    say("no vectors, so no index" if done.record is None else told(done.record))


def _planned(
    source: Source, path: Path, spec: StoreSpec, settings: Settings
) -> tuple[Store, KeyIndex, planning.Changes]:
    """The store with everything planned that the source holds, and without what has changed."""
    index = planning.index_of(source)
    with planning_lock(path):  # parts begin together
        store = Store.create(path, spec)
        changes = planning.discard_changed(store, source, index, settings)
        planning.extend_plan(store, source, index, settings)
    return Store(path), index, changes


@contextmanager
def _writing(folder: Path, settings: Settings) -> Iterator[None]:
    """Keep others out of a folder: everybody, or whoever is not another part of the same run."""
    with exclusive(folder) if settings.part is None else part(folder, settings.part):
        yield


def _slug(model: Path) -> str:
    """The name of a model as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "--", load_spec(model / "image").name).strip("-.") or "encoder"


def resolved(chosen: Options, folder: Path, say: Callable[[str], None] = lambda _: None) -> Options:
    """The options with the back end and the precision that they stand for on this machine; `say` is told why."""
    backend, precision = chosen.backend, chosen.precision
    if backend == "auto":
        able = [name for name in auto.ORDER if precision is None or precision in BACK_ENDS[name].precisions]
        if not able:
            raise UsageError(f"no back end runs precision {precision!r}; docs/backends.md lists what each has")
        choice = auto.choose(auto.facts(folder, precision), able, precision)
        say(choice.why)
        backend, precision = choice.backend, choice.precision
    precision = precision_of(backend, precision)
    settings = chosen.settings.with_batches_of(BACK_ENDS[backend].batch_size)
    return dataclasses.replace(chosen, backend=backend, precision=precision, settings=settings)


def _opened(path: Path, chosen: Options, gate: list[dict[str, Any]]) -> Encoder:
    """Open a tower that passes the gate, and note how far from float32 it is."""
    assert chosen.precision is not None
    encoder, comparison = open_checked(path, backend=chosen.backend, precision=chosen.precision)
    if comparison is not None:
        gate.append({"tower": path.name, **as_json(comparison)})
    return encoder


def _text_tower(folder: Path, chosen: Options, gate: list[dict[str, Any]]) -> TextTower | None:
    path = folder / "text"
    if not (path / "model.json").exists():
        return None

    def opened() -> tuple[Tokenizer, Encoder]:
        return Tokenizer(path), _opened(path, chosen, gate)

    assert chosen.precision is not None
    spec = dataclasses.replace(load_spec(path), precision=chosen.precision)
    return TextTower(spec, opened, prefix=alignment.preset(chosen.clip_score).prefix)


def _spec(source: Source, encoder: Encoder, chosen: Options, texts: TextTower | None) -> StoreSpec:
    return StoreSpec(
        source=source.uri,
        layout=source.layout,
        group_by=chosen.group_by or "text",
        decode=chosen.decode,
        dtype=chosen.dtype,
        text_prefix=texts.prefix if texts else "",
        backend=chosen.backend,
        image=encoder.spec,
        text=texts.spec if texts else None,
    )


def _described(store: Store, chosen: Options) -> dict[str, Any]:
    """What made the scores."""
    found = described(store)
    found["parameters"] |= {
        "clip_score": chosen.clip_score,
        **dataclasses.asdict(chosen.settings),
        "follow": chosen.follow,
    }
    return found


def _score(name: str, entry: dict[str, Any]) -> Score:
    interval = None
    if entry["low"] is not None:
        interval = Interval(entry["low"], entry["high"], entry["level"], entry["method"])
    value = float("nan") if entry["value"] is None else entry["value"]
    return Score(name, value, entry["n"], interval, entry["higher_is_better"], entry["params"])


def _ends(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:.2f} – {interval.high:.2f}"
