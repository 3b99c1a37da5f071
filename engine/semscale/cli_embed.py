"""The command `semscale embed`: images to a store of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from semscale.cli_output import emit, output_options
from semscale.cli_runs import begin_trials, chosen, error_option, exit_on_errors, run_options, source_options, sources
from semscale.cli_search import KINDS


@click.command()
@sources
@click.option(
    "-o", "--store", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the store."
)
@run_options
@source_options
@click.option("--index", type=click.Choice(KINDS),
              help="Keep a FAISS index of the store meanwhile, as `semscale index` would make it.")  # fmt: skip
@error_option
@output_options
def embed(
    source: tuple[str, ...], store: Path, max_error_rate: float, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Embed the images of SOURCE into a store, and nothing else. SOURCE is what `score` takes."""
    begin_trials(options["backend"])
    from semscale import accounts, run
    from semscale.console import Console

    console = Console(quiet=quiet)
    with console.progress() as tell:
        filled = run.embedded(source, store, on_progress=tell, say=console.say, **chosen(options))
    line = {**accounts.tallied(filled.store), "n_reused": filled.reused, "out": str(store)}
    left = f", {line['n_left']} left to other parts" if line["n_left"] else ""
    console.say(f"{line['n_ok']} embeddings, {line['n_failed']} failed{left}, in {store}")
    emit(as_json, line)
    exit_on_errors(line, max_error_rate)
