"""What a case found: rows of rates, each with its check, and sentences; as a table for people and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from semscale_bench.measure import Timing

COLUMNS = ("case", "", "data", "per second", "spread", "of the roof", "check", "peak MB", "weights")
NO_WEIGHTS = "-"  # nothing with weights ran


@dataclass(frozen=True, slots=True)
class Check:
    """How far an output was from the reference, at worst, over all timed runs."""

    what: str  # such as "cosine distance to float32"
    worst: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is within the limit; NaN is not."""
        return bool(self.worst <= self.limit)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was timed."""

    case: str
    name: str
    data: str  # what it worked on, such as "jpeg 500x375"
    unit: str  # "images", "embeddings", "pairs" ...
    timing: Timing
    check: Check | None = None  # None where nothing comes out that could be wrong, as of a roof
    weights: str = NO_WEIGHTS  # "random" or "given"
    roof: str | None = None  # the row that bounds this one
    roof_share: float | None = None  # of its rate, round by round, at the median


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case."""

    case: str
    regime: str  # from what to what, where it lies, which precision
    rows: list[Row]
    sentences: list[str] = field(default_factory=list)  # what the numbers mean, in words; the bottleneck last
    absent: list[str] = field(default_factory=list)  # what did not run, and why
    details: dict[str, Any] = field(default_factory=dict)  # numbers behind the sentences, for programs


def table(outcomes: Sequence[Outcome]) -> Table:
    """A line for each row."""
    made = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        made.add_column(column, justify="left" if column in ("case", "", "data", "check", "weights") else "right",
                        no_wrap=True)  # fmt: skip
    for row in (row for outcome in outcomes for row in outcome.rows):
        made.add_row(*_cells(row))
    return made


def wrong(outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence for each row whose output was further off than it may be."""
    checked = [(row, row.check) for outcome in outcomes for row in outcome.rows if row.check is not None]
    return [f"{row.case}, {row.name}, {row.data}: {check.what} is {check.worst:.1e}, above {check.limit:.1e}"
            for row, check in checked if not check.passed]  # fmt: skip


def values(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`case`, `rows`, and what was said, as JSON takes it; null for what is not finite or was not measured."""
    return {
        "case": " ".join(outcome.case for outcome in outcomes),
        "rows": [_values(row, outcome.regime) for outcome in outcomes for row in outcome.rows],
        "sentences": {outcome.case: outcome.sentences for outcome in outcomes},
        "not_run": {outcome.case: outcome.absent for outcome in outcomes},
        "details": {outcome.case: outcome.details for outcome in outcomes},
    }


def _cells(row: Row) -> tuple[str, ...]:
    timing, check = row.timing, row.check
    share = "" if row.roof_share is None else f"{row.roof_share:.0%}"
    told = "" if check is None else f"{check.what} {check.worst:.1e}{'' if check.passed else ' WRONG'}"
    peak = "" if timing.peak_bytes is None else f"{timing.peak_bytes / 1e6:.0f}"
    rate = f"{timing.rate:,.1f} {row.unit}"
    return (row.case, row.name, row.data, rate, f"{timing.spread:.0%}", share, told, peak, row.weights)


def _values(row: Row, regime: str) -> dict[str, Any]:
    timing = row.timing
    check = None if row.check is None else {**dataclasses.asdict(row.check), "passed": row.check.passed}
    if check is not None and not math.isfinite(check["worst"]):
        check["worst"] = None
    named = {name: getattr(row, name) for name in ("case", "name", "data", "unit", "weights", "roof", "roof_share")}
    numbers = {name: getattr(timing, name) for name in ("rate", "median", "spread", "units", "seconds", "peak_bytes")}
    return {**named, "regime": regime, **numbers, "check": check}
