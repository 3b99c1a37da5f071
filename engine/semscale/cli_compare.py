"""The command `semscale compare`: models over the same prompts, and two lists of prompts."""

from __future__ import annotations

import csv
import dataclasses
import io
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semscale.cli_output import emit, output_options

if TYPE_CHECKING:
    from semscale.study.comparison.comparing import ComparedMetric, ComparedPair, Study
    from semscale.study.comparison.prompt_lists import Checked

FLAGGED = 1  # the exit code when two lists of prompts do not agree
SHOWN = 20  # flagged rows that are printed
TABLES = 3  # pairs of models whose statistics are printed
NAME = 24  # characters of a model in the head of a table
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
              help="Folder for comparison.json, pairs.parquet, unmatched.parquet and compare.html.")  # fmt: skip
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
    from semscale.provenance import provenance
    from semscale.study.comparison.comparing import compare_runs
    from semscale.study.comparison.comparison_files import as_json as told
    from semscale.study.comparison.comparison_files import write_comparison

    started = time.time()
    named = [name for each in models for name in each.split(",") if name]
    found = compare_runs(*results, models=named, metrics=metrics, prompt_map=prompt_map, **options)
    made = provenance(shlex.join(["semscale", *sys.argv[1:]]), started)
    line = told(found, made) if out is None else write_comparison(out, found, made)
    if not quiet:
        _print(found)
        if out is not None:
            click.echo(f"report: {out / 'compare.html'}")
    emit(as_json, {**line, "out": None if out is None else str(out)})


def _print(found: Study) -> None:
    """The verdicts, what to know before they are believed, and a table for each metric."""
    import rich.console

    console = rich.console.Console(soft_wrap=True, highlight=False)
    for compared in found.metrics:
        for pair in compared.pairs:
            console.print(_visible(pair.sentence), markup=False)
    for line in found.warnings:
        console.print(_visible(f"! {line}"), markup=False)
    for compared in found.metrics:
        console.print()
        console.print(_models(compared, [side.label for side in found.sides]))
        for pair in compared.pairs[:TABLES]:
            console.print()
            console.print(_statistics(pair))
        if len(compared.pairs) > TABLES:
            console.print(f"and {len(compared.pairs) - TABLES} more pairs of models, in the files that -o writes")


def _models(compared: ComparedMetric, labels: list[str]) -> Any:
    from semscale.stats.comparison import summarise
    from semscale.study.comparison.words import plain

    table = _table(compared.metric.name, "mean", "median", "SD, ddof 1", "n prompts")
    for label, values in zip(labels, compared.values.T, strict=True):
        one = summarise(values)
        numbers = (*map(plain, (one.mean, one.median, one.sd)), str(one.n))
        table.add_row(_cell(label), *numbers)
    return table


def _statistics(pair: ComparedPair) -> Any:
    from semscale.study.comparison.facts import facts

    table = _table(f"{_short(pair.a, NAME)} - {_short(pair.b, NAME)}", "")
    for fact in facts(pair):
        table.add_row(_cell(fact.name), _cell(f"{fact.value} ({fact.short})" if fact.short else fact.value, 80))
    return table


def _table(first: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(_cell(first, 2 * NAME), no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    return table


def _cell(text: str, limit: int = 40) -> str:
    from rich.markup import escape

    return escape(_visible(_short(text, limit)))


def _check_lists(files: tuple[Path, Path], out: Path | None, *, as_json: bool, quiet: bool) -> None:
    from semscale.study.comparison.prompt_lists import check_lists, read_prompts

    checked = check_lists(*map(read_prompts, files))
    if not quiet:
        for line in _told(checked, files):
            click.echo(_visible(line))
    if out is not None:
        from semscale.files import replace

        replace(out / "prompt_map.csv", _as_map(checked))
    flagged = [dataclasses.asdict(row) for row in checked.flagged]
    rows = {"n_a": checked.n_a, "n_b": checked.n_b, "substitution": str(checked.substitution)}
    emit(as_json, {**rows, "n_flagged": len(flagged), "flagged": flagged})
    sys.exit(FLAGGED if flagged else 0)


def _told(checked: Checked, files: tuple[Path, Path]) -> Iterator[str]:
    rows = [row.row for row in checked.flagged]
    state = f"{len(rows)} rows are not the same prompt: {_ranges(rows)}" if rows else "every row is the same prompt"
    learned = f" up to {checked.substitution}" if str(checked.substitution) != "none" else ""
    yield f"{state}{learned} ({files[0].name}: {checked.n_a} rows, {files[1].name}: {checked.n_b} rows)"
    for row in checked.flagged[:SHOWN]:
        where = f"{'is' if row.exact else 'is most like'} row {row.fits}" if row.fits else "is like no row"
        partner = "" if row.a is None else f"; the first {where} of the other list"
        yield f"  row {row.row}: {_short(row.a)} | {_short(row.b)}{partner}"
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more, all in --json"
    if rows:
        yield f"{len(checked.pairs)} prompts of the first list are in the second; -o DIR writes them as a --prompt-map"


def _ranges(rows: list[int]) -> str:
    """Row numbers with runs joined: "16-27, 30"."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][-1] + 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    said = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(said[:SHOWN]) + (" ..." if len(said) > SHOWN else "")


def _as_map(checked: Checked) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("a", "b"), *checked.pairs])
    return text.getvalue().encode()


def _short(prompt: str | None, limit: int = 60) -> str:
    return "no such row" if prompt is None else prompt if len(prompt) <= limit else f"{prompt[: limit - 1]}…"


def _visible(text: str) -> str:
    """The text with its control characters shown instead of obeyed."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
