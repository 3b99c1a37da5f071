"""Case `frechet`: the Fréchet distance of 2048-dimensional features, its solve alone and from files.

`semscale bench metrics` has the other distances, and other packages beside them.
"""

from __future__ import annotations

from semscale_bench.measure import Timing
from semscale_bench.metric_data import Sizes
from semscale_bench.metrics_bench import Row as MetricRow
from semscale_bench.metrics_bench import bench_metrics
from semscale_bench.metrics_report import lines, values
from semscale_bench.plan import Plan
from semscale_bench.rows import Check, Outcome, Row

CASE = "frechet"
ROWS = 10_000  # features of either set
JOBS = ("fid solve", "fid")
CLOSE = 1e-3  # relative difference from plain NumPy, which computes in another way


def run(plan: Plan) -> Outcome:
    """Time the solve and the whole, of 10,000 features a set."""
    found = bench_metrics(Sizes(ROWS), repeats=plan.repeats, jobs=JOBS)
    rows = [_row(row, 2 * ROWS) for row in found.rows]
    said = [line for line in lines(found) if line.startswith(("goal", "roof"))]
    return Outcome(CASE, values(found)["regime"], rows, said, found.absent)


def _row(row: MetricRow, features: int) -> Row:
    timing = Timing(row.name, features if row.job == "fid" else 1, row.seconds, row.peak_bytes)
    check = Check("relative difference to plain NumPy", row.off, CLOSE)
    roof = None if row.roof_share is None else f"{row.precision} product"
    return Row(CASE, f"{row.job}, {row.name}", f"{features} x 2048", "features" if row.job == "fid" else "solves",
               timing, check, roof=roof, roof_share=row.roof_share)  # fmt: skip
