"""The command `semscale agreement`: how far raters agree, with each other and with a metric."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semscale.cli_output import emit, output_options, visible

if TYPE_CHECKING:
    from semscale.study.agreement.agreeing import Agreement
    from semscale.study.agreement.words import Line

SHOWN = 10  # disagreements that are printed


@click.command()
@click.argument("ratings", type=click.Path(path_type=Path))
@click.argument("more", nargs=-1, metavar="[RUN]...")
@click.option("--scores", multiple=True, metavar="[LABEL=]RUN...",
              help="Results of `semscale score`: one folder with both models, or one of each.")  # fmt: skip
@click.option("--metric", default="scs", show_default=True, metavar="NAME",
              help="The score, or column by prompt or image, that chooses a model.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for agreement.json, items.parquet and agreement.html.")  # fmt: skip
@output_options
def agreement(
    ratings: Path,
    more: tuple[str, ...],
    scores: tuple[str, ...],
    metric: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how far raters agree, with each other and with a metric, beyond what chance and a constant answer give.

    RATINGS is the folder that `semscale annotate` wrote. With --scores, the model that a metric prefers for each prompt
    is held against the majority; scores are joined by prompt and by the name of the model, or a folder is named for
    one: --scores SDXL=RUN. Without -o nothing is written. docs/agreement.md explains every figure.
    """
    from semscale.provenance import provenance
    from semscale.study.agreement.agreeing import agree
    from semscale.study.agreement.files import as_json as told
    from semscale.study.agreement.files import write_agreement

    if more and not scores:
        raise click.UsageError(f"Got unexpected extra argument ({more[0]}): name results with --scores.")
    started = time.time()
    found = agree(ratings, scores=[*scores, *more], metric=metric)
    made = provenance(shlex.join(["semscale", *sys.argv[1:]]), started)
    line = told(found, made) if out is None else write_agreement(out, found, made)
    if not quiet:
        _print(found)
        if out is not None:
            click.echo(f"report: {out / 'agreement.html'}")
    emit(as_json, {**line, "out": None if out is None else str(out)})


def _print(found: Agreement) -> None:
    """The verdict, what to know before it is believed, and the figures."""
    from semscale.study.agreement.words import headline, of_metric, of_raters

    said = [*headline(found), *(f"! {line}" for line in found.warnings), "", *_columns("raters", of_raters(found))]
    if found.metric is not None:
        said += ["", *_columns(found.metric.metric.name, of_metric(found.metric)), *_apart(found)]
    for line in said:
        click.echo(visible(line))


def _columns(title: str, lines: Iterable[Line]) -> list[str]:
    """Figures below each other; their explanations may run over the line's end."""
    every = list(lines)
    names, values = (max(len(getattr(line, part)) for line in every) for part in ("name", "value"))
    return [title, *(f"  {line.name:<{names}}  {line.value:<{values}}  {line.how}" for line in every)]


def _apart(found: Agreement) -> list[str]:
    """The first items on which raters and metric differ."""
    places, models = found.disagreements, found.ratings.task.models
    if not places or found.metric is None:
        return []
    said = [
        f"  {found.ratings.task.items[n].prompt:.60}: raters {models[found.majority[n]]} "
        f"({' to '.join(map(str, sorted(found.counts[n].tolist(), reverse=True)))}), "
        f"{found.metric.metric.name} {models[found.metric.choice[n]]}"
        for n in places[:SHOWN]
    ]
    more = [f"  and {len(places) - SHOWN} more"] if len(places) > SHOWN else []
    return ["", f"raters and {found.metric.metric.name} differ on {len(places)}:", *said, *more]
