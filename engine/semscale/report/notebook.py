"""A run in a notebook: the headline table, and the densities of the page. No script."""

from __future__ import annotations

import hashlib
from pathlib import Path

from semscale.errors import StoreError, UsageError
from semscale.report import palette
from semscale.report.groups import averaged, read_groups
from semscale.report.html import environment
from semscale.report.sections import distributions
from semscale.report.summary import read_summary
from semscale.report.svg import Plot


def figures_html(out: Path) -> str:
    """Return the distributions over groups of the results in `out`, as HTML; "" where there are none."""
    try:
        plots = _plots(out)
    except (UsageError, StoreError):  # a part of a run, or a folder that has gone: the numbers are shown without
        return ""
    return environment().get_template("notebook.html").render(plots=plots)


def _plots(out: Path) -> list[Plot]:
    summary, groups = read_summary(out / "summary.json"), read_groups(out / "groups.parquet")
    place = hashlib.sha256(str(out).encode("utf-8", "replace")).hexdigest()[:8]  # cells share one page, and its ids
    return distributions(summary, averaged(groups), palette.marks(groups["model"].unique().to_pylist()), prefix=place)
