"""Case `pairs`: all pairs above a threshold and the 10 nearest of 20,000 vectors, beside everybody installed here.

`semscale bench pairs` alone has options of its own: other sizes, a part of the pairs, peak memory.
"""

from __future__ import annotations

from dataclasses import replace

from semscale_bench import pairs_report
from semscale_bench.pair_entries import case_of
from semscale_bench.pairs import Row as PairRow
from semscale_bench.pairs import bench_pairs
from semscale_bench.plan import Plan
from semscale_bench.rows import Check, Outcome, Row

CASE = "pairs"


def run(plan: Plan) -> Outcome:
    """Time everybody; outputs are checked by `bench_pairs`, whose assertion fails where one is wrong."""
    found = bench_pairs(case_of(None), repeats=plan.repeats, memory=False)
    data = f"{found.case.n} x {found.case.dim}"
    said = [line for line in pairs_report.lines(found) if line.startswith("roof")]
    times = [f"{row.name}: {1 / row.of_baseline:.2f} times as long as needed by FAISS" for row in found.rows
             if row.of_baseline and row.name.startswith("semscale")]  # fmt: skip
    return Outcome(CASE, pairs_report.values(found)["regime"], [_row(row, data) for row in found.rows], said + times,
                   found.absent)  # fmt: skip


def _row(row: PairRow, data: str) -> Row:
    timing = replace(row.timing, seconds=row.seconds, units=round(row.rate * row.median))
    share = None if row.roof_share is None else row.roof_share
    lost = Check("pairs or neighbours not found, share", 1 - row.recall, 1.0 if row.roof_share is None else 1e-3)
    return Row(CASE, row.name, data, "pairs", timing, lost, roof=share and f"{row.precision} product", roof_share=share)
