"""The command `semscale reference`: the statistics of a reference set, once and for all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from semscale.cli_output import emit, output_options


@click.command()
@click.argument("store", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.npz",
              help="The file to write; `score --reference` reads it.")  # fmt: skip
@output_options
def reference(store: Path, out: Path, as_json: bool, quiet: bool) -> None:
    """Save the mean and covariance of the embeddings in STORE, and which encoder and resizing made them.

    That is all a Fréchet distance needs (fid, fid-clip, fd-dinov2, fid-infinity), in a few megabytes however many
    images there are; kid, precision and others compare single embeddings and need the store itself. STORE is the folder
    of a store, or results of `score` that hold one.
    """
    from semscale.console import Console
    from semscale.measures.references import save_reference

    saved = save_reference(store, out)
    Console(quiet=quiet).say(f"{saved.n} embeddings of {saved.dim} dimensions by {saved.encoder}, in {out}")
    emit(as_json, {**dataclasses.asdict(saved), "out": str(out)})
