"""What people see of a comparison in a terminal, and of two lists of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from semscale.cli_output import visible
from semscale.console import Console
from semscale.report.format import plain, plural
from semscale.report.names import apart
from semscale.stats.comparison import summarise
from semscale.study.comparison.comparing import ComparedMetric, ComparedPair, Study, ahead_first
from semscale.study.comparison.measured import Metric
from semscale.study.comparison.prompt_lists import Checked
from semscale.study.comparison.words import facts

SHOWN = 20  # flagged rows that are printed
TABLES = 3  # pairs of models whose statistics are printed
NAME = 60  # characters of a model in a table
WIDEST = 200  # columns of a table: on a narrower terminal lines are broken, and no number is cut


class CompareConsole(Console):
    """Prints the outcome of `compare`."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._out.width = max(self._out.width, WIDEST)

    def compared(self, found: Study) -> None:
        """The verdicts, what to know before they are believed, and a table for each metric."""
        for compared in found.metrics:
            for pair in compared.pairs:
                self.say(visible(pair.sentence))
        for line in found.warnings:
            self.say(visible(f"! {line}"))
        for compared in found.metrics:
            self._tables(compared, [side.label for side in found.sides])

    def _tables(self, compared: ComparedMetric, labels: Sequence[str]) -> None:
        self.say("")
        self._out.print(_models(compared, labels))
        for pair in compared.pairs[:TABLES]:
            self.say("")
            self._out.print(_statistics(compared.metric, ahead_first(pair), apart(labels, NAME)))
        if len(compared.pairs) > TABLES:
            self.say(f"and {len(compared.pairs) - TABLES} more pairs of models, in the files that -o writes")

    def checked(self, found: Checked, files: tuple[Path, Path]) -> None:
        """Which rows of two lists are not the same prompt."""
        for line in _told(found, files):
            self.say(visible(line))


def _models(compared: ComparedMetric, labels: Sequence[str]) -> Table:
    table = _table(compared.metric.name, "mean", "median", "SD, ddof 1", "n prompts")
    for label, values in zip(apart(labels, NAME), compared.values.T, strict=True):
        one = summarise(values)
        table.add_row(_cell(label), *map(plain, (one.mean, one.median, one.sd)), f"{one.n:,}")
    return table


def _statistics(metric: Metric, pair: ComparedPair, names: Sequence[str]) -> Table:
    table = _table(" - ".join(names[n] for n in pair.columns), "")
    for fact in facts(metric, pair.statistics, pair.p, adjusted=pair.adjusted):
        table.add_row(_cell(fact.name), _cell(f"{fact.value} ({fact.short})" if fact.short else fact.value))
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(_cell(first, 2 * NAME + 3), no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    return table


def _cell(text: str, limit: int = 80) -> str:
    return escape(visible(_short(text, limit)))


def _told(checked: Checked, files: tuple[Path, Path]) -> Iterator[str]:
    rows = [row.row for row in checked.flagged]
    are = "rows are" if len(rows) > 1 else "row is"
    state = f"{len(rows):,} {are} not the same prompt: {_ranges(rows)}" if rows else "every row is the same prompt"
    learned = f" up to {checked.substitution}" if str(checked.substitution) != "none" else ""
    counted = (f"{file.name}: {plural(n, 'row')}" for file, n in zip(files, (checked.n_a, checked.n_b), strict=True))
    yield f"{state}{learned} ({', '.join(counted)})"
    for row in checked.flagged[:SHOWN]:
        where = f"{'is' if row.exact else 'is most like'} row {row.fits}" if row.fits else "is like no row"
        partner = "" if row.a is None else f"; the first {where} of the other list"
        yield f"  row {row.row}: {_short(row.a)} | {_short(row.b)}{partner}"
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more, all in --json"
    if rows:
        had = f"{plural(len(checked.pairs), 'prompt')} of the first list"
        yield f"{had} {'is' if len(checked.pairs) == 1 else 'are'} in the second; -o DIR writes them as a --prompt-map"


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


def _short(prompt: str | None, limit: int = 60) -> str:
    return "no such row" if prompt is None else prompt if len(prompt) <= limit else f"{prompt[: limit - 1]}…"
