"""The command `semscale plan-samples`: how many images a prompt needs."""

from __future__ import annotations

from pathlib import Path

import click

from semscale.cli_output import emit, output_options


@click.command("plan-samples")
@click.argument("store", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--precision", default="1%", show_default=True, metavar="P",
              help="How near to the truth: '1%' of the score, or '0.5' points.")  # fmt: skip
@click.option("--confidence", type=float, default=0.95, show_default=True, metavar="SHARE",
              help="Share of the scores that shall be so near.")  # fmt: skip
@click.option("--sizes", metavar="N,N,...", help="Images a prompt in the table. [default: 5 to 1000]")
@click.option("--repeats", type=click.IntRange(1), default=500, show_default=True,
              help="Random orders of the images of each prompt.")  # fmt: skip
@click.option("--groups", type=click.IntRange(1), default=1000, show_default=True, metavar="N",
              help="At most N prompts, drawn at random.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of every random draw.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write plan.json, plan.parquet, prompts.parquet, plan.svg and plan.png there.")  # fmt: skip
@output_options
def plan_samples(
    store: Path,
    precision: str,
    confidence: float,
    sizes: str | None,
    repeats: int,
    groups: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how many images a prompt needs for a consistency score as precise as you want, from the images in STORE.

    STORE is the folder of a store, or results of `score` with one inside: the pilot, of 10 images a prompt or more.
    Random subsets of each prompt's images show how far scores of N images are off; what subsets cannot show because
    they share images is added, and sizes above half of the pilot are extrapolated and say so: docs/plan-samples.md.
    """
    from semscale.console_plan import PlanConsole
    from semscale.study.samples.plan_files import as_json as told
    from semscale.study.samples.plan_files import refuse_inside_store, write_plan
    from semscale.study.samples.planning import plan_samples as planned
    from semscale.study.samples.sample_plan import SIZES, Question, parse_precision

    chosen = SIZES if sizes is None else _sizes(sizes)
    asked = Question(parse_precision(precision), confidence, chosen, repeats, groups, seed)
    if out is not None:
        refuse_inside_store(out, store)
    plan = planned(store, asked)
    console = PlanConsole(quiet=quiet)
    console.plan(plan)
    if out is not None:
        write_plan(out, plan)
        console.say(f"plan: {out}")
    emit(as_json, {**told(plan), "out": None if out is None else str(out)})


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise click.UsageError(f"--sizes {text!r}: give whole numbers, as 5,10,20.") from error
