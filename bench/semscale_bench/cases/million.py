"""Case `million`: case `scs` of 1,000,000 embeddings in 50,000 groups; takes two gigabytes of the temporary folder."""

from __future__ import annotations

from semscale_bench.cases.scs import GOAL_IMAGES, scored
from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome


def run(plan: Plan) -> Outcome:
    """Score a million embeddings, and write the report."""
    return scored("million", GOAL_IMAGES, plan)
