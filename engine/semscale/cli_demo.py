"""The command `semscale demo`: everything once, offline."""

from __future__ import annotations

from pathlib import Path

import click

from semscale.cli_output import command_line, emit, output_options


@click.command()
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="semscale-demo",
    show_default=True,
    help="Folder for images and results.",
)
@output_options
def demo(out: Path, as_json: bool, quiet: bool) -> None:
    """Everything end to end, offline: draw the pictures of two models, score both, compare them.

    Two made-up models draw the same prompts; one keeps to its prompt, the other strays. Nothing is downloaded.
    """
    from semscale.console import Console
    from semscale.demo import run_demo, verdict

    console = Console(quiet=quiet)
    with console.progress() as tell:
        finished = run_demo(out, on_progress=tell, command=command_line())
    console.scores(finished)
    console.say(verdict(finished))
    emit(as_json, finished.summary)
