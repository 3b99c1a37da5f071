"""A comparison as files: comparison.json, pairs.parquet, unmatched.parquet, compare.html and its figures."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from semscale.files import replacing
from semscale.outputs import finite
from semscale.report.summary import as_raw
from semscale.study.comparison.comparing import ComparedMetric, ComparedPair, Study
from semscale.study.comparison.findings import FORMAT, read_findings
from semscale.study.comparison.pictured import pictured
from semscale.study.comparison.sides import Side
from semscale.study.comparison.words import ALPHA

SHOWN = f"p below {ALPHA}, no 0 in the interval of the mean difference, mean and ranks of one sign"
FIGURES = re.compile(r"compare-(distribution|differences|consistency-by-alignment).*")
LISTED = 100  # prompts that comparison.json names; the tables have all
PAIRS = pa.schema(
    [
        *((name, pa.string()) for name in ("metric", "model_a", "model_b", "prompt", "prompt_a", "prompt_b")),
        *((name, pa.float64()) for name in ("a", "b", "difference")),
        *((name, pa.int64()) for name in ("n_a", "n_b", "n_shared_seeds")),
    ]
)


def write_comparison(out: Path, study: Study, made: Mapping[str, Any]) -> dict[str, Any]:
    """Write the tables, comparison.json, the page and its figures into `out`; return what comparison.json says.

    `made` is the provenance. Files of an earlier comparison are replaced, each in one step. Raises StoreError when one
    cannot be written.
    """
    told = finite({**as_json(study, made), **_of_page(study)})
    with replacing(out / "pairs.parquet") as temporary:
        pq.write_table(pairs_table(study), temporary)
    with replacing(out / "unmatched.parquet") as temporary:
        pq.write_table(study.unmatched, temporary)
    with replacing(out / "comparison.json") as temporary:
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="replace")
    write_page(out)
    return told


def write_page(out: Path) -> Path:
    """Write `out/compare.html` and its figures from comparison.json and the two tables in `out`; return its path.

    The same bytes for the same files and pictures. Errors as in `findings.read_findings`.
    """
    from semscale.report.figures import write_figures
    from semscale.study.comparison.page import render

    page, plots = render(read_findings(out))
    write_figures(out, plots, ours=FIGURES)
    with replacing(out / "compare.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "compare.html"


def _of_page(study: Study) -> dict[str, Any]:
    """What the page shows beside the numbers: the runs, and images side by side."""
    folders: dict[Path, list[Side]] = {}
    for side in study.sides:
        folders.setdefault(side.results.folder, []).append(side)
    runs = [
        {"out": str(folder), "models": [side.label for side in mine], "summary": as_raw(mine[0].results.summary)}
        for folder, mine in folders.items()
    ]
    return {"runs": runs, "side_by_side": pictured(study)}


def pairs_table(study: Study) -> pa.Table:
    """The joined table: a row for every metric, two models and prompt, sorted by these."""
    parts = [_rows(study, compared, pair) for compared in study.metrics for pair in compared.pairs]
    return pa.concat_tables([PAIRS.empty_table(), *parts])


def _rows(study: Study, compared: ComparedMetric, pair: ComparedPair) -> pa.Table:
    places, (a, b) = compared.places, pair.columns
    values_a, values_b = compared.values[:, a], compared.values[:, b]
    n = len(places)
    return pa.table(
        {
            "metric": [compared.metric.name] * n,
            "model_a": [pair.a] * n,
            "model_b": [pair.b] * n,
            "prompt": [study.prompts.joined.keys[row] for row in places],
            "prompt_a": [study.prompts.written[row][a] for row in places],
            "prompt_b": [study.prompts.written[row][b] for row in places],
            "a": values_a,
            "b": values_b,
            "difference": values_a - values_b,
            "n_a": study.images.counts[places, a],
            "n_b": study.images.counts[places, b],
            "n_shared_seeds": study.images.n_shared[places],
        },
        schema=PAIRS,
    )


def as_json(study: Study, made: Mapping[str, Any]) -> dict[str, Any]:
    """What comparison.json says; NaN where a number is undefined, which is null in the file."""
    lone = study.unmatched
    of_prompts = [row for row in lone["what"].to_pylist() if row == "prompt"]
    return {
        "format": FORMAT,
        "models": [_side(side) for side in study.sides],
        "n_prompts": len(study.prompts),
        "n_images": study.images.counts.sum(axis=0).tolist(),
        "joined_by": "prompt and seed" if study.images.paired else "prompt",
        "common_seeds": study.common_seeds,
        "prompt_map": study.prompt_map or None,
        "prompt_map_unused": [list(row) for row in study.prompts.unused],
        "n_unmatched_prompts": len(of_prompts),
        "n_unmatched_seeds": len(lone) - len(of_prompts),
        "unmatched": lone.slice(0, LISTED).to_pylist(),
        "warnings": list(study.warnings),
        "shown": SHOWN,
        "metrics": {compared.metric.name: _metric(compared) for compared in study.metrics},
        "provenance": dict(made),
    }


def _side(side: Side) -> dict[str, Any]:
    summary = side.results.summary
    image = summary.models.get("image") or {}
    encoder = {name: image.get(name) for name in ("name", "sha256", "precision")}
    return {
        "name": side.label,
        "out": str(side.results.folder),
        "model": side.model,
        "n_prompts": len(side.groups),
        "encoder": encoder,
        "command": summary.provenance.get("command"),
    }


def _metric(compared: ComparedMetric) -> dict[str, Any]:
    metric = compared.metric
    return {
        "column": metric.column,
        "per": metric.per,
        "better": metric.better,
        "what": metric.what,
        "low": metric.low,
        "high": metric.high,
        "n": len(compared.places),
        "n_left_out": len(compared.left_out),
        "left_out": list(compared.left_out[:LISTED]),
        "pairs": [
            {
                "a": pair.a,
                "b": pair.b,
                "ahead": pair.ahead,
                "sentence": pair.sentence,
                "p": pair.p,
                "p_is": "Wilcoxon, adjusted by Holm over the pairs of models" if pair.adjusted else "Wilcoxon",
                "statistics": dataclasses.asdict(pair.statistics),
            }
            for pair in compared.pairs
        ],
    }
