"""The command `semscale metrics`: what each number means."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from semscale.cli_output import emit, output_options

if TYPE_CHECKING:
    from semscale.metrics.description import Description


@click.command()
@click.argument("name", required=False)
@output_options
def metrics(name: str | None, as_json: bool, quiet: bool) -> None:
    """List the metrics, or say all about the metric NAME: formula, range, estimator, smallest n, paper, presets."""
    from semscale.console import Console
    from semscale.measures.table import MEASURES
    from semscale.metrics.registry import METRICS, metric

    console, chosen = Console(quiet=quiet), list(METRICS.values()) if name is None else [metric(name)]
    if name is None:
        widest = max(map(len, METRICS))
        for described in chosen:
            whence = "" if described.name in MEASURES else " (from Python)"
            console.say(f"{described.name:{widest}}  {described.what}{whence}")
    else:
        for line in _page(chosen[0]):
            console.say(line)
    emit(as_json, {"metrics": [dataclasses.asdict(described) for described in chosen]})


def _page(described: Description) -> list[str]:
    facts = {
        "formula": described.formula,
        "range": described.range,
        "better": described.better,
        "estimator": described.estimator,
        "smallest n": f"{described.smallest_n} {described.of}",
        "source": described.source,
    }
    lines = [f"{described.name}: {described.what}", *(f"  {label:10}  {fact}" for label, fact in facts.items())]
    return [*lines, *(f"  preset {name}: {convention}" for name, convention in described.presets.items())]
