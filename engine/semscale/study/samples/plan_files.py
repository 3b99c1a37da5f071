"""A plan as files: plan.json, plan.parquet (a row for each prompt and size), prompts.parquet, plan.svg and plan.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale.errors import UsageError
from semscale.files import replace, replacing
from semscale.study.samples.plan_plot import draw
from semscale.study.samples.sample_plan import RARE, Advice, Plan
from semscale.study.samples.subsets import drawn_up_to
from semscale.verify import stores_in


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON has it: what was asked, the table over all prompts, what is recommended and why."""
    asked, pilots = plan.question, [prompt.pilot.n for prompt in plan.prompts]
    table = zip(plan.sizes, plan.median, plan.high, plan.worst, plan.within, strict=True)
    return {
        "precision": asked.precision.amount,
        "unit": "percent of the score" if asked.precision.relative else "points",
        "confidence": asked.confidence,
        "repeats": asked.repeats,
        "seed": asked.seed,
        "n_prompts": len(plan.prompts),
        "n_too_small": plan.n_too_small,
        "n_not_sampled": plan.n_not_sampled,
        "n_alike": plan.n_alike,
        "smallest_pilot": min(pilots),
        "largest_pilot": max(pilots),
        "recommended": _recommended(plan),
        "by_model": [_of_model(plan, advice) for advice in plan.advice],
        "sizes": [
            {"n": n, "median_error": float(m), "high_error": float(h), "worst_prompt": float(w), "within": float(s),
             "basis": plan.basis(n)} for n, m, h, w, s in table
        ],
        "rare_mode": {"share": RARE, "chance_unseen": plan.missed},
    }  # fmt: skip


def _recommended(plan: Plan) -> dict[str, Any]:
    numbers = {"n": plan.for_prompts, "for_mean": plan.for_mean, "for_worst_prompt": plan.for_worst}
    return numbers | {"basis": plan.basis(plan.for_prompts), "above_the_pilot": _above(plan)}


def _above(plan: Plan) -> bool:
    return plan.for_prompts is None or plan.for_prompts > plan.smallest_pilot


def _of_model(plan: Plan, advice: Advice) -> dict[str, Any]:
    return {
        "model": advice.model,
        "n_prompts": advice.n_groups,
        "n": advice.for_prompts,
        "for_mean": advice.for_mean,
        "for_worst_prompt": advice.for_worst,
        "worst_prompt": advice.worst,
        "basis": plan.basis(advice.for_prompts),
    }


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the files of a plan into a folder, in the place of those of an earlier one. Raises StoreError."""
    with replacing(folder / "plan.parquet") as temporary:
        pq.write_table(errors_table(plan), temporary)
    with replacing(folder / "prompts.parquet") as temporary:
        pq.write_table(_prompts_table(plan), temporary)
    for name, data in draw(plan).items():
        replace(folder / name, data)
    replace(folder / "plan.json", (json.dumps(as_json(plan), indent=2, ensure_ascii=False) + "\n").encode())


def refuse_inside_store(folder: Path, store: Path) -> None:
    """Raise UsageError where the plan would go among the files of the store that it is about."""
    for root in map(Path.resolve, stores_in(store)):
        if root == folder.resolve() or root in folder.resolve().parents:
            raise UsageError(f"{folder}: lies inside the store {root}; choose a place outside")


def errors_table(plan: Plan) -> pa.Table:
    """A row for each prompt and size: quantiles of the absolute error in points, and relative to the score in %."""
    prompts, k = plan.prompts, len(plan.sizes)
    sizes = np.tile(plan.sizes, len(prompts))
    pilots = np.repeat([prompt.pilot.n for prompt in prompts], k)
    scores = np.repeat([prompt.pilot.score for prompt in prompts], k)
    median, high = (np.concatenate([getattr(p, name) for p in prompts]) for name in ("median", "high"))
    with np.errstate(divide="ignore", invalid="ignore"):  # relative to a score of 0
        relative = [100 * error / scores for error in (median, high)]
    half = np.array([drawn_up_to(int(n)) for n in pilots])
    return pa.table({
        "model": pa.array([prompt.model for prompt in prompts for _ in range(k)], pa.string()),
        "prompt": pa.array([prompt.group for prompt in prompts for _ in range(k)], pa.string()),
        "N": sizes,
        "median_error": median,
        "high_error": high,
        "median_error_percent": relative[0],
        "high_error_percent": relative[1],
        "within": np.concatenate([prompt.within for prompt in prompts]),
        "basis": pa.array(np.where(sizes <= half, "subsets", "extrapolated")),
    })  # fmt: skip


def _prompts_table(plan: Plan) -> pa.Table:
    """A row for each prompt: its pilot and what it needs."""
    prompts = plan.prompts
    return pa.table({
        "model": pa.array([prompt.model for prompt in prompts], pa.string()),
        "prompt": pa.array([prompt.group for prompt in prompts], pa.string()),
        "n": [prompt.pilot.n for prompt in prompts],
        "scs": [prompt.pilot.score for prompt in prompts],
        "scs_se": [prompt.standard_error for prompt in prompts],
        "needed": pa.array([prompt.needed for prompt in prompts], pa.int64()),
    })  # fmt: skip
