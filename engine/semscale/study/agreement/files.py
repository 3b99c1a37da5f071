"""Agreement as the files people and programs read: agreement.json, items.parquet and agreement.html."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale.files import replacing
from semscale.outputs import finite
from semscale.stats.majorities import NOBODY
from semscale.study.agreement.agreeing import Agreement
from semscale.study.agreement.disagreeing import LISTED, disagreements, pictured, writable
from semscale.study.agreement.of_metric import MetricAgreement
from semscale.study.agreement.words import headline

FORMAT = 1
ITEMS = pa.schema(
    [
        *((name, pa.string()) for name in ("item", "prompt", "model_a", "model_b")),
        *((name, pa.int64()) for name in ("votes_a", "votes_b")),
        ("majority", pa.string()),  # null for a tie and for no votes
        ("metric", pa.string()),
        *((name, pa.float64()) for name in ("value_a", "value_b")),
        ("choice", pa.string()),  # the metric's; null where it has none
        ("agree", pa.bool_()),  # null where majority or choice is
    ]
)


def write_agreement(out: Path, found: Agreement, made: Mapping[str, Any]) -> dict[str, Any]:
    """Write the three files into `out`; return what agreement.json says. `made` is the provenance.

    Earlier files are replaced, each in one step. Raises StoreError when one cannot be written.
    """
    from semscale.study.agreement.page import render

    told = finite(as_json(found, made))
    shown = finite(pictured(found))
    if told["metric"] is not None:
        told["metric"]["disagreements"] = shown
    with replacing(out / "items.parquet") as temporary:
        pq.write_table(items_table(found), temporary)
    with replacing(out / "agreement.html") as temporary:
        temporary.write_text(render(found, made, shown), encoding="utf-8")
    with replacing(out / "agreement.json") as temporary:
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return told


def items_table(found: Agreement) -> pa.Table:
    """A row for every item of the task, in its order."""
    task, metric = found.ratings.task, found.metric
    n = len(task.items)
    said = _labels(found.majority, task.models)
    chosen = [None] * n if metric is None else _labels(metric.choice, task.models)
    values = np.full((n, 2), np.nan) if metric is None else metric.values
    columns = {
        "item": [item.item for item in task.items],
        "prompt": [writable(item.prompt) for item in task.items],
        "model_a": [task.models[0]] * n,
        "model_b": [task.models[1]] * n,
        "votes_a": found.counts[:, 0],
        "votes_b": found.counts[:, 1],
        "majority": said,
        "metric": [None if metric is None else metric.metric.name] * n,
        "value_a": pa.array(values[:, 0], from_pandas=True),
        "value_b": pa.array(values[:, 1], from_pandas=True),
        "choice": chosen,
        "agree": [None if None in (a, b) else a == b for a, b in zip(said, chosen, strict=True)],
    }
    return pa.table(columns, schema=ITEMS)


def as_json(found: Agreement, made: Mapping[str, Any]) -> dict[str, Any]:
    """What agreement.json says; NaN where a number is undefined."""
    ratings, task = found.ratings, found.ratings.task
    return {
        "format": FORMAT,
        "ratings": str(ratings.folder),
        "template": task.template,
        "question": task.question,
        "models": list(task.models),
        "headline": list(headline(found)),
        "warnings": list(found.warnings),
        "n_raters": sum(rater.n > 0 for rater in found.raters),
        "n_items": len(task.items),
        "n_ratings": len(ratings.ratings),
        **{f"n_{name}": getattr(ratings, f"n_{name}") for name in ("undone", "replaced", "torn")},
        **{f"n_{name}": getattr(found, f"n_{name}") for name in ("unrated", "ties", "unanimous")},
        "majority": {name: int((found.majority == n).sum()) for n, name in enumerate(task.models)},
        "krippendorff_alpha": dataclasses.asdict(found.alpha),
        "fleiss_kappa": dataclasses.asdict(found.fleiss),
        "cohen_kappa": {
            "mean": found.mean_cohen,
            "pairs": [dataclasses.asdict(two) for two in found.cohen],
        },
        "individual": {
            "with_majority": dataclasses.asdict(found.plain),
            "with_majority_of_others": dataclasses.asdict(found.others),
        },
        "always_the_same": {"answer": found.constant, **dataclasses.asdict(found.baseline)},
        "left": dataclasses.asdict(found.left),
        "seconds_median": found.seconds,
        "raters": [dataclasses.asdict(rater) for rater in found.raters],
        "metric": None if found.metric is None else _metric(found.metric, found),
        "provenance": dict(made),
    }


def _metric(metric: MetricAgreement, found: Agreement) -> dict[str, Any]:
    models = found.ratings.task.models
    return {
        "name": metric.metric.name,
        "better": metric.metric.better,
        "scores": [str(side.results.folder) for side in metric.sides],
        "agreement": dataclasses.asdict(metric.agree),
        "kappa": dataclasses.asdict(metric.kappa),
        "chooses": dict(zip(models, metric.says, strict=True)),
        "always_the_same": {"answer": metric.constant, **dataclasses.asdict(metric.baseline)},
        "mcnemar": dataclasses.asdict(metric.mcnemar),
        "n_metric_ties": metric.n_metric_ties,
        "n_no_majority": metric.n_no_majority,
        "n_unmatched": len(metric.unmatched),
        "unmatched": [
            {**dataclasses.asdict(each), "prompt": writable(each.prompt)} for each in metric.unmatched[:LISTED]
        ],
        "n_other_images": len(metric.other_images),
        "n_disagreements": len(found.disagreements),
        "disagreements": disagreements(found),
    }


def _labels(codes: np.ndarray, models: tuple[str, str]) -> list[str | None]:
    return [None if code == NOBODY else models[code] for code in codes.tolist()]
