"""The cases of `semscale bench`: a table of names, each module imported only when asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome


@dataclass(frozen=True, slots=True)
class Case:
    """Where a case lives, what it measures, and whether `semscale bench` alone runs it."""

    module: str  # with a function `run(plan) -> Outcome`
    summary: str
    quick: bool = True


CASES = {
    "roofs": Case("roofs", "Matrix products per precision, memory bandwidth and disk: what this machine can give."),
    "decode": Case("decode", "Encoded files in memory to pixels."),
    "preprocess": Case("preprocess", "Encoded files in memory to encoder input, beside Pillow alone."),
    "encode": Case("encode", "Encoder input to embeddings, by the size of the batch."),
    "backends": Case("backends", "The encoder on every back end and precision that runs here."),
    "pipeline": Case("pipeline", "Files to stored embeddings, beside the roof of each stage; names the bottleneck."),
    "store": Case("store", "Embeddings to files and back."),
    "scs": Case("scs", "Stored embeddings to consistency scores with intervals, and to the report."),
    "million": Case("million", "`scs` of 1,000,000 embeddings, against its goals.", quick=False),
    "pairs": Case("pairs", "All pairs above a threshold, beside FAISS, torch and scikit-learn."),
    "frechet": Case("frechet", "Fréchet distance of 2048-dimensional features."),
    "memory": Case("memory", "Peak memory of a run, and its time, by the number of its images.", quick=False),
    "startup": Case("startup", "`semscale --help`, and `semscale score` of ten images, in fresh processes."),
    "peers": Case(
        "peers", "The same images and weights through other tools, each in a process of its own.", quick=False
    ),
}


def run_case(name: str, plan: Plan) -> Outcome:
    """Run one case. Raises SemscaleError where it cannot run at all."""
    module = importlib.import_module(f"semscale_bench.cases.{CASES[name].module}")
    return module.run(plan)
