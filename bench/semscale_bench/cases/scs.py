"""Case `scs`: stored embeddings to consistency scores with intervals and medoids, and these to the report.

Regime: embeddings on disk, read back from the page cache, in groups of 20; no image is touched. Roof: the float64
matrix products of all pairs inside groups, from memory, nothing else. Baseline: one pair at a time in torch.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from semscale_bench.measure import measure, share_of
from semscale_bench.plan import Plan
from semscale_bench.rows import Check, Outcome, Row
from semscale_bench.scores import DIM, GROUP, Scores

CASE = "scs"
IMAGES = 100_000
GOAL_IMAGES, GOAL_SECONDS = 1_000_000, 10.0
EXACT = 1e-9  # of 100, from the double loop in float64
ROOF = "products alone"


def run(plan: Plan) -> Outcome:
    """Score 100,000 embeddings in 5,000 groups."""
    return scored(IMAGES, plan)


def scored(images: int, plan: Plan) -> Outcome:
    """Score `images` embeddings."""
    with TemporaryDirectory() as folder:
        job = Scores(Path(folder), images)
        timed = measure(job.contestants(ROOF), repeats=plan.repeats, seconds=plan.seconds)
    check = Check("points from the double loop", job.worst, EXACT)
    data = f"{images} x {DIM}"
    rows = [Row(CASE, name, data, "groups", timing, check if name == "semscale" else None,
                roof=ROOF if name == "semscale" else None,
                roof_share=share_of(timing, timed[ROOF]) if name == "semscale" else None)
            for name, timing in timed.items()]  # fmt: skip
    took = timed["semscale"].median
    said = f"{images} embeddings in {images // GROUP} groups: {took:.2f} s"
    if images == GOAL_IMAGES:
        said += f" (goal: under {GOAL_SECONDS:.0f} s, {'met' if took < GOAL_SECONDS else 'missed'})"
    regime = f"stored embeddings of {DIM} dimensions, groups of {GROUP}, float64, from the page cache, to scores"
    return Outcome(CASE, regime, rows, [said])
