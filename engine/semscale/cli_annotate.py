"""The command `semscale annotate`: people say which of two generators did better."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semscale.cli_output import emit, output_options
from semscale.errors import MissingDependencyError

if TYPE_CHECKING:
    from semscale.console import Console
    from semscale.study.annotate.folders import Generator
    from semscale.study.annotate.session import Session
    from semscale.study.annotate.task import Task

TEMPLATES = ("consistency", "attribute", "match", "preference")
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="A [B]", type=FOLDER)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="RATINGS",
              help="Folder for the ratings; one that holds this task already goes on.")  # fmt: skip
@click.option("--models", default="", metavar="A,B", help="Two models of the one folder, or one of each folder.")
@click.option("--template", type=click.Choice(TEMPLATES), default="consistency", show_default=True,
              help="Which question is asked.")  # fmt: skip
@click.option("--attribute", default="", metavar="TEXT", help="With --template attribute: of what, for example colour.")
@click.option("--question", "own", default="", metavar="TEXT", help="The question in your own words.")
@click.option("--n-shown", type=click.IntRange(1, 100), default=20, show_default=True,
              help="Images a side, at most: the first common seeds in numeric order.")  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order and of left and right."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any that is free.")
@click.option("--open/--no-open", "opens", default=False, show_default=True, help="Open the page in a browser.")
@output_options
def annotate(
    folders: tuple[Path, ...],
    out: Path,
    models: str,
    template: str,
    attribute: str,
    own: str,
    n_shown: int,
    seed: int,
    port: int,
    opens: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Let people rate the images of two generators, A and B, on a page of this machine.

    A and B are folders: <prompt>/<seed>.png, <model>/<prompt>/<seed>.png, or with a metadata file, as `score` reads
    them. Raters see both side by side, for each prompt that both have, with the same seeds, without their names, in an
    order of their own. Every choice is saved as it is given; Ctrl-C ends, and the same command goes on.
    """
    _require_server()
    from semscale.console import Console
    from semscale.locks import exclusive
    from semscale.study.annotate.task import Asked, begin, question, refuse_strangers

    console = Console(quiet=quiet)
    asked = Asked(template, question(template, attribute=attribute, own=own), seed, n_shown)
    generators = _generators(folders, models, out)
    refuse_strangers(out)  # before a lock is put there
    with exclusive(out):
        session = _session(console, begin(out, asked, generators), generators, out)
        url = _serve(console, session, port, opens=opens)
    task, given = session.task, session.ratings()
    _closing(console, session, out)
    line = {"out": str(out), "url": url, "models": list(task.models), "n_items": len(task.items)}
    emit(as_json, {**line, "raters": dict(given), "left_out": dataclasses.asdict(task.left_out)})


def _closing(console: Console, session: Session, out: Path) -> None:
    """Say how much was rated, and which files are to be mended."""
    from semscale.study.annotate.text import counted, one_line

    given = [n for n in session.ratings().values() if n]
    console.say(f"{counted(sum(given), 'rating')} of {counted(len(given), 'rater')} in {out}")
    for name in session.not_shown():
        console.say(one_line(f"could not be shown, mend or restore it: {name}"))


def _require_server() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("semscale annotate", str(error.name), "annotate") from error


def _generators(folders: tuple[Path, ...], models: str, out: Path) -> tuple[Generator, Generator]:
    from semscale.errors import UsageError
    from semscale.study.annotate.folders import choose, list_folder

    if len(folders) > 2:
        raise click.UsageError("Two generators are compared: give two folders, or one that holds both.")
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise UsageError(f"{out}: holds the images; choose another folder for -o")
    listings = [list_folder(folder) for folder in folders]
    return choose(listings, tuple(name.strip() for name in models.split(",") if name.strip()))


def _session(console: Console, task: Task, generators: tuple[Generator, Generator], out: Path) -> Session:
    """Open the ratings, and say what is asked, what is left out and who has rated."""
    from semscale.study.annotate.items import told
    from semscale.study.annotate.session import Session
    from semscale.study.annotate.text import counted, one_line

    session = Session(task, generators, out)
    n_shown = task.asked.n_shown
    shown = f"{counted(len(task.items), 'prompt')}, up to {counted(n_shown, 'image')} a side"
    console.say(f"{one_line(' and '.join(task.models))}: {shown}")
    for line in told(task.left_out, task.models, n_shown):
        console.say(one_line(line))
    if session.n_mended:
        console.say(
            f"half a line, of a server that was killed, cut off in {counted(session.n_mended, 'file')} of ratings"
        )
    for rater, n in session.ratings().items():
        console.say(f"{rater}: {n} of {len(task.items)} rated")
    console.say(task.asked.question)
    return session


def _serve(console: Console, session: Session, port: int, *, opens: bool) -> str:
    """Serve until Ctrl-C; the address, which is always printed."""
    import secrets
    import webbrowser

    from semscale.study.annotate.server import ADDRESS, application, listen, server

    token = secrets.token_urlsafe(16)
    listening = listen(port)
    url = f"http://{ADDRESS}:{listening.getsockname()[1]}/{token}/"
    console.say(
        "Rate here. The address is secret: whoever has it can rate, others on this machine cannot. Ctrl-C ends."
    )
    click.echo(url)
    if opens:
        webbrowser.open(url)
    try:
        server(application(session, token)).run(sockets=[listening])
    except KeyboardInterrupt:
        console.say("")  # after the terminal's ^C
    return url
