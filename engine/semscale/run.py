"""A source to scores on disk: the main job, as Python calls. The command line is a thin layer over this."""

from __future__ import annotations

import dataclasses
import html
import importlib
import importlib.util
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semscale import gpu, outputs, reuse, sources, streaming
from semscale.accounts import counts, described, tallied, truncated_texts
from semscale.encoders import find_exported, load_spec, precision_of
from semscale.errors import MissingDependencyError, StoreLockedError, UsageError
from semscale.filling import Filled, Place, fill, identity_at, place, sized, slug, writing
from semscale.follow import Watch, followed
from semscale.locks import exclusive
from semscale.measures.compute import Encoded, measure, warned
from semscale.measures.measure import Need
from semscale.metrics import alignment
from semscale.model import Interval, ModelSpec, Progress, Score, Source, headline
from semscale.options import Options
from semscale.provenance import provenance
from semscale.report import write_report
from semscale.scoring import score_store
from semscale.sensitivity import write_sensitivity
from semscale.sources import Location, open_source
from semscale.store import Store
from semscale.timing import Clock
from semscale.wanted import Wanted, check_models, check_source, encoders, wanted


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunScore(Score):
    """A Score that a notebook draws with the density of its run; else as any other: equal, and printed the same."""

    out: str  # the run's folder

    def _repr_html_(self) -> str:
        from semscale.report.notebook import figures_html

        return headline([("", self)]) + figures_html(Path(self.out), [self.metric])

    def __repr__(self) -> str:
        return repr(Score(*_fields(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Score) and _fields(self) == _fields(other)

    __hash__ = Score.__hash__


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its folder, and what summary.json says."""

    out: Path
    summary: dict[str, Any]

    @property
    def scores(self) -> dict[str, Score]:
        """Every overall score by name."""
        told = {name: _score(name, entry) for name, entry in self.summary["scores"].items()}
        return {name: RunScore(*_fields(score), out=str(self.out)) for name, score in told.items()}

    def _repr_html_(self) -> str:
        from semscale.report.notebook import figures_html

        note = html.escape(self.summary["models"]["image"]["note"]) if "models" in self.summary else ""
        page = html.escape(str(self.out / "report.html"))
        return f"{headline(self._rows())}{figures_html(self.out)}<p>{page}</p><p>{note}</p>"

    def _rows(self) -> Iterator[tuple[str, Score]]:
        """Every score, that of each model first, the best before the others."""
        for name, entry in self.summary["scores"].items():
            parts = [(model, _score(name, part)) for model, part in entry.get("by_model", {}).items()]
            sign = 1 if entry["higher_is_better"] is False else -1
            yield from sorted(parts, key=lambda part: (math.isnan(part[1].value), sign * part[1].value, part[0]))
            yield ("all" if parts else "", _score(name, entry))


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
    todo = wanted(chosen)
    folder = Path(out) if out is not None else default_out(source)
    with clock.stage("list"):
        opened = open_sources(source, chosen, leave_out=folder)
        real = _reference_images(todo, chosen, folder)
    if isinstance(opened, list):
        check_source(todo, opened[0])
    places = places_of(todo, chosen, folder / "stores", say)
    different = list(dict.fromkeys(places.values()))
    reuse.check(chosen.reuse, [identity_at(each, chosen) for each in different])
    chosen = sized(chosen, different)
    job = Job(folder, todo, places, chosen, clock, provenance(command, started), say)
    with writing(folder, chosen.settings):
        job = _with_references(job, real, on_progress)
        early = todo.beside.early
        look = None if early is None else early.look
        filled = fill(opened, different, chosen, clock=clock, on_progress=on_progress, say=say, look=look)
        if chosen.settings.part is None:
            return finish(job, filled)
    summary = {**counts(filled.store, filled.source), "out": str(folder), "scores": {}}
    if any(tallied(store)["n_left"] for store in filled.stores):
        return Run(folder, summary)
    try:
        with exclusive(folder):
            return finish(job, filled)
    except StoreLockedError:  # another part, finished at the same moment, does it
        return Run(folder, summary)


def _reference_images(todo: Wanted, chosen: Options, folder: Path) -> Iterable[Source]:
    """The images to compare with. Raises UsageError for those that lie where their own embeddings will be."""
    ours = (folder / "reference").resolve()
    for path in todo.images:
        where = Path(path).resolve()
        if where == ours or ours in where.parents:
            raise UsageError(
                f"{path}: embeddings of the reference are kept there; move the images, or choose another -o"
            )
    once = dataclasses.replace(chosen, follow=None, group_by=None)
    return open_sources(todo.images, once, leave_out=folder) if todo.images else []


@dataclass(frozen=True, slots=True)
class Job:
    """What a run knows before it embeds."""

    folder: Path
    todo: Wanted
    places: dict[str, Place]  # by encoder, as metrics name it
    chosen: Options
    clock: Clock
    made: dict[str, Any]  # provenance
    say: Callable[[str], None]


def places_of(
    todo: Wanted, chosen: Options, stores: Path, say: Callable[[str], None] = lambda _: None
) -> dict[str, Place]:
    """Where each encoder lies and what runs it, by the name that metrics use; "" is the model of the options.

    Names of one and the same encoder share a place. Raises UsageError for a model that a metric cannot take.
    """
    models = {
        name: prepared(dataclasses.replace(chosen, model=name or chosen.model), say) for name in encoders(todo.asked)
    }
    check_models(todo, models)
    specs = {name: load_spec(model / "image") for name, model in models.items()}
    slugs = {spec: slug(models[name]) for name, spec in specs.items()}
    taken = Counter(slugs.values())
    found: dict[ModelSpec, Place] = {}
    for name, spec in specs.items():
        if spec not in found:
            apart = "" if taken[slugs[spec]] == 1 else f"-{spec.graph[:8] or spec.sha256[:8]}"
            found[spec] = place(models[name], chosen, stores / f"{slugs[spec]}{apart}", say)
    return {name: found[spec] for name, spec in specs.items()}


def _with_references(job: Job, real: Iterable[Source], on_progress: Callable[[Progress], None]) -> Job:
    """The same with the reference images embedded, by every encoder that compares with them."""
    if not job.todo.images:
        return job
    needed = dict.fromkeys(job.places[one.encoder] for one in job.todo.asked if Need.REFERENCE in one.measure.needs)
    root = job.folder / "reference" / "stores"
    places = [dataclasses.replace(each, store=root / each.store.name) for each in needed]
    whole = dataclasses.replace(
        job.chosen,
        follow=None,
        index=None,
        group_by=None,
        settings=dataclasses.replace(job.chosen.settings, limit=None),
    )
    filled = fill(real, places, whole, clock=job.clock, on_progress=on_progress, say=job.say)
    for store in filled.stores:
        if not len(store.images):
            raise UsageError(f"{', '.join(job.todo.images)}: no image could be embedded, so there is no reference")
    job.say(f"reference: {len(filled.store.images)} images, {len(filled.store.errors(['code']))} failed")
    known = job.todo.beside.references
    assert known is not None, "opened with the rest"
    references = dataclasses.replace(known, stores=(*known.stores, *filled.stores))
    beside = dataclasses.replace(job.todo.beside, references=references)
    return dataclasses.replace(job, todo=dataclasses.replace(job.todo, beside=beside))


def finish(job: Job, filled: Filled) -> Run:
    """Compute every score of a complete run from its stores, and write tables, summary and report into its folder."""
    folder, chosen, store = job.folder, job.chosen, filled.store
    convention = alignment.preset(chosen.clip_score)
    with job.clock.stage("score"):
        scores = score_store(store, convention, large=any(one.name == "scs" for one in job.todo.asked))
        asked = [one for one in job.todo.asked if chosen.metrics or one.name != "clip-score" or scores.clip is not None]
        found = measure(
            asked, _encoded(job, filled), job.todo.beside, filled.source, scores,
            convention=convention, max_pixels=chosen.settings.max_pixels,
        )  # fmt: skip
        outputs.write_groups(folder / "groups.parquet", store, scores, convention, found.of_groups)
        outputs.write_images(folder / "images.parquet", store, scores, found.of_images)
        if job.todo.beside.pairs is not None:
            outputs.write_pairs(folder / "pairs.parquet", job.todo.beside.pairs, found)
    for line in warned(found.entries):
        job.say(line)
    summary = {
        **counts(store, filled.source),
        "n_groups": len(scores.groups),
        "n_invalid": int((~scores.row_valid).sum()),
        "n_truncated_texts": truncated_texts(store),
        "n_changed": filled.changes.changed,
        "n_retried": filled.changes.retried,
        "n_vanished": filled.changes.vanished,
        "n_reused": filled.reused,
        "images_per_second": filled.images_per_second,
        "out": str(folder),
        "scores": found.entries,
        **_described(store, chosen),
        "seconds": {**job.clock.seconds(), "total": job.clock.total()},
        "provenance": {**job.made, "gate": filled.gate, "decoded": filled.decoded},
    }
    outputs.write_summary(folder / "summary.json", summary)
    write_sensitivity(folder, store.path, scores.n if "scs" in found.entries else scores.n[:0])
    write_report(folder)
    return Run(folder, outputs.finite(summary))


def _encoded(job: Job, filled: Filled) -> dict[str, Encoded]:
    """Each encoder's store, and what embeds texts with its model."""
    stores = {store.path: store for store in filled.stores}
    return {
        name: Encoded(stores[where.store], where.model / "image", partial(_texts, where))
        for name, where in job.places.items()
    }


def _texts(where: Place, texts: Sequence[str]) -> Any:
    from semscale.arrays import encode_texts

    return encode_texts(list(texts), model=str(where.model), backend=where.backend, precision=where.precision)


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
    return embedded(source, store, on_progress=on_progress, say=say, **options).store


def embedded(
    source: Location | Sequence[Location],
    store: str | Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Filled:
    """As `embed`, and how the store came to be what it is."""
    chosen = _checked(options)
    opened = open_sources(source, chosen, leave_out=Path(store))
    places = [place(prepared(chosen, say), chosen, Path(store), say)]
    reuse.check(chosen.reuse, [identity_at(each, chosen) for each in places])
    return fill(opened, places, chosen, clock=Clock(), on_progress=on_progress, say=say)


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


def prepared(chosen: Options, say: Callable[[str], None] = lambda _: None) -> Path:
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


def export_lpips() -> Any:
    """What exports LPIPS."""
    export_package()
    return importlib.import_module("semscale_export.lpips").export_lpips


def check_export(folder: Path) -> list[Any]:
    """Every back end and precision that runs here compared with float32, on the exported towers in `folder`."""
    export_package()
    if find_exported(folder) is None:
        raise UsageError(f"{folder}: not a folder that `semscale export` made")
    return importlib.import_module("semscale_export.parity").check(folder)


def _described(store: Store, chosen: Options) -> dict[str, Any]:
    """What made the scores."""
    found = described(store)
    found["parameters"] |= {
        "clip_score": chosen.clip_score,
        **dataclasses.asdict(chosen.settings),
        "follow": chosen.follow,
        "metrics": list(chosen.metrics),
        "reference": list(chosen.reference),
        "pairs": chosen.pairs,
        "head": chosen.head,
        "captions": chosen.captions,
        "reuse": list(chosen.reuse),
        "labels": chosen.labels,
        "templates": chosen.templates,
    }
    return found


def _score(name: str, entry: dict[str, Any]) -> Score:
    interval = None
    if entry["low"] is not None:
        interval = Interval(entry["low"], entry["high"], entry["level"], entry["method"])
    value = float("nan") if entry["value"] is None else entry["value"]
    return Score(name, value, entry["n"], interval, entry["higher_is_better"], entry["params"])


def _fields(score: Score) -> tuple[Any, ...]:
    """What every Score has, in order."""
    return tuple(getattr(score, field.name) for field in dataclasses.fields(Score))
