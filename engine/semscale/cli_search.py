"""The commands `index` and `search`. Heavy modules are imported when a command runs, so that help stays quick."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semscale.cli_output import emit, output_options
from semscale.encoders import BACK_ENDS

if TYPE_CHECKING:
    from semscale.find import Found, Query

KINDS = ("auto", "flat", "ivf", "hnsw", "ivfpq")
_store = click.argument("store", type=click.Path(path_type=Path, file_okay=False, exists=True))


@click.command()
@_store
@click.option("--kind", type=click.Choice(KINDS), default="auto", show_default=True,
              help="'auto' chooses by the number and size of the vectors and the memory there is.")  # fmt: skip
@output_options
def index(store: Path, kind: str, as_json: bool, quiet: bool) -> None:
    """Make a FAISS index of STORE, or bring it up to date, and measure how much of the truth it finds.

    STORE is the folder of a store, or results of `score` with one store. New shards are added to a flat, hnsw or ivf
    index; an index that no longer matches its store is built again.
    """
    from semscale.console_search import SearchConsole
    from semscale.find import the_store
    from semscale.indexing import index_store

    console, root = SearchConsole(quiet=quiet), the_store(store)
    done = index_store(root, kind, say=console.say)
    console.indexed(done)
    line: dict[str, Any] = {"store": str(root), "action": done.action, "kind": None}
    if done.record is not None:
        record = done.record
        line |= {
            "kind": record.shape.kind,
            "parameters": record.shape.parameters,
            "n": record.store.rows,
            "n_indexed": record.n_indexed,
            "recall_at_10": record.recall,
            "recall_queries": record.n_queries,
            "bytes": record.size,
            "seconds": record.seconds,
        }
    emit(as_json, line)


@click.command()
@_store
@click.option("--text", help="Find images of this text.")
@click.option("--image", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Find images like the one in this file.")  # fmt: skip
@click.option("--key", help="Find images like the stored one of this key, which is left out.")
@click.option("-k", "k", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--model", help="What encodes the text or image. [default: the model that STORE names]")
@click.option("--backend", type=click.Choice(list(BACK_ENDS)), default="onnx", show_default=True,
              help="What runs it.")  # fmt: skip
@click.option("--exact", is_flag=True, help="Compare with every vector, index or not.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a contact sheet here.")
@output_options
def search(
    store: Path,
    text: str | None,
    image: Path | None,
    key: str | None,
    html: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Find the images of STORE most similar to a text, an image file or one of its own images.

    STORE is the folder of a store, or results of `score` with one store. Give one of --text, --image and --key. An
    index made by `semscale index` is used where it is up to date; similarities are exact either way.
    """
    given = {"text": text, "image": None if image is None else str(image), "key": key}
    asked = {kind: value for kind, value in given.items() if value is not None}
    if len(asked) != 1:
        raise click.UsageError("Give exactly one of --text, --image and --key.")
    [(kind, value)] = asked.items()
    if not value.strip():
        raise click.UsageError(f"--{kind} is empty.")
    from semscale import find
    from semscale.console_search import SearchConsole

    console, notes = SearchConsole(quiet=quiet), list[str]()

    def say(line: str) -> None:
        notes.append(line)
        console.say(line)

    query = find.Query(kind, value, options.pop("model"), options.pop("backend"))  # pyright: ignore[reportArgumentType]
    found = find.search(store, query, say=say, **options)
    console.hits(found)
    if html is not None:
        console.say(f"contact sheet: {_write_sheet(html, found, query)}")
    emit(as_json, {**find.as_json(found), "notes": notes, "html": None if html is None else str(html)})


def _write_sheet(path: Path, found: Found, query: Query) -> Path:
    from semscale.report.sheet import Entry, Sheet, write_sheet

    entries = [Entry(hit.key, hit.uri, hit.sha256, hit.group, hit.similarity) for hit in found.hits]
    subject = None if found.subject is None else Entry(**dataclasses.asdict(found.subject))
    title = f"“{query.value}”" if query.kind == "text" else f"Images like {query.value}"
    return write_sheet(path, Sheet(title, (str(found.store), found.how), found.note, subject), entries)
