"""Cases of `semscale bench` that are studies of their own, each a command with options of its own."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click
import rich.console
from rich.table import Table

from semscale.encoders import BACK_ENDS
from semscale_bench.line import out_option, write_line
from semscale_bench.metric_data import JOBS, Sizes

SETTINGS = ((5, 4), (5, 20), (10, 4), (30, 4), (30, 20), (100, 4))  # groups and images of each in `coverage`
HELP = {"help_option_names": ["-h", "--help"]}


def sizes(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    """Batch sizes of an option, () where it is empty. Raises BadParameter for anything but whole numbers above 0."""
    if not text:
        return ()
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise click.BadParameter(f"{text!r}: whole numbers above 0, with commas between them, such as 1,8,32")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


@click.command(context_settings=HELP)
@click.option("--model", "models", multiple=True, default=("B/32",), show_default=True,
              help="B/32, B/16, L/14, L/14@336, H/14, bigG/14 or tiny, with random weights; a checkpoint folder; or "
              "a folder that was exported, with its checkpoint beside the towers.")  # fmt: skip
@click.option("--backend", "backends", type=click.Choice([name for name in BACK_ENDS if name != "fake"]), multiple=True,
              help="Back ends, in every precision. [default: all]")  # fmt: skip
@click.option("--batch-sizes", default="1,8,32,256", show_default=True, callback=sizes, help="Inputs a batch.")
@click.option("--tower", type=click.Choice(["image", "text", "both"]), default="image", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@out_option
def encoders(models: tuple[str, ...], backends: tuple[str, ...], batch_sizes: tuple[int, ...], tower: str,
             repeats: int, out: Path | None) -> None:  # fmt: skip
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
                found = bench_tower(
                    subject(model, folder, kind), candidates(backends), batch_sizes=batch_sizes, repeats=repeats
                )
                console.print(report.table(found))
                console.print(*report.lines(found), sep="\n", markup=False)
                everything.append(found)
    regime = "the gate's probes in memory to embeddings in memory, copies to and from a GPU included"
    values = [report.values(each) for each in everything]
    rows = [{"model": each["model"], "tower": each["tower"], **row} for each in values for row in each.pop("rows")]
    _line("encoders", {"regime": regime, "rows": rows, "encoders": values}, out)
    if wrong := [sentence for found in everything for sentence in report.wrong(found)]:
        click.echo("\n".join(wrong), err=True)
        sys.exit(1)


@click.command(context_settings=HELP)
@click.option("--trials", type=click.IntRange(10), default=400, show_default=True, help="Simulated studies a row.")
@out_option
def coverage(trials: int, out: Path | None) -> None:
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
    _line("coverage", {"rows": [dataclasses.asdict(cell) for cell in cells]}, out)


@click.command(context_settings=HELP)
@click.option("--images", "sizes", type=click.IntRange(1), multiple=True, default=(2_000, 10_000, 50_000),
              show_default=True, help="Images of a run; several to see what grows.")  # fmt: skip
@click.option("--listed", type=click.IntRange(0), default=10_000_000, show_default=True, help="Names to list and plan.")
@out_option
def memory(sizes: tuple[int, ...], listed: int, out: Path | None) -> None:
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
    _line("memory", {"rows": [dataclasses.asdict(row) for row in found]}, out)


@click.command(context_settings=HELP)
@click.option("--images", type=click.IntRange(100), help="Vectors to join. [default: 20000; 1000000 on a GPU]")
@click.option("--full/--timed-blocks", "whole", default=None,
              help="All pairs, or a part, extrapolated. [default: a part on a CPU from 500000 vectors]")  # fmt: skip
@click.option("--gpu/--no-gpu", default=True, show_default=True, help="Use the GPU where torch finds one.")
@click.option("--memory/--no-memory", default=True, show_default=True,
              help="Run each once more, in a process of its own, for its peak memory.")  # fmt: skip
@click.option("--beside", "rivals", multiple=True, metavar="NAME",
              help="Only these others, by a part of their names, such as 'faiss flat'; may be repeated.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@out_option
def pairs(
    images: int | None,
    whole: bool | None,
    gpu: bool,
    memory: bool,
    rivals: tuple[str, ...],
    repeats: int,
    out: Path | None,
) -> None:
    """All pairs above a threshold, and the nearest 10 of each, beside FAISS, torch and scikit-learn."""
    from semscale_bench import pairs_report as report
    from semscale_bench.pair_entries import case_of
    from semscale_bench.pairs import bench_pairs

    found = bench_pairs(case_of(images, whole=whole, gpu=gpu), repeats=repeats, memory=memory, rivals=rivals)
    console = rich.console.Console(highlight=False, soft_wrap=True, width=report.WIDTH)
    console.print(report.table(found))
    console.print(*report.lines(found), sep="\n", markup=False)
    _line("pairs", report.values(found), out)


@click.command(context_settings=HELP)
@click.option("--rows", type=click.IntRange(4096), default=50_000, show_default=True,
              help="Features of either set in fid and kid subsets; where all pairs meet, the first 10000.")  # fmt: skip
@click.option("--peers", "python", metavar="PYTHON",
              type=click.Path(path_type=Path, exists=True, dir_okay=False, executable=True),
              help="Interpreter of an environment with torch-fidelity, prdc and vendi-score, such as "
              ".venv-parity/bin/python of `make parity`. [default: without them]")  # fmt: skip
@click.option("--only", "jobs", type=click.Choice(JOBS), multiple=True, help="Only this; may be repeated.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@out_option
def metrics(rows: int, python: Path | None, jobs: tuple[str, ...], repeats: int, out: Path | None) -> None:
    """FID, KID, precision and recall, and Vendi score from features, beside other packages."""
    from semscale_bench import metrics_report as report
    from semscale_bench.metrics_bench import bench_metrics

    found = bench_metrics(Sizes(rows), repeats=repeats, jobs=jobs or JOBS, python=python)
    console = rich.console.Console(highlight=False, soft_wrap=True, width=report.WIDTH)
    console.print(report.table(found))
    console.print(*report.lines(found), sep="\n", markup=False)
    _line("metrics", report.values(found), out)


def _line(case: str, values: dict[str, Any], out: Path | None) -> None:
    write_line({"case": case, **values}, out)


STUDIES = (coverage, encoders, memory, metrics, pairs)
