"""Case `encode`: encoder input in memory to embeddings in memory, by the size of the batch, on one back end.

The same measurement as `semscale bench encoders` of one back end in one precision: roof, outputs compared with float32.
"""

from __future__ import annotations

from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome
from semscale_bench.tower_rows import outcome
from semscale_bench.towers import exported_folder, place_of

CASE = "encode"


def run(plan: Plan) -> Outcome:
    """Time the plan's back end at its batch sizes, 1, 8 and 32 where none are given."""
    from semscale_bench.candidates import BASELINE, Candidate

    chosen = place_of(plan, exported_folder(plan.model))
    wanted = Candidate(chosen.backend, chosen.precision)
    everyone = [wanted] if wanted == BASELINE else [BASELINE, wanted]
    return outcome(CASE, plan, everyone, plan.batch_sizes or (1, 8, 32))
