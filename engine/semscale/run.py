"""A source to scores on disk: the main job, as Python calls. The command line is a thin layer over this."""

from __future__ import annotations

import dataclasses
import html
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale import gpu, outputs, sources, streaming
from semscale.accounts import counts, described, truncated_texts
from semscale.encoders import find_exported, precision_of
from semscale.errors import MissingDependencyError, StoreLockedError, UsageError
from semscale.filling import Filled, fill, place, sized, slug, writing
from semscale.follow import Watch, followed
from semscale.locks import exclusive
from semscale.metrics import alignment
from semscale.model import Interval, Score, Source
from semscale.options import Options
from semscale.pipeline import Progress
from semscale.provenance import provenance
from semscale.report import write_report
from semscale.scoring import score_store
from semscale.sources import Location, open_source
from semscale.store import Store
from semscale.summary import all_scores
from semscale.timing import Clock


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
    model = prepared(chosen, say)
    places = [place(model, chosen, folder / "stores" / slug(model), say)]
    chosen = sized(chosen, places)
    with writing(folder, chosen.settings):
        filled = fill(opened, places, chosen, clock=clock, on_progress=on_progress, say=say)
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
    places = [place(prepared(chosen, say), chosen, Path(store), say)]
    return fill(opened, places, chosen, clock=Clock(), on_progress=on_progress, say=say).store


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
