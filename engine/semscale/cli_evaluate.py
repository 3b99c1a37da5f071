"""The command `semscale evaluate`: scores of a table of predictions and truths."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semscale.cli_output import emit, output_options

if TYPE_CHECKING:
    from semscale.evaluation import Evaluation

METRICS = ("accuracy", "mean-iou", "bleu")
PRESETS = ("pooled", "per-image")


@click.command()
@click.argument("table", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--metric", type=click.Choice(METRICS), required=True, help="What to compute.")
@click.option("--prediction", metavar="COLUMN", default="prediction", show_default=True, help="Column of predictions.")
@click.option("--truth", "truths", metavar="COLUMN", multiple=True, default=["truth"], show_default=True,
              help="Column of truths; for bleu it may be given several times.")  # fmt: skip
@click.option("--ignore-index", type=click.IntRange(0), metavar="LABEL",
              help="With mean-iou: pixels whose truth is this label do not count.")  # fmt: skip
@click.option("--preset", type=click.Choice(PRESETS), help="With mean-iou: over all images or each. [default: pooled]")
@output_options
def evaluate(table: Path, metric: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Compute accuracy, mean IoU or BLEU of the predictions and truths in TABLE, a CSV, JSON Lines or Parquet file.

    For mean-iou both columns hold paths of PNG files, relative to TABLE, whose pixels are class labels.
    """
    given = {name: options.pop(name) for name in ("ignore_index", "preset")}
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen and metric != "mean-iou":
        raise click.UsageError(f"--{next(iter(chosen)).replace('_', '-')} is for --metric mean-iou.")
    from semscale import evaluation
    from semscale.console import Console
    from semscale.metrics.description import FewSamplesWarning

    console = Console(quiet=quiet)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        found = evaluation.evaluate(table, metric, **options, **chosen)
    told = list(dict.fromkeys(str(each.message) for each in caught))
    for line in (*_lines(found), *told):
        console.say(line)
    emit(as_json, {**_as_json(found), "warnings": told})


def _lines(found: Evaluation) -> Iterator[str]:
    score = found.score
    interval = "" if score.interval is None else f" ({score.interval.low:.4g} to {score.interval.high:.4g}, 95 %)"
    yield f"{score.metric}  {score.value:.4g}{interval}  n = {score.n} of {found.n_rows} rows"
    told = score.params
    if score.interval is not None:
        yield f"interval: {score.interval.method}"
    if told.get("n_missing"):
        yield f"left out, without a prediction or a truth: {told['n_missing']}"
    if told.get("n_empty"):
        yield f"left out, without a pixel that counts: {told['n_empty']}"
    if told.get("n_unseen"):
        yield f"predictions that are no row's truth, as they are written: {told['n_unseen']}"
    if "signature" in told:
        yield f"signature: {told['signature']}"
    yield from (f"  class {label}: {iou:.4g}" for label, iou in found.per_class.items())


def _as_json(found: Evaluation) -> dict[str, Any]:
    interval = found.score.interval
    return {
        "table": str(found.table),
        "metric": found.score.metric,
        "value": found.score.value,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "n": found.score.n,
        "n_rows": found.n_rows,
        "params": dict(found.score.params),
        "per_class": {str(label): iou for label, iou in found.per_class.items()},
    }
