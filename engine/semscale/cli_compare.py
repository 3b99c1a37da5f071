"""The command `semscale compare`: models over the same prompts, and two lists of prompts."""

from __future__ import annotations

import csv
import dataclasses
import io
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semscale.cli_output import emit, output_options

if TYPE_CHECKING:
    from semscale.study.comparison.prompt_lists import Checked

FLAGGED = 1  # the exit code when two lists of prompts do not agree
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option("--models", multiple=True, metavar="A,B[,C]",
              help="Models of the one folder, or one of each folder, in their order. [default: all]")  # fmt: skip
@click.option("--metric", "metrics", multiple=True, metavar="NAME,...",
              help="Scores, or columns by prompt or by image. [default: every score that all have]")  # fmt: skip
@click.option("--prompt-map", default="", metavar="FILE|PATTERN=>REPLACEMENT",
              help="Prompts that differ on purpose: a table of two columns, or as 's/Monet/TOK/'.")  # fmt: skip
@click.option("--prompts", nargs=2, type=FILE, metavar="FILE_A FILE_B",
              help="Check two lists of prompts instead, row by row; exits with 1 when rows differ.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for comparison.json, pairs.parquet, unmatched.parquet, compare.html, figures.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap and permutations.")
@click.option("--common-seeds", is_flag=True, help="scs of the images of shared seeds, from the kept embeddings.")
@click.option("--force", is_flag=True, help="Compare scores of different encoders or presets all the same.")
@output_options
def compare(
    results: tuple[Path, ...],
    models: tuple[str, ...],
    metrics: tuple[str, ...],
    prompt_map: str,
    prompts: tuple[Path, Path] | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compare models over the prompts that all of them have: who is ahead, by how much, and how sure that is.

    RESULTS are folders that `semscale score` wrote, one for each model, or one that holds several models. They are
    joined by prompt and seed, never by row; what has no partner is listed. Without -o nothing is written.
    """
    if prompts is not None:
        if results or models or metrics or prompt_map:
            raise click.UsageError("--prompts compares two lists; leave results and the other options out.")
        _check_lists(prompts, out, as_json=as_json, quiet=quiet)
        return
    if not results:
        raise click.UsageError("Missing argument 'RESULTS...': folders that `semscale score` wrote, or --prompts.")
    from semscale.console_compare import CompareConsole
    from semscale.provenance import provenance
    from semscale.study.comparison.comparing import compare_runs
    from semscale.study.comparison.comparison_files import as_json as told
    from semscale.study.comparison.comparison_files import write_comparison

    started = time.time()
    named = [name for each in models for name in each.split(",") if name]
    if models and not named:
        raise click.UsageError(f"--models {','.join(models)!r} names nothing; leave it out for all models.")
    found = compare_runs(*results, models=named, metrics=metrics, prompt_map=prompt_map, **options)
    made = provenance(shlex.join(["semscale", *sys.argv[1:]]), started)
    line = told(found, made) if out is None else write_comparison(out, found, made)
    console = CompareConsole(quiet=quiet)
    console.compared(found)
    if out is not None:
        console.say(f"report: {out / 'compare.html'}")
    emit(as_json, {**line, "out": None if out is None else str(out)})


def _check_lists(files: tuple[Path, Path], out: Path | None, *, as_json: bool, quiet: bool) -> None:
    from semscale.console_compare import CompareConsole
    from semscale.files import replace
    from semscale.study.comparison.prompt_lists import check_lists
    from semscale.study.comparison.prompt_rows import read_prompts

    checked = check_lists(*map(read_prompts, files))
    CompareConsole(quiet=quiet).checked(checked, files)
    if out is not None:
        replace(out / "prompt_map.csv", _as_map(checked))
    flagged = [dataclasses.asdict(row) for row in checked.flagged]
    rows = {"n_a": checked.n_a, "n_b": checked.n_b, "substitution": str(checked.substitution)}
    emit(as_json, {**rows, "n_flagged": len(flagged), "flagged": flagged})
    sys.exit(FLAGGED if flagged else 0)


def _as_map(checked: Checked) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("a", "b"), *checked.pairs])
    return text.getvalue().encode()
