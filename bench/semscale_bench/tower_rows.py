"""What `encoders.bench_tower` found about an image tower, as rows of a case."""

from __future__ import annotations

import math
from collections.abc import Sequence

from semscale.gate import limits_of
from semscale_bench import encoders
from semscale_bench.candidates import BASELINE, Candidate
from semscale_bench.encoders_report import lines
from semscale_bench.plan import Plan
from semscale_bench.rows import Check, Outcome, Row
from semscale_bench.subjects import subject
from semscale_bench.towers import exported_folder


def outcome(case: str, plan: Plan, everyone: Sequence[Candidate], batch_sizes: Sequence[int]) -> Outcome:
    """Time some candidates on the image tower of the plan's model."""
    about = subject(plan.model, exported_folder(plan.model), "image")
    found = encoders.bench_tower(about, everyone, batch_sizes=batch_sizes, repeats=plan.repeats, seconds=plan.seconds)
    gflop = about.flops / 1e9
    regime = f"the gate's probes in memory to embeddings in memory, {about.model}, {gflop:.3g} GFLOP an image"
    rows = [_row(case, about.weights, row) for row in found.rows]
    said = [line for line in lines(found) if line.startswith("roof")]
    absent = [line for line in lines(found) if not line.startswith("roof")]
    return Outcome(case, regime, rows, said + list(_ratios(found)), absent)


def _row(case: str, weights: str, row: encoders.Row) -> Row:
    roof = f"{row.candidate.device} {row.candidate.precision} product"
    return Row(case, row.candidate.name, f"batches of {row.batch_size}", "images", row.timing, _check(row), weights,
               None if row.roof_share is None else roof, row.roof_share)  # fmt: skip


def _check(row: encoders.Row) -> Check:
    """The centred cosine; another limit that is broken makes it infinite."""
    limit, worst = 1 - limits_of(row.candidate.precision).centred_min, 1 - row.deviation.centred_min
    if not row.deviation.reasons:
        return Check("1 - centred cosine to fp32", worst, limit)
    return Check("; ".join(row.deviation.reasons), worst if worst > limit else math.inf, limit)


def _ratios(found: encoders.Found) -> list[str]:
    """The fastest, and how many times as fast as float32 it is."""
    compared = [(row, row.of_baseline) for row in found.rows if row.of_baseline and row.candidate != BASELINE]
    passed = [(row, ratio) for row, ratio in compared if not row.deviation.reasons]
    if not passed:
        return []
    row, ratio = max(passed, key=lambda each: each[0].timing.rate)
    who = f"{row.candidate.name} in batches of {row.batch_size}"
    return [
        f"fastest: {who}, {ratio.median:.2f} times ({ratio.low:.2f} to {ratio.high:.2f}) {BASELINE.name} in the same"
    ]
