"""Case `scs`: stored embeddings to consistency scores with intervals and medoids, and these to the report.

Regime: embeddings on disk, read back from the page cache, in groups of 20; no image is touched. Roof: the float64
matrix products of all pairs inside groups, from memory, nothing else. Baseline: one pair at a time in torch.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from semscale_bench.measure import measure
from semscale_bench.plan import Plan
from semscale_bench.ratios import ratio_of
from semscale_bench.rows import Check, Outcome, Row
from semscale_bench.scores import DIM, GROUP, Scores

IMAGES = 100_000
GOAL_IMAGES = 1_000_000
EXACT = 1e-9  # of 100, from the double loop in float64
OURS, ROOF, REPORT = "semscale", "products alone", "report"
GOALS = {OURS: 10.0, REPORT: 5.0}  # seconds, of so many images


def run(plan: Plan) -> Outcome:
    """Score 100,000 embeddings in 5,000 groups."""
    return scored("scs", IMAGES, plan)


def scored(case: str, images: int, plan: Plan) -> Outcome:
    """Score `images` embeddings, and write the report."""
    with TemporaryDirectory() as folder:
        job = Scores(Path(folder), images)
        contestants = {**job.contestants(ROOF), REPORT: job.report()}
        timed = measure(contestants, repeats=plan.repeats, seconds=plan.seconds)
    data, check = f"{images} x {DIM}", Check("points from the double loop", job.worst, EXACT)
    rows = [Row(case, name, data, "reports" if name == REPORT else "groups", timing)
            for name, timing in timed.items() if name != OURS]  # fmt: skip
    share = ratio_of(timed[OURS], timed[ROOF]).median
    ours = Row(case, OURS, data, "groups", timed[OURS], check, roof=ROOF, roof_share=share)
    regime = f"stored embeddings of {DIM} dimensions, groups of {GROUP}, float64, from the page cache, to scores"
    said = [_sentence(images, name, timed[name].median) for name in GOALS]
    return Outcome(case, regime, [ours, *rows], said)


def _sentence(images: int, name: str, seconds: float) -> str:
    what = {OURS: "scores with intervals and medoids", REPORT: "the report"}[name]
    said = f"{images:,} embeddings in {images // GROUP:,} groups: {what} in {seconds:.2f} s"
    if images < GOAL_IMAGES:
        return said
    return f"{said} (goal: under {GOALS[name]:.0f} s, {'met' if seconds < GOALS[name] else 'missed'})"
