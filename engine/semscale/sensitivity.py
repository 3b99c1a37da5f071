"""The sensitivity study that every run gets where it can: how many images a prompt needs, from those it has."""

from __future__ import annotations

import json
from pathlib import Path

from semscale.files import discard, replace
from semscale.model import Array
from semscale.outputs import finite
from semscale.study.samples.plan_files import as_json
from semscale.study.samples.planning import plan_samples
from semscale.study.samples.sample_plan import MIN_PILOT, Question

FILE = "sensitivity.json"
PROMPTS = 200  # at most, at random: about a second
PROMPTS_OF_MANY = 40  # where one has over MANY images, which take ten times as long
MANY, TOO_MANY = 100, 1000  # images of a group


def write_sensitivity(out: Path, store: Path, n_images: Array) -> None:
    """Write `out/sensitivity.json`, in the format of `plan.json`, from the embeddings in `store`.

    (G,) `n_images` are the valid images of the groups. Where none has MIN_PILOT, or one has over TOO_MANY, there is no
    such file afterwards: `semscale plan-samples` takes its time instead. Raises StoreError when it cannot be written.
    """
    most = int(n_images.max(initial=0))
    if not MIN_PILOT <= most <= TOO_MANY:
        discard(out / FILE)
        return
    question = Question(repeats=200, groups=PROMPTS if most <= MANY else PROMPTS_OF_MANY)
    told = finite(as_json(plan_samples(store, question)))
    replace(out / FILE, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
