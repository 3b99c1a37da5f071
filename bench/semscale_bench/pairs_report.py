"""What `semscale bench pairs` found, as a table for people and as values for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from semscale.provenance import versions
from semscale_bench.pair_data import THRESHOLD
from semscale_bench.pairs import Found, Row

COLUMNS = ("", "pairs/s", "s for all", "s to build", "spread", "precision", "of the peak", "of fp32's", "of FAISS",
           "recall", "peak MB", "")  # fmt: skip
RIVALS = ("faiss-cpu", "faiss-gpu", "scikit-learn")
WIDTH = 200  # characters; wider than a pipe is taken for, so that no number is cut


def table(found: Found) -> Table:
    """One row a contestant."""
    case = found.case
    about = "" if case.whole else "about "
    title = (
        f"{case.n} vectors of {case.dim} float32, {about}{found.n_pairs} pairs of {THRESHOLD} or more, {case.device}"
    )
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in COLUMNS:
        made.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row in found.rows:
        made.add_row(*_cells(row))
    return made


def lines(found: Found) -> Iterator[str]:
    """What the numbers are, the roofs, and who was not run."""
    yield "s for all and pairs/s: building included; of the peak: of the fastest product in the row's precision, below"
    part = "" if found.case.whole else ", of the part that is timed alone"
    yield f"peak MB: resident, above libraries and vectors, so indexes and results count; in a process of its own{part}"
    for roof in found.roofs:
        shape = " x ".join(map(str, roof.shape))
        best = f"{roof.best / 1e12:.3g} T operations/s, best of the rounds"
        yield f"roof, {roof.device} {roof.precision}: {best} (product {shape})"
    for absent in found.absent:
        yield f"not run: {absent}"


def values(found: Found) -> dict[str, Any]:
    """Everything as JSON takes it; null for what is not measured."""
    case = dataclasses.asdict(found.case)
    return {
        "regime": "float32 unit vectors in memory to row numbers in memory, the building of indexes included",
        **case,
        "n_pairs": found.n_pairs,
        "threshold": THRESHOLD,
        "rows": [{**dataclasses.asdict(row), "median": row.median, "spread": row.spread} for row in found.rows],
        "roofs": [dataclasses.asdict(roof) for roof in found.roofs],
        "not_run": found.absent,
        "versions": versions(RIVALS),
    }


def _cells(row: Row) -> tuple[str, ...]:
    speed = (f"{row.rate:.3g}", f"{row.median:.3g}", f"{row.build_seconds:.3g}", f"{row.spread:.0%}", row.precision)
    shares = (
        _or_dash(row.roof_share, "{:.0%}"),
        _or_dash(row.of_fp32, "{:.2f}x"),
        _or_dash(row.of_baseline, "{:.2f}x"),
    )
    memory = "-" if row.peak is None else f"{row.peak.work_bytes / 1e6:.0f}"
    return (row.name, *speed, *shares, f"{row.recall:.4f}", memory, row.extent)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
