"""Case `backends`: the image tower on every back end and precision that runs here, each compared with float32.

`semscale bench encoders` does the same for several models, for texts, and at other batch sizes.
"""

from __future__ import annotations

from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome
from semscale_bench.tower_rows import outcome

CASE = "backends"


def run(plan: Plan) -> Outcome:
    """Time every back end, or every precision of the one that was asked for, at batch size 32 where none is given."""
    from semscale_bench.candidates import candidates

    everyone = candidates([] if plan.backend == "auto" else [plan.backend])
    chosen = [each for each in everyone if plan.precision in (None, each.precision)]
    return outcome(CASE, plan, chosen, plan.batch_sizes or (32,))
