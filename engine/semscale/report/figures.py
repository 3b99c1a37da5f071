"""Every figure of a page as files beside it: OUT/figures/NAME.svg and NAME.png."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from semscale.files import discard, replace
from semscale.report.svg import Plot

FOLDER = "figures"
KINDS = ("svg", "png")
OF_RUNS = re.compile(
    r"(interval|distribution|sweep)-[a-z-]+|differences-[a-z-]+-[0-9]+|consistency-by-alignment|sensitivity"
)


def write_figures(out: Path, plots: Sequence[Plot], *, ours: re.Pattern[str] = OF_RUNS) -> None:
    """Write each plot into `out/figures`, as SVG and as PNG. Raises StoreError.

    Of the names that `ours` matches, those of an earlier page that this one lacks go; other files are left alone. The
    same plots give the same bytes.
    """
    folder, names = out / FOLDER, {plot.name for plot in plots}
    for plot in plots:
        replace(folder / f"{plot.name}.svg", plot.svg.encode())
        replace(folder / f"{plot.name}.png", plot.png())
    for old in sorted(folder.glob("*")) if folder.is_dir() else ():
        if old.suffix[1:] in KINDS and ours.fullmatch(old.stem) and old.stem not in names:
            discard(old)
