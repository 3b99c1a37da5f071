"""What people see in a terminal. Progress goes to standard error, results to standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import rich.console
from rich import progress
from rich.markup import escape
from rich.table import Table

from semscale.cli_output import visible
from semscale.model import Progress

LINE_EVERY = 10.0  # seconds between progress lines where there is no terminal


class Console:
    """Prints tables, and progress as a bar on a terminal or as plain lines elsewhere; nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._out = rich.console.Console(quiet=quiet, soft_wrap=True, highlight=False)
        self._err = rich.console.Console(quiet=quiet, stderr=True, soft_wrap=True, highlight=False)
        self._has_bar = False

    def say(self, text: str) -> None:
        """One line of plain text, above a bar that is on the same terminal."""
        above = self._has_bar and self._out.is_terminal
        (self._err if above else self._out).print(text, markup=False)

    @contextmanager
    def progress(self) -> Iterator[Callable[[Progress], None]]:
        """Give a function that shows how far a run is."""
        if not self._err.is_terminal or self._err.quiet:
            yield self._lines()
            return
        columns = (
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TextColumn("{task.fields[failed]} failed"),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=self._err) as bars:
            task = bars.add_task("", total=None, rate="", failed=0)
            rate = _Rate()

            def tell(now: Progress) -> None:
                speed = rate(now.done)
                told = "" if speed is None else _speed(speed)
                bars.update(task, total=now.total, completed=now.done, failed=now.failed, rate=told)

            self._has_bar = True
            try:
                yield tell
            finally:
                self._has_bar = False

    def _lines(self) -> Callable[[Progress], None]:
        rate, last = _Rate(), [time.monotonic()]

        def tell(now: Progress) -> None:
            speed = rate(now.done)
            waiting = time.monotonic() - last[0] < LINE_EVERY and now.done < now.total
            if waiting or not now.done:
                return
            last[0] = time.monotonic()
            parts = [f"{now.done}/{now.total} images", f"{now.failed} failed"]
            if speed is not None:
                parts.insert(1, _speed(speed))
                parts.append(f"{(now.total - now.done) / speed:.0f} s left")
            self._err.print(", ".join(parts), markup=False)

        return tell

    def scores(self, run: Any) -> None:
        """The outcome of a run, or of one part of it."""
        if not run.summary["scores"]:
            done = run.summary["n_ok"] + run.summary["n_failed"]
            self.say(
                f"{done} of {run.summary['n_found']} inputs done in {run.out}; the part that ends last scores them"
            )
            return
        for line in _lines_about(run.summary):
            self.say(line)
        table = Table(box=None, pad_edge=False)
        table.add_column("score", min_width=max(map(len, run.summary["scores"]), default=0))  # never cut
        table.add_column("model")
        for column in ("value", "95 % interval", "n"):
            table.add_column(column, justify="right")
        for name, entry in run.summary["scores"].items():
            for model, part in [*entry["by_model"].items(), ("all", entry)]:
                counted = _count(part["n"], part["per"])
                table.add_row(
                    escape(visible(name)),
                    escape(visible(model)),
                    _number(part["value"]),
                    _interval(part),
                    counted,
                )
        self._out.print(table)
        self.say(f"report: {run.out / 'report.html'}")

    def failures(self, failed: pa.Table) -> None:
        """Every input that failed, one a line: reason, name, what to do."""
        for key, reason, message in zip(*(column.to_pylist() for column in failed.columns), strict=True):
            self.say(f"{reason}  {visible(key)}  {visible(message)}")

    def verification(self, path: str, found: Any) -> None:
        """What was found wrong with a store."""
        for problem in found.problems:
            self.say(f"{visible(problem.file)}: {problem.what}{' (mended)' if problem.mended else ''}")
        state = "whole" if not found.problems else f"{_count(len(found.problems), 'problem')}"
        self.say(
            f"{path}: {state}; {found.n_finished} of {_count(found.n_shards, 'shard')}, "
            f"{found.n_ok} embedded, {found.n_failed} failed of {_count(found.n_items, 'input')}"
        )

    def parity(self, rows: Sequence[Any], out: Path) -> None:
        """How far an export is from its original; no rows where it was there already."""
        if not rows:
            self.say(f"{out} was exported before, and is kept as it is")
            return
        table = Table(box=None, pad_edge=False)
        for column in ("tower", "batch", "cosine distance", "largest difference", "tolerance"):
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(
                row.tower,
                str(row.batch_size),
                f"{1 - row.min_cosine:.1e}",
                f"{row.max_abs:.1e}",
                f"{row.tolerance:.0e}",
            )
        self._out.print(table)
        self.say(f"exported to {out}, equal to the original in float32 within the tolerance")

    def gate(self, found: Sequence[Any]) -> None:
        """How far every back end is from float32: cosines, shared neighbours, a score of 100; and which did not run."""
        table = Table(box=None, pad_edge=False)
        for column in ("tower", "n", "1 - cosine", "centred", "top 10", "score", ""):
            table.add_column(column, no_wrap=True)
        for row in (each for each in found if hasattr(each, "passed")):
            numbers = (f"{1 - row.plain_min:.1e}", f"{1 - row.centred_min:.1e}", f"{row.overlap:.2%}")
            verdict = "passed" if row.passed else "; ".join(row.reasons)
            cells = (f"{row.tower}, {row.candidate}", str(row.n), *numbers, f"{row.score_change:.3f}", verdict)
            table.add_row(*map(escape, cells))
        self._out.print(table)
        for row in (each for each in found if not hasattr(each, "passed")):
            self.say(f"not run: {row.tower}, {row.candidate}: {row.why}")

    def estimate(self, found: Any) -> None:
        """What a run would do."""
        self.say(f"{found.n_found} images ({found.layout}), {found.n_ignored} other files ignored")
        self.say(
            f"about {found.seconds:.0f} s at {found.images_per_second:.0f} images/s, measured on {found.n_sampled}"
        )
        self.say(f"about {found.disk_bytes / 1e6:.1f} MB of disk")

    def findings(self, findings: Sequence[Any]) -> None:
        """What doctor found."""
        colours = {"ok": "green", "missing": "yellow", "broken": "red"}
        for finding in findings:
            self._out.print(
                f"[{colours[finding.status]}]{finding.status:8}[/] {escape(finding.what)}: {escape(finding.detail)}"
            )
            if finding.mend:
                self.say(f"         mend: {finding.mend}")


def _lines_about(summary: dict[str, Any]) -> Iterator[str]:
    """What to know of a run before its scores."""
    if summary["models"]["image"]["note"]:
        yield summary["models"]["image"]["note"]
    yield (
        f"{summary['n_ok']} of {_count(summary['n_found'], 'image')} scored in {_count(summary['n_groups'], 'group')} "
        f"({summary['layout']}), {summary['n_failed']} failed, {_count(summary['n_ignored'], 'other file')} ignored"
    )
    if summary["n_changed"]:
        yield f"looked at again because it changed since an earlier run: {_count(summary['n_changed'], 'input')}"
    if summary["n_reused"]:
        yield f"not embedded again, the same bytes as before: {_count(summary['n_reused'], 'image')}"
    if summary["n_retried"]:
        yield f"tried again after an earlier run could not read them: {_count(summary['n_retried'], 'input')}"
    if summary["n_vanished"]:
        yield f"gone, scored as they were (a new -o leaves them out): {_count(summary['n_vanished'], 'input')}"
    if summary["n_strays"]:
        yield f"grouped by folder because the name does not fit the layout: {_count(summary['n_strays'], 'image')}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _speed(rate: float) -> str:
    return f"{rate:.0f} images/s" if rate >= 10 else f"{rate:.2g} images/s"


class _Rate:
    """Items a second since the first call; what was done before it, by this run or another, does not count.

    None as long as nothing was done since. Begins again where the count does, as in each round of a followed source.
    """

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float | None:
        now = time.monotonic()
        if self._first is None or done <= self._first[1]:
            self._first = (now, done)
            return None
        start, before = self._first
        return (done - before) / max(now - start, 1e-9)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if abs(value) < 10 else f"{value:.2f}"


def _interval(entry: dict[str, Any]) -> str:
    return "–" if entry["low"] is None else f"{_number(entry['low'])} to {_number(entry['high'])}"
