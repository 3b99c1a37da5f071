"""Two files of the last line of `semscale bench`, row by row: what is faster or slower beyond the noise.

The noise of a row is the larger of the spreads of its two timings, (slowest - fastest) / median, and NOISE at least: no
machine is quieter between two processes. A row is faster where the second rate over the first is above 1 + noise, and
slower below 1 / (1 + noise).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from semscale_bench.recorded import Key, Recorded, Recording, named, read

NOISE = 0.03
FASTER, SLOWER, SAME = "faster", "slower", "within the noise"
_MACHINE = {"cpu": "processors", "gpu": "GPUs", "cores": "numbers of cores", "memory_bytes": "sizes of memory"}


@dataclass(frozen=True, slots=True)
class Change:
    """A row that both files have."""

    key: Key
    unit: str
    rates: tuple[float, float]
    noise: float

    @property
    def ratio(self) -> float:
        """The second rate over the first."""
        return self.rates[1] / self.rates[0]

    @property
    def verdict(self) -> str:
        """FASTER, SLOWER or SAME."""
        if self.ratio > 1 + self.noise:
            return FASTER
        return SLOWER if self.ratio < 1 / (1 + self.noise) else SAME


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two files."""

    paths: tuple[Path, Path]
    changes: tuple[Change, ...]
    only: tuple[tuple[Key, ...], tuple[Key, ...]]  # rows of the first file alone, of the second alone
    warnings: tuple[str, ...]

    @property
    def slower(self) -> tuple[Change, ...]:
        """What lost speed beyond the noise."""
        return tuple(change for change in self.changes if change.verdict == SLOWER)


def compare(a: Path, b: Path) -> Comparison:
    """Match the rows of two files by case, name, data and weights.

    Raises UsageError, which says which file and what to do, where one cannot be read or is of another layout.
    """
    first, second = read(a), read(b)
    shared = [key for key in first.rows if key in second.rows]
    changes = tuple(_change(first.rows[key], second.rows[key]) for key in shared)
    only = (tuple(key for key in first.rows if key not in second.rows),
            tuple(key for key in second.rows if key not in first.rows))  # fmt: skip
    warnings = [*_of_machines(first, second), *_of_commands(first, second), *_of_rows(first, second, shared)]
    return Comparison((a, b), changes, only, tuple(warnings))


def table(comparison: Comparison) -> Table:
    """A line for each row that both files have."""
    made = Table(box=None, pad_edge=False)
    for column in ("case", "", "data", "weights", "before", "after", "after / before", "noise", "verdict"):
        left = column in ("case", "", "data", "weights", "verdict")
        made.add_column(column, justify="left" if left else "right", no_wrap=True)
    for change in comparison.changes:
        before, after = (f"{rate:,.1f} {change.unit}" for rate in change.rates)
        made.add_row(
            *map(escape, change.key), before, after, f"{change.ratio:.2f}x", f"{change.noise:.0%}", change.verdict
        )
    return made


def lines(comparison: Comparison) -> list[str]:
    """What to say below the table: warnings, rows of one file alone, and the counts."""
    said = [f"warning: {warning}" for warning in comparison.warnings]
    for path, keys in zip(comparison.paths, comparison.only, strict=True):
        said += [f"only in {path.name}: {named(key)}" for key in keys]
    counts = ", ".join(f"{sum(change.verdict == verdict for change in comparison.changes)} {verdict}"
                       for verdict in (FASTER, SLOWER, SAME))  # fmt: skip
    return [*said, f"{len(comparison.changes)} rows in both: {counts}"]


def values(comparison: Comparison) -> dict[str, Any]:
    """The same as JSON takes it."""
    names = ("case", "name", "data", "weights")
    rows = [{**dict(zip(names, change.key, strict=True)), "unit": change.unit, "rates": list(change.rates),
             "ratio": change.ratio, "noise": change.noise, "verdict": change.verdict}
            for change in comparison.changes]  # fmt: skip
    only = [[dict(zip(names, key, strict=True)) for key in keys] for keys in comparison.only]
    files = [str(path) for path in comparison.paths]
    return {"compared": files, "rows": rows, "only": only, "warnings": list(comparison.warnings)}


def _change(before: Recorded, after: Recorded) -> Change:
    noise = max(before.spread, after.spread, NOISE)
    return Change(before.key, before.unit, (before.rate, after.rate), noise)


def _of_machines(first: Recording, second: Recording) -> list[str]:
    one, other = first.machine, second.machine
    if not one or not other:
        silent = first if not one else second
        return [f"{silent.path.name} does not say on which machine it was made, and a ratio holds on one machine only"]
    differing = [told for name, told in _MACHINE.items() if one.get(name) != other.get(name)]
    if differing:
        return [f"other {' and '.join(differing)}: a ratio between two machines says nothing of the code"]
    if packages := _differing(one.get("packages"), other.get("packages")):
        return [f"other versions of {', '.join(packages)}: a change may be theirs"]
    return []


def _differing(one: object, other: object) -> list[str]:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return []
    return sorted(str(name) for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _of_commands(first: Recording, second: Recording) -> list[str]:
    one, other = (_without_out(recording.command) for recording in (first, second))
    return [] if one == other else [f"other commands: {one!r} and {other!r}"]


def _without_out(command: str) -> str:
    """A command without the file it writes, which is always another."""
    try:
        words = iter(shlex.split(command))
    except ValueError:  # quotes that do not close
        return command
    kept = [word for word in words if word != "--out" or next(words, None) is None]
    return shlex.join(word for word in kept if not word.startswith("--out="))


def _of_rows(first: Recording, second: Recording, shared: list[Key]) -> list[str]:
    said = []
    for key in shared:
        one, other = first.rows[key], second.rows[key]
        if (one.regime, one.unit) != (other.regime, other.unit):
            said.append(f"{named(key)}: measured in another way, {one.regime!r} and {other.regime!r}")
        wrong = [recording.path.name for recording in (first, second) if not recording.rows[key].right]
        if wrong:
            said.append(f"{named(key)}: the output was wrong in {' and '.join(wrong)}; its rate means nothing")
    return said
