"""Case `peers`: the same images, captions and weights through semscale and through other tools.

Regime: files in the page cache to scores, preprocessing included; of sentence-transformers to embeddings. Each
contestant is a process of its own, by an interpreter of its own where its packages are not semscale's, and waits while
others work; all are asked in turn, in rounds. Starting the process, importing and loading the model come before the
clock for everyone, but where a tool loads its model as a part of its work. semscale exports beforehand, and its
encoders stay open. Its time ends with its tables; the page of the report, which nobody else writes, comes after.

A caption belongs to a group of 20 images, as a prompt does to the images made from it. The published script's study is
extrapolated from the groups it is timed on. Peak memory is a process's whole, libraries and model included. On a GPU
this was never run.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from semscale.encoders import BACK_ENDS, load_spec
from semscale.encoders.machine import bf16
from semscale.errors import UsageError
from semscale_bench import images
from semscale_bench.peers import others
from semscale_bench.peers.environments import NotInstalled, python_of
from semscale_bench.peers.job import Model, Task
from semscale_bench.peers.openai_archive import write_archive
from semscale_bench.peers.process import PeerError, Process
from semscale_bench.peers.rounds import Contestant, Result, compete
from semscale_bench.peers.table import PEERS, STUDY_IMAGES, Peer
from semscale_bench.peers.verdicts import sentences, study_seconds
from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome, Row
from semscale_bench.subjects import RANDOM
from semscale_bench.towers import exported_folder, place_of
from semscale_export.reference import checkpoint_of

CASE = "peers"
KINDS = ("jpeg 500x375", "jpeg 1024x1024", "png 512x512")
GROUPS = 5  # of images in a go, so that what a run does once is a small part of it
ON_GPU = ("cuda", "tensorrt")
COLOURS = ("red", "blue", "green", "grey", "pink", "black", "white", "brown")
THINGS = ("cat", "dog", "bus", "cup", "tree", "boat", "house", "chair", "clock")


def run(plan: Plan) -> Outcome:
    """Everyone on every kind of images, in rounds; environments are made where they are missing.

    Raises SemscaleError where the model cannot be exported or semscale itself fails on the images.
    """
    with TemporaryDirectory() as work:
        found = _images(plan, Path(work))
        more = [others.all_pairs(CASE, repeats=plan.repeats), *_features(plan)]
    return dataclasses.replace(
        found,
        rows=found.rows + [row for each in more for row in each.rows],
        sentences=found.sentences + [line for each in more for line in each.sentences],
        absent=found.absent + [line for each in more for line in each.absent],
    )


def _images(plan: Plan, work: Path) -> Outcome:
    """Everything that begins with files."""
    kinds = images.kinds(plan, work / "images", names=KINDS, count=GROUPS * STUDY_IMAGES)
    model, weights = _model(plan, work)
    with ExitStack() as stack:
        contestants, absent = _contestants(plan, model, stack, work)
        found: dict[str, list[Result]] = {}
        for number, kind in enumerate(kinds):
            task = captioned(kind.files)
            found[kind.name], failed = compete(contestants, task, work / f"tasks-{number}", repeats=plan.repeats)
            contestants = [each.contestant for each in found[kind.name]]
            absent += [f"{error}, with {kind.name}" for error in failed]
    rows = [_row(result, kind, weights) for kind, results in found.items() for result in results]
    said = [line for kind, results in found.items() for line in sentences(kind, results)]
    regime = (
        f"files in the page cache to scores, {plan.model}; models loaded, processes started and encoders open before"
    )
    return Outcome(CASE, regime, rows, said, absent, study_seconds(found))


def captioned(files: Sequence[Path]) -> Task:
    """Files in groups of 20, each with a caption of its own; what would be a smaller group is left out, if not alone.

    Raises UsageError for a single file, of which there is no consistency.
    """
    if len(files) < 2:
        raise UsageError(f"{len(files)} image: the peers need two or more; name another folder with --data")
    count = len(files) // STUDY_IMAGES * STUDY_IMAGES or len(files)
    groups = tuple(number // STUDY_IMAGES for number in range(count))
    captions = [f"a {COLOURS[g % len(COLOURS)]} {THINGS[g % len(THINGS)]}" for g in groups]
    return Task(tuple(file.absolute() for file in files[:count]), tuple(captions), groups)


def _model(plan: Plan, work: Path) -> tuple[Model, str]:
    """The weights in both forms, and whose they are."""
    exported = exported_folder(plan.model)
    spec = load_spec(exported / "image")
    checkpoint = checkpoint_of(exported / "image", spec).folder.resolve()
    size = max(plan.batch_sizes, default=BACK_ENDS["onnx"].batch_size)
    write_archive(checkpoint, archive := work / "clip.pt")
    return Model(checkpoint, exported.absolute(), archive, size, work), "random" if spec.note == RANDOM else "given"


def _contestants(plan: Plan, model: Model, stack: ExitStack, work: Path) -> tuple[list[Contestant], list[str]]:
    """semscale in float32, its fastest, then the peers that are there, each loaded; and a line on the others."""
    present, absent = [], []
    for number, (name, peer, precision) in enumerate(_everyone(plan, model)):
        try:
            python = python_of(peer.environment, _say) if peer.environment else Path(sys.executable)
            command = (f"{__package__.split('.')[0]}.peers.{peer.module}", *peer.arguments)
            own = dataclasses.replace(model, work=work / f"process-{number}")
            process = stack.enter_context(Process(name, python, command, own.work))
            version = process.ask("load", **dataclasses.asdict(own))["version"]
        except NotInstalled as error:
            absent.append(f"{name}: {error}")
        except PeerError as error:
            if not number:
                raise
            absent.append(str(error))
        else:
            present.append(Contestant(name, process, version, peer.groups, precision))
    return present, absent


def _everyone(plan: Plan, model: Model) -> Iterator[tuple[str, Peer, str]]:
    """semscale in equal precision and pixels first, then what is fast and passes the gate; then the others."""
    chosen = place_of(plan, model.exported)
    on_gpu = chosen.backend in ON_GPU
    plain = ("cuda" if on_gpu else "onnx", "fp32")
    fast = [(chosen.backend, chosen.precision)] if (chosen.backend, chosen.precision) != plain else []
    if not on_gpu and plan.precision is None:  # where nobody says, neither is chosen
        fast += [("openvino", "bf16")] if bf16() == "avx512" else []
        fast.append(("onnx", "int8"))
    pixels = "exact" if on_gpu else "close"  # a GPU resizes, to the same bits
    for backend, precision, decode in ((*plain, "exact"), *((*each, pixels) for each in fast or [plain])):
        name = f"semscale {backend} {precision}, {decode} pixels"
        yield name, Peer(name, "ours", (backend, precision, decode)), precision
    for peer in PEERS:
        yield peer.name, peer, peer.precision


def _features(plan: Plan) -> list[Outcome]:
    name = "torch-fidelity"
    try:
        return [others.features(CASE, python_of(name, _say), repeats=plan.repeats)]
    except (NotInstalled, UsageError) as error:  # the second where its process ends
        return [Outcome(CASE, "", [], absent=[f"{name}: {error}"])]


def _row(result: Result, kind: str, weights: str) -> Row:
    return Row(CASE, result.contestant.name, kind, "images", result.timing, result.check, weights)


_say = partial(click.echo, err=True)
