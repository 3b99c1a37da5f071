"""Every page of a folder, made again from the files in it: what `semscale report` does."""

from __future__ import annotations

from pathlib import Path

from semscale.errors import UsageError
from semscale.report import write_report
from semscale.study.agreement.files import write_page as write_agreement_page
from semscale.study.comparison.comparison_files import write_page as write_comparison_page

WRITERS = {"comparison.json": write_comparison_page, "agreement.json": write_agreement_page}  # what holds a page -> it


def rebuild(out: Path) -> list[Path]:
    """Write `report.html`, `compare.html` and `agreement.html` in `out`, each from the files of it that are there.

    Returns the pages. Raises UsageError when `out` holds no results, StoreError when a file cannot be read or written.
    """
    run = (out / "summary.json").exists()
    others = [write for name, write in WRITERS.items() if (out / name).exists()]
    if not run and not others:
        raise UsageError(
            f"{out}: holds no results; give a folder that `semscale score`, `compare -o` or `agreement -o` wrote"
        )
    pages = [write(out) for write in others]
    return [write_report(out), *pages] if run else pages  # the report links to the other pages, there by now
