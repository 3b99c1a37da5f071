"""The command `semscale metrics`: what each number means."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from semscale.cli_output import emit, output_options

if TYPE_CHECKING:
    from semscale.metrics.description import Description

OF_TABLES = ("accuracy", "mean-iou", "bleu")


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
            elsewhere = " (semscale evaluate)" if described.name in OF_TABLES else " (from Python)"
            whence = "" if described.name in MEASURES else elsewhere
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
        "in a run": in_a_run(described.name),
    }
    lines = [f"{described.name}: {described.what}", *(f"  {label:10}  {fact}" for label, fact in facts.items())]
    return [*lines, *(f"  preset {name}: {convention}" for name, convention in described.presets.items())]


def in_a_run(name: str) -> str:
    """How `semscale score` computes a metric, in words."""
    from semscale.measures.measure import Need
    from semscale.measures.table import MEASURES

    if name not in MEASURES:
        return "semscale evaluate" if name in OF_TABLES else "not computed; a function of semscale.metrics"
    measure = MEASURES[name]
    parts = [f"--metrics {name}", f"preset {measure.default}" if measure.default else ""]
    if measure.example:
        parts.append(f"others are {measure.example}")
    if measure.encodes:
        parts.append(f"encoder {measure.encoder_of(measure.default) or 'of --model'}, or {name}@ENCODER")
    needs = measure.needs - ({Need.REFERENCE} if Need.ROWS in measure.needs else set())
    parts += [f"needs {need.value}" for need in sorted(needs, key=lambda need: need.name)]
    return "; ".join(part for part in parts if part)
