"""A run, or one score of it, in a notebook: the densities of the page, below the headline table. No script."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from semscale.errors import StoreError, UsageError
from semscale.report import palette
from semscale.report.groups import averaged, read_groups
from semscale.report.html import environment
from semscale.report.sections import COLUMN_OF, distributions
from semscale.report.summary import read_summary
from semscale.report.svg import Plot


def figures_html(out: Path, metrics: Collection[str] = tuple(COLUMN_OF)) -> str:
    """Return the distributions of `metrics` over groups of the results in `out`, as HTML; "" where there are none."""
    try:
        plots = _plots(out, metrics)
    except (UsageError, StoreError):  # a part of a run, or a folder that has gone: the numbers are shown without
        return ""
    return environment().get_template("notebook.html").render(plots=plots) if plots else ""


def _plots(out: Path, metrics: Collection[str]) -> list[Plot]:
    summary, groups = read_summary(out / "summary.json"), read_groups(out / "groups.parquet")
    shown = replace(summary, scores=tuple(score for score in summary.scores if score.metric in metrics))
    place = hashlib.sha256(str(out).encode("utf-8", "replace")).hexdigest()[:8]  # cells share one page, and its ids
    return distributions(shown, averaged(groups), palette.marks(groups["model"].unique().to_pylist()), prefix=place)
