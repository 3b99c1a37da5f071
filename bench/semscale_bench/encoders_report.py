"""What `semscale bench encoders` found, as tables for people and as values for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from semscale_bench.candidates import BASELINE, RIVAL
from semscale_bench.encoders import Absent, Found, Row
from semscale_bench.ratios import Ratio

COLUMNS = ("", "batch", "per second", "spread", f"of {BASELINE.name}", f"of {RIVAL.name}", "of the roof", "1 - cosine",
           "centred", "")  # fmt: skip
WIDTH = 140  # characters; wider than a pipe is taken for, so that no number is cut
UNITS = {"image": "images", "text": "texts"}


def table(found: Found) -> Table:
    """One row a candidate and batch size; ratios as median (lowest - highest) of the rounds."""
    subject = found.subject
    title = f"{subject.model}, {subject.weights} weights, {subject.tower} tower, {subject.flops / 1e9:.3g} GFLOP each"
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in COLUMNS:
        made.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row in found.rows:
        made.add_row(*_cells(row))
    return made


def lines(found: Found) -> Iterator[str]:
    """The roofs, and what could not be measured with its reason."""
    for roof in found.roofs:
        shape = " x ".join(map(str, roof.shape))
        best = f"{roof.best / 1e12:.3g} TFLOP/s, best of the rounds"
        yield f"roof, {roof.device} {roof.precision}: {best} (product {shape})"
    for absent in found.absent:
        yield f"not run: {_name(absent)}: {absent.why}"


def values(found: Found) -> dict[str, Any]:
    """Everything as JSON takes it; null for what is not finite, or was not measured."""
    return {
        **{name: getattr(found.subject, name) for name in ("model", "tower", "weights", "flops")},
        "unit": UNITS[found.subject.tower],
        "rows": [_row(row) for row in found.rows],
        "not_run": [{**_of(each), "batch_size": each.batch_size, "why": each.why} for each in found.absent],
        "roofs": [dataclasses.asdict(roof) for roof in found.roofs],
    }


def wrong(found: Found) -> list[str]:
    """One sentence for each row whose outputs differ from float32 by more than they may, or that nothing ran."""
    where = f"{found.subject.model} {found.subject.tower}"
    if not found.rows:
        return [f"{where}: nothing that was asked for runs here"]
    return [f"{where}, {_name(row)}: {'; '.join(row.deviation.reasons)}" for row in found.rows if row.deviation.reasons]


def _cells(row: Row) -> tuple[str, ...]:
    share = "-" if row.roof_share is None else f"{row.roof_share:.0%}"
    speed = (f"{row.timing.rate:.1f}", f"{row.timing.spread:.0%}", _ratio(row.of_baseline), _ratio(row.of_rival), share)
    apart = (f"{1 - row.deviation.plain_min:.1e}", f"{1 - row.deviation.centred_min:.1e}")
    return (row.candidate.name, str(row.batch_size), *speed, *apart, "WRONG" if row.deviation.reasons else "")


def _ratio(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} - {ratio.high:.2f})"


def _row(row: Row) -> dict[str, Any]:
    deviation = {name: _finite(value) for name, value in dataclasses.asdict(row.deviation).items()}
    return {
        **_of(row),
        "device": row.candidate.device,
        "batch_size": row.batch_size,
        "rate": row.timing.rate,
        "median": row.timing.median,
        "spread": row.timing.spread,
        "units": row.timing.units,
        "seconds": row.timing.seconds,
        "of_baseline": None if row.of_baseline is None else dataclasses.asdict(row.of_baseline),
        "of_rival": None if row.of_rival is None else dataclasses.asdict(row.of_rival),
        "roof_share": row.roof_share,
        "deviation": {**deviation, "passed": not row.deviation.reasons},
    }


def _of(row: Row | Absent) -> dict[str, Any]:
    return {"candidate": row.candidate.name, **dataclasses.asdict(row.candidate)}


def _name(row: Row | Absent) -> str:
    return row.candidate.name if row.batch_size is None else f"{row.candidate.name} in batches of {row.batch_size}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
