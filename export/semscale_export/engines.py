"""TensorRT engines for an exported model: `semscale export MODEL -o DIR --tensorrt`.

With TensorRT-RTX this runs, and is tested, without a GPU. Engines of `tensorrt` need the GPU they are built for; that
path was never run. No engine of either was ever executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semscale.encoders import check_graph, find_exported, graph_sha256, load_spec
from semscale.encoders.trt_driver import ANY_GPU, driver_problem, find_gpu
from semscale.encoders.trt_files import PRECISIONS, RECIPE, EngineKey, precision_folder
from semscale.encoders.trt_library import FLAVOURS, Library, installed, load_library
from semscale.errors import MissingDependencyError, UsageError
from semscale.locks import planning
from semscale_export import export_checkpoint
from semscale_export.cache import ensure_exported
from semscale_export.checkpoint import Checkpoint, find_checkpoint
from semscale_export.engine_cache import CachedEngine, Say, cached_engine
from semscale_export.families import family_of
from semscale_export.parity import ParityRow
from semscale_export.quiet import quiet
from semscale_export.trt_build import FLAGS, build_engine, check_can_build, profiles_for

if TYPE_CHECKING:
    from semscale_export.towers import Tower

MAX_BATCH = 256


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What engines are asked for."""

    precision: str = PRECISIONS[0]
    max_batch: int = MAX_BATCH
    flavour: str = "auto"  # or the import name of a library


def export_engines(
    model: str,
    out: Path,
    settings: EngineSettings,
    *,
    say: Say,
    revision: str | None = None,
    weights: Path | None = None,
) -> tuple[list[ParityRow], list[CachedEngine]]:
    """Export `model` into `out`, as `semscale_export.export` does, and build the engines of its towers.

    An `out` that already holds an export of the same weights keeps it, and gets no more than the engines it lacks;
    the parity table is empty then. `say` gets a line before every build. Raises what `export` and `add_engines` do.
    """
    _check(settings)  # before a long download
    checkpoint = find_checkpoint(model, revision=revision, weights=weights)
    rows = [] if find_exported(out) else export_checkpoint(checkpoint, out)
    return rows, add_engines(checkpoint, out, settings, say=say)


def ensure_engines(model: str, settings: EngineSettings, *, say: Say) -> Path:
    """Return an exported folder for `model` that has engines, as `ensure_exported` returns one.

    An exported folder is returned as it is: without its checkpoint nothing can be built.
    """
    folder = ensure_exported(model)
    if find_exported(Path(model)) != folder:
        add_engines(find_checkpoint(model), folder, settings, say=say)
    return folder


def add_engines(checkpoint: Checkpoint, out: Path, settings: EngineSettings, *, say: Say) -> list[CachedEngine]:
    """Build the engines that the exported folder `out` lacks, one a tower, and return all, the image tower's first.

    Raises UsageError when `out` was exported from other weights or a GPU is needed and absent; ModelError with
    TensorRT's log when it refuses; ParityError when the half graph differs too much; StoreError when a file cannot be
    written; MissingDependencyError.
    """
    library = _check(settings)
    for tower in ("image", "text"):
        if (out / tower).is_dir():
            check_graph(out / tower)
    family = family_of(checkpoint)
    with quiet():
        towers = family.towers(checkpoint)
    for tower in towers:
        _check_same_weights(tower, out)
    return [_engine(tower, out / tower.spec.kind, library, settings, say) for tower in towers]


def choose_library(flavour: str = "auto") -> Library:
    """Load the library to build with: the named one, or the first installed that can build on this machine.

    Raises MissingDependencyError when none is installed, otherwise as `load_library`.
    """
    if flavour != "auto":
        return load_library(flavour)
    names = installed()
    if not names:
        extra = FLAVOURS["tensorrt_rtx"].extra
        raise MissingDependencyError("building TensorRT engines", "tensorrt-rtx (or tensorrt)", extra)
    able = [name for name in names if FLAVOURS[name].portable or not driver_problem()]
    return load_library((able or names)[0])


def engine_key(library: Library, graph: Path, settings: EngineSettings) -> EngineKey:
    """Everything that the engine of `graph` would depend on here. Raises UsageError when that takes an absent GPU."""
    assert graph.is_file(), f"{graph}: there is no graph to build an engine from"
    return EngineKey(
        onnx=graph_sha256(graph),
        flavour=library.flavour,
        version=library.version,
        gpu=ANY_GPU if library.portable else find_gpu(),
        recipe=RECIPE,
        precision=settings.precision,
        profiles=profiles_for(settings.max_batch),
        flags=FLAGS,
    )


def _check(settings: EngineSettings) -> Library:
    precision_folder(Path(), settings.precision)
    profiles_for(settings.max_batch)
    library = choose_library(settings.flavour)
    check_can_build(library)
    return library


def _engine(tower: Tower, exported: Path, library: Library, settings: EngineSettings, say: Say) -> CachedEngine:
    from semscale_export.trt_graph import ensure_graph

    folder = precision_folder(exported, settings.precision)
    with planning(folder):  # another process that builds here is waited for, and its engine then found
        graph = ensure_graph(tower, exported, folder)
        key = engine_key(library, graph, settings)
        return cached_engine(folder, key, lambda: build_engine(library, graph, key.profiles), say=say)


def _check_same_weights(tower: Tower, out: Path) -> None:
    found = load_spec(out / tower.spec.kind).sha256
    if found != tower.spec.sha256:
        raise UsageError(
            f"{out} holds an export of other weights ({found[:12]}, and {tower.spec.name} has "
            f"{tower.spec.sha256[:12]}); choose another folder"
        )
