"""Every page of a folder, made again from the files in it: what `semscale report` does."""

from __future__ import annotations

from pathlib import Path

from semscale.errors import UsageError
from semscale.report import write_report
from semscale.study.comparison.comparison_files import write_page


def rebuild(out: Path) -> list[Path]:
    """Write `out/report.html` of a run and `out/compare.html` of a comparison, whichever files are there.

    Returns the pages. Raises UsageError when `out` holds neither, StoreError when a file cannot be read or written.
    """
    comparison, run = ((out / name).exists() for name in ("comparison.json", "summary.json"))
    if not comparison and not run:
        raise UsageError(f"{out}: holds no results; give a folder that `semscale score` or `compare -o` wrote")
    pages = [write_page(out)] if comparison else []
    return [write_report(out), *pages] if run else pages  # the report links to the other page, which is there by now
