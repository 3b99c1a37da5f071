"""What `semscale bench metrics` found, as a table for people and as values for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from semscale_bench.metric_data import Sizes
from semscale_bench.metrics_bench import Found, Row

COLUMNS = ("", "", "median s", "spread", "of the peak", "semscale is", "peak MB", "off by", "values")
WIDTH = 200  # characters; wider than a pipe is taken for, so that no number is cut


def table(found: Found) -> Table:
    """One row a job and contestant."""
    sizes = found.sizes
    title = (
        f"two sets of {sizes.rows} x {sizes.dim} float32 features (of kid full, prdc and prc the first {sizes.few}), "
        f"a group of {sizes.group} x {sizes.group_dim}"
    )
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column, justify in zip(COLUMNS, ("left", "left", *("right",) * 6, "left"), strict=True):
        made.add_column(column, justify=justify, no_wrap=True)  # pyright: ignore[reportArgumentType]
    for row in found.rows:
        made.add_row(*_cells(row))
    return made


def lines(found: Found) -> Iterator[str]:
    """What was done, what the numbers are, goals, roofs, and who was not run."""
    yield from _jobs(found.sizes)
    yield "of the peak: of the fastest product in the precision below; each pair of rows or dimensions counted once"
    yield "peak MB: above what was held before the work, mapped files left out; off by: from plain NumPy, relative"
    for row in found.rows:
        if row.goal_seconds is not None:
            verdict = "met" if row.median < row.goal_seconds else "missed"
            yield f"goal, {row.job}: under {row.goal_seconds:g} s, {verdict} with {row.median:.3g} s"
    for roof in found.roofs:
        shape = " x ".join(map(str, roof.shape))
        best = f"{roof.best / 1e12:.3g} T operations/s, best of the rounds"
        yield f"roof, {roof.device} {roof.precision}: {best} (product {shape})"
    for absent in found.absent:
        yield f"not run: {absent}"


def values(found: Found) -> dict[str, Any]:
    """Everything as JSON takes it; null for what is not measured."""
    return {
        "regime": "float32 rows mapped from files in the page cache to numbers; peers have them in memory beforehand",
        "sizes": {**dataclasses.asdict(found.sizes), "few": found.sizes.few},
        "rows": [{**dataclasses.asdict(row), "median": row.median, "spread": row.spread} for row in found.rows],
        "roofs": [dataclasses.asdict(roof) for roof in found.roofs],
        "not_run": found.absent,
    }


def _jobs(sizes: Sizes) -> Iterator[str]:
    yield f"fid solve: from means and covariances of {2 * sizes.dim} rows; fid: of all rows, from the files"
    yield f"kid subsets: {sizes.subsets} of {sizes.subset_size}; kid full: all pairs; prdc: k = 5, <; prc: k = 3, <="


def _cells(row: Row) -> tuple[str, ...]:
    name = row.name if row.version is None else f"{row.name} {row.version}"
    share = "-" if row.roof_share is None else f"{row.roof_share:.0%} of {row.precision}"
    faster = "-" if row.speed_up is None else f"{row.speed_up:.2f}x as fast"
    found = ", ".join(f"{metric} {value:.6g}" for metric, value in row.values.items())
    speed = (f"{row.median:.3g}", f"{row.spread:.0%}", share, faster)
    return (row.job, name, *speed, f"{row.peak_bytes / 1e6:.0f}", f"{row.off:.0e}", found)
