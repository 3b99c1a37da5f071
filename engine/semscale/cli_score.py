"""The command `semscale score`: images to scores, tables and a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from semscale.cli_output import command_line, emit, output_options
from semscale.cli_runs import begin_trials, chosen, error_option, exit_on_errors, run_options, source_options, sources


def _metric_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which metrics, and what they compare with."""
    for option in reversed(
        (
            click.option("--metrics", multiple=True, metavar="NAME[:PRESET][@ENCODER],...",
                         help="What to compute, see `semscale metrics`. [default: scs, and clip-score with texts]"),
            click.option("--reference", multiple=True, metavar="STORE|FOLDER|FILE",
                         help="Real images: a store, results, a folder, or a file of `semscale reference`."),
            click.option("--pairs", type=click.Path(dir_okay=False), metavar="TABLE",
                         help="Pairs of images: columns source and edited, perhaps source_text and edited_text."),
            click.option("--head", type=click.Path(dir_okay=False), metavar="FILE",
                         help="A linear head for the aesthetic score (.safetensors, .npz, .pth)."),
            click.option("--captions", type=click.Path(dir_okay=False), metavar="TABLE",
                         help="Reference captions: columns key (or text) and reference, one a row."),
            click.option("--labels", type=click.Path(dir_okay=False), metavar="FILE",
                         help="The classes for zero-shot, one a line; the truth is an image's group."),
            click.option("--templates", type=click.Path(dir_okay=False), metavar="FILE",
                         help="Texts for the classes, one a line, {} for the class. [default: a photo of a {}.]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@sources
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results. [default: ./semscale-<name of SOURCE>]",
)
@run_options
@_metric_options
@source_options
@click.option("--dry-run", is_flag=True, help="Say what would be read, and estimate time and disk; write nothing.")
@click.option("--errors", is_flag=True, help="List the inputs that failed, each with its reason and what to do.")
@error_option
@output_options
def score(
    source: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    errors: bool,
    max_error_rate: float,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Embed the images of SOURCE, compute every score, and write tables and a report.

    SOURCE is a folder: group/image, model/prompt/seed.png, or any tree with a metadata.csv, .jsonl or .parquet whose
    file_name column names the images; a list of paths (.csv, .jsonl, .parquet, .txt, or - for standard input); a
    WebDataset tar, a zip, or a Parquet file with a column of images; a folder of those; or any of these behind a
    protocol such as s3://. Several sources make one run.
    """
    begin_trials(options["backend"])
    from semscale import accounts, run
    from semscale.console import Console

    console, asked = Console(quiet=quiet), chosen(options)
    if dry_run:
        from semscale.estimate import estimate

        console.estimate(found := estimate(source, **asked))
        emit(as_json, dataclasses.asdict(found))
        return
    with console.progress() as tell:
        finished = run.score(source, out=out, on_progress=tell, say=console.say, command=command_line(), **asked)
    if errors:
        Console(quiet=False).failures(accounts.failures(finished.out))
    console.scores(finished)
    emit(as_json, finished.summary)
    exit_on_errors(finished.summary, max_error_rate)
