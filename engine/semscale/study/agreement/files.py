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
from semscale.study.agreement.findings import FORMAT, ITEMS, read_findings
from semscale.study.agreement.of_metric import MetricAgreement
from semscale.study.agreement.words import headline


def write_agreement(out: Path, found: Agreement, made: Mapping[str, Any]) -> dict[str, Any]:
    """Write the three files into `out`; return what agreement.json says. `made` is the provenance.

    Earlier files are replaced, each in one step. Raises StoreError when one cannot be written.
    """
    told = finite(as_json(found, made))
    if told["metric"] is not None:
        told["metric"]["disagreements"] = finite(pictured(found))
    with replacing(out / "items.parquet") as temporary:
        pq.write_table(items_table(found), temporary)
    with replacing(out / "agreement.json") as temporary:
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="replace")
    write_page(out)
    return told


def write_page(out: Path) -> Path:
    """Write `out/agreement.html` from agreement.json and items.parquet in `out`; return its path.

    The same bytes for the same files and pictures. Errors as in `findings.read_findings`.
    """
    from semscale.study.agreement.page import render

    page = render(read_findings(out))
    with replacing(out / "agreement.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "agreement.html"


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
        "n_raters": found.n_raters,
        "n_items": found.n_items,
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
    return {
        "name": metric.name,
        "better": metric.better,
        "scores": [str(side.results.folder) for side in metric.sides],
        "agreement": dataclasses.asdict(metric.agree),
        "kappa": dataclasses.asdict(metric.kappa),
        "chooses": metric.chooses,
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
