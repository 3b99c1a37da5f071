"""The `semscale bench` command: a table for people, and one line of JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import rich.console
from rich.table import Table

from semscale.encoders import BACK_ENDS
from semscale_bench.machine import machine
from semscale_bench.measure import Timing, measure
from semscale_bench.metric_data import JOBS, Sizes

SETTINGS = ((5, 4), (5, 20), (10, 4), (30, 4), (30, 20), (100, 4))  # groups and images of each in `coverage`


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure throughput against the measured ceiling of this machine and against the usual way."""


@bench.command()
@click.option(
    "--images", type=click.IntRange(1000), default=1_000_000, show_default=True, help="Embeddings, 20 a group."
)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON line here too.")
def scores(images: int, repeats: int, save: Path | None) -> None:
    """All consistency scores of stored embeddings: groups a second."""
    from semscale_bench.scores import contestants, write_store

    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder), images)
        found = measure(contestants(store), repeats=repeats)
    _report(
        f"{images} embeddings of 512 dimensions in groups of 20, float64, from the page cache", "groups", found, save
    )


@bench.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="CLIP checkpoint folder. [default: ViT-B/32 with random weights]")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON line here too.")
def folder(source: Path, checkpoint: Path | None, repeats: int, save: Path | None) -> None:
    """A folder of images to stored embeddings: images a second."""
    from semscale_bench.folder import contestants
    from semscale_bench.random_clip import VIT_B_32, write_clip

    with tempfile.TemporaryDirectory() as work:
        chosen = checkpoint or write_clip(Path(work) / "random-vit-b-32", VIT_B_32)
        found = measure(contestants(source, chosen, Path(work)), repeats=repeats)
    name = "random ViT-B/32" if checkpoint is None else str(checkpoint)
    _report(
        f"files from the page cache to float32 embeddings on disk, {name}, ONNX Runtime on the CPU",
        "images",
        found,
        save,
    )


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise click.BadParameter(f"{text!r}: whole numbers above 0, with commas between them, such as 1,8,32")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


@bench.command()
@click.option("--model", "models", multiple=True, default=("B/32",), show_default=True,
              help="B/32, B/16, L/14, L/14@336, H/14, bigG/14 or tiny, with random weights; a checkpoint folder; or "
              "a folder that was exported, with its checkpoint beside the towers.")  # fmt: skip
@click.option("--backend", "backends", type=click.Choice([name for name in BACK_ENDS if name != "fake"]), multiple=True,
              help="Back ends, in every precision. [default: all]")  # fmt: skip
@click.option("--batch-sizes", default="1,8,32,256", show_default=True, callback=_sizes, help="Inputs a batch.")
@click.option("--tower", type=click.Choice(["image", "text", "both"]), default="image", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON line here too.")
def encoders(models: tuple[str, ...], backends: tuple[str, ...], batch_sizes: tuple[int, ...], tower: str,
             repeats: int, save: Path | None) -> None:  # fmt: skip
    """Every back end and precision that runs here: images a second.

    What does not run is listed with the reason. Exits with 1 when nothing runs, or an output differs from float32 by
    more than it may.
    """
    from semscale_bench import encoders_report as report
    from semscale_bench.candidates import candidates
    from semscale_bench.encoders import bench_tower
    from semscale_bench.subjects import TOWERS, exported, subject

    console, everything = rich.console.Console(highlight=False, soft_wrap=True, width=report.WIDTH), []
    for model in models:
        with exported(model) as folder:
            for kind in TOWERS if tower == "both" else (tower,):
                found = bench_tower(subject(model, folder, kind), candidates(backends), batch_sizes=batch_sizes,
                                    repeats=repeats)  # fmt: skip
                console.print(report.table(found))
                console.print(*report.lines(found), sep="\n", markup=False)
                everything.append(found)
    regime = "the gate's probes in memory to embeddings in memory, copies to and from a GPU included"
    _line({"regime": regime, "command": _command(), "encoders": [report.values(each) for each in everything]}, save)
    if wrong := [sentence for found in everything for sentence in report.wrong(found)]:
        click.echo("\n".join(wrong), err=True)
        sys.exit(1)


@bench.command()
@click.option("--trials", type=click.IntRange(10), default=400, show_default=True, help="Simulated studies a row.")
def coverage(trials: int) -> None:
    """How often each kind of 95 % interval holds the truth, in simulation."""
    from semscale_bench.coverage import simulate

    cells = [simulate(spread, groups, n, trials=trials) for spread in (0.0, 0.15, 0.5) for groups, n in SETTINGS]
    table = Table(
        title="share of 95 % intervals that hold the true mean", title_justify="left", box=None, pad_edge=False
    )
    for column in ("spread", "groups", "n", *cells[0].covered):
        table.add_column(column, justify="right")
    for cell in cells:
        table.add_row(f"{cell.spread}", str(cell.groups), str(cell.n), *(f"{v:.2f}" for v in cell.covered.values()))
    rich.console.Console(highlight=False, soft_wrap=True).print(table)
    click.echo(json.dumps([dataclasses.asdict(cell) for cell in cells]))


@bench.command()
@click.option("--images", "sizes", type=click.IntRange(1), multiple=True, default=(2_000, 10_000, 50_000),
              show_default=True, help="Images of a run; several to see what grows.")  # fmt: skip
@click.option("--listed", type=click.IntRange(0), default=10_000_000, show_default=True, help="Names to list and plan.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON line here too.")
def memory(sizes: tuple[int, ...], listed: int, save: Path | None) -> None:
    """Peak memory of a run, by the number of its images, and of a listing of millions."""
    from semscale_bench.memory import peak

    found = [peak("embed", images) for images in sizes] + ([peak("list", listed)] if listed else [])
    table = Table(title="resident memory of a fresh process", title_justify="left", box=None, pad_edge=False)
    for column in ("regime", "images", "peak MB", "libraries MB", "of the smallest", "seconds"):
        table.add_column(column, justify="left" if column == "regime" else "right")
    for row in found:
        share = f"{row.peak_bytes / found[0].peak_bytes:.3f}x" if row.regime == "embed" else "-"
        numbers = (f"{row.peak_bytes / 1e6:.0f}", f"{row.base_bytes / 1e6:.0f}", share, f"{row.seconds:.0f}")
        table.add_row(row.regime, f"{row.images}", *numbers)
    rich.console.Console(highlight=False, soft_wrap=True).print(table)
    _line({"rows": [dataclasses.asdict(row) for row in found]}, save)


@bench.command()
@click.option("--images", type=click.IntRange(100), help="Vectors to join. [default: 20000; 1000000 on a GPU]")
@click.option("--full/--timed-blocks", "whole", default=None,
              help="All pairs, or a part, extrapolated. [default: a part on a CPU from 500000 vectors]")  # fmt: skip
@click.option("--gpu/--no-gpu", default=True, show_default=True, help="Use the GPU where torch finds one.")
@click.option("--memory/--no-memory", default=True, show_default=True,
              help="Run each once more, in a process of its own, for its peak memory.")  # fmt: skip
@click.option("--beside", "rivals", multiple=True, metavar="NAME",
              help="Only these others, by a part of their names, such as 'faiss flat'; may be repeated.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON line here too.")
def pairs(
    images: int | None,
    whole: bool | None,
    gpu: bool,
    memory: bool,
    rivals: tuple[str, ...],
    repeats: int,
    save: Path | None,
) -> None:
    """All pairs above a threshold, and the nearest 10 of each, beside FAISS, torch and scikit-learn."""
    from semscale_bench import pairs_report as report
    from semscale_bench.pair_entries import case_of
    from semscale_bench.pairs import bench_pairs

    found = bench_pairs(case_of(images, whole=whole, gpu=gpu), repeats=repeats, memory=memory, rivals=rivals)
    console = rich.console.Console(highlight=False, soft_wrap=True, width=report.WIDTH)
    console.print(report.table(found))
    console.print(*report.lines(found), sep="\n", markup=False)
    _line({**report.values(found), "command": _command()}, save)


@bench.command()
@click.option("--rows", type=click.IntRange(4096), default=50_000, show_default=True,
              help="Features of either set in fid and kid subsets; where all pairs meet, the first 10000.")  # fmt: skip
@click.option("--peers", "python", metavar="PYTHON",
              type=click.Path(path_type=Path, exists=True, dir_okay=False, executable=True),
              help="Interpreter of an environment with torch-fidelity, prdc and vendi-score, such as "
              ".venv-parity/bin/python of `make parity`. [default: without them]")  # fmt: skip
@click.option("--only", "jobs", type=click.Choice(JOBS), multiple=True, help="Only this; may be repeated.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON line here too.")
def metrics(rows: int, python: Path | None, jobs: tuple[str, ...], repeats: int, save: Path | None) -> None:
    """FID, KID, precision and recall, and Vendi score from features, beside other packages."""
    from semscale_bench import metrics_report as report
    from semscale_bench.metrics_bench import bench_metrics

    found = bench_metrics(Sizes(rows), repeats=repeats, jobs=jobs or JOBS, python=python)
    console = rich.console.Console(highlight=False, soft_wrap=True, width=report.WIDTH)
    console.print(report.table(found))
    console.print(*report.lines(found), sep="\n", markup=False)
    _line({**report.values(found), "command": _command()}, save)


def _report(regime: str, unit: str, found: dict[str, Timing], save: Path | None) -> None:
    table = Table(title=regime, title_justify="left", box=None, pad_edge=False)
    for column in ("", f"{unit}/s", "median s", "spread", "of semscale"):
        table.add_column(column, justify="left" if not column else "right")
    ours = found["semscale"].rate
    for name, timing in found.items():
        row = (f"{timing.rate:.1f}", f"{timing.median:.3f}", f"{timing.spread:.0%}", f"{timing.rate / ours:.4g}x")
        table.add_row(name, *row)
    rich.console.Console(highlight=False, soft_wrap=True).print(table)
    rows = [{**dataclasses.asdict(t), "rate": t.rate, "median": t.median, "spread": t.spread} for t in found.values()]
    _line({"regime": regime, "unit": unit, "timings": rows}, save)


def _line(values: dict[str, Any], save: Path | None) -> None:
    """Print the JSON line, with the machine, and write it to `save` where one was given."""
    line = json.dumps({**values, "machine": machine()})
    click.echo(line)
    if save is not None:
        save.write_text(line + "\n", encoding="utf-8")


def _command() -> str:
    return shlex.join(["semscale", *sys.argv[1:]])
