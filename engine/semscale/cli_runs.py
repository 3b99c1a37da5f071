"""What `semscale score` and `semscale embed` share: their options, and how they end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click

from semscale.cli_output import TOO_MANY_ERRORS
from semscale.encoders import BACK_ENDS, DEFAULT_MODEL
from semscale.encoders.machine import LIBRARY, bf16
from semscale.metrics.alignment import PRESETS
from semscale.model import DECODES, DTYPES

sources = click.argument("source", nargs=-1, required=True)
error_option = click.option("--max-error-rate", type=click.FloatRange(0, 1), default=0.01, show_default=True,
                            help="Exit with 3 when a larger share of the inputs failed.")  # fmt: skip


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the commands that embed images."""
    for option in reversed(
        (
            click.option("--model", default=DEFAULT_MODEL, show_default=True,
                         help="Hub id, checkpoint folder, exported folder, 'demo', or a name in docs/models.md."),
            click.option("--backend", type=click.Choice(["auto", *BACK_ENDS]), default="auto", show_default=True,
                         help="What runs the encoder; docs/backends.md says when to choose which."),
            click.option("--precision", metavar="fp32|tf32|fp16|bf16|int8",
                         help="Of the encoder, compared with float32 before it is used. [default: the back end's]"),
            click.option("--clip-score", type=click.Choice(list(PRESETS)), default="torchmetrics", show_default=True,
                         help="Whose convention of the CLIP score: scale, clamping and prefix."),
            click.option("--group-by", metavar="parent|COLUMN",
                         help="Group by parent folder or a metadata column. [default: by text, else parent folder]"),
            click.option("--decode", type=click.Choice(DECODES), default="exact", show_default=True,
                         help="'close' may be off by 1 of 255, 'fast' reduces JPEGs, 'gpu': see docs/pixels.md."),
            click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
                         help="Type of the stored embeddings."),
            click.option("--batch-size", type=click.IntRange(1), help="Images a batch. [default: the back end's]"),
            click.option("--workers", type=click.IntRange(1), help="Decoding threads. [default: one a core]"),
            click.option("--shard-size", type=click.IntRange(1), default=4096, show_default=True,
                         help="Images a shard, the unit of resuming."),
            click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N images."),
            click.option("--max-pixels", type=click.IntRange(1), metavar="N",
                         help="Refuse images of more pixels. [default: 89478485]"),
            click.option("--reuse", multiple=True, metavar="STORE|FOLDER",
                         help="Take embeddings of the same bytes, encoder and settings from a store, or from results."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the commands that may run for days, or on many machines."""
    for option in reversed(
        (
            click.option("--follow", is_flag=True,
                         help="Go on as images appear, until SOURCE holds a file _SUCCESS or nothing new comes."),
            click.option("--quiet-time", type=click.FloatRange(0, min_open=True), default=300.0, show_default=True,
                         metavar="SECONDS", help="With --follow: end when nothing new came for so long."),
            click.option("--shards", metavar="I/N",
                         help="Only the I-th of N parts, for N processes or machines that share the output folder."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def begin_trials(backend: str) -> None:
    """Begin what "auto" will ask of this machine, beside the imports of a run, which take longer."""
    if backend == "auto" and find_spec(LIBRARY) is not None:
        threading.Thread(target=bf16, daemon=True).start()


def chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Command-line options as fields of Options."""
    from semscale.locks import Part
    from semscale.settings import Settings

    follow, quiet_time, shards = options.pop("follow"), options.pop("quiet_time"), options.pop("shards")
    names = ("batch_size", "workers", "shard_size", "limit", "max_pixels")
    given = {name: value for name in names if (value := options.pop(name)) is not None}
    settings = Settings(**given, part=None if shards is None else Part.parse(shards))
    return {**options, "settings": settings, "follow": quiet_time if follow else None}


def exit_on_errors(summary: dict[str, Any], max_error_rate: float) -> None:
    """End the process with status 3 when a larger share of the inputs failed than is allowed."""
    rate = summary["n_failed"] / summary["n_found"]
    if rate > max_error_rate:
        click.echo(f"{rate:.1%} of the inputs failed, more than --max-error-rate {max_error_rate:.1%}", err=True)
        sys.exit(TOO_MANY_ERRORS)
