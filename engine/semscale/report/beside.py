"""What else lies in a folder of results: the pages and verdicts of `compare` and `agreement`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.report.apart import Apart
from semscale.report.apart import apart as as_shown

MAX_LINES = 12
MAX_APART = 6  # items with pictures; agreement.html has more


@dataclass(frozen=True, slots=True)
class Beside:
    """One other result in the folder."""

    question: str  # that raters were asked; "" where nobody was
    page: str  # its file name; "" where it is not there
    lines: tuple[str, ...]  # what it found
    n_lines: int  # with those left out
    warnings: tuple[str, ...]
    metric: str = ""  # that raters are compared with; "" where they are not
    apart: tuple[Apart, ...] = ()  # items on which they differ, with pictures
    n_apart: int = 0  # with those left out


def read_comparison(out: Path) -> Beside | None:
    """Return what `comparison.json` in `out` says, None where there is none."""
    return _read(out, "comparison.json", "compare.html", _sentences)


def read_agreement(out: Path) -> Beside | None:
    """Return what `agreement.json` in `out` says, None where there is none."""
    return _read(out, "agreement.json", "agreement.html", lambda raw: raw["headline"])


def _read(out: Path, name: str, page: str, said: Callable[[Mapping[str, Any]], Iterable[Any]]) -> Beside | None:
    try:
        raw = json.loads((out / name).read_text(encoding="utf-8"))
        lines, metric = [str(line) for line in said(raw)], raw.get("metric") or {}
        apart = metric.get("disagreements") or ()
        return Beside(
            question=str(raw.get("question") or ""),
            page=page if (out / page).is_file() else "",
            lines=tuple(lines[:MAX_LINES]),
            n_lines=len(lines),
            warnings=tuple(map(str, raw["warnings"])),
            metric=str(metric.get("name") or ""),
            apart=tuple(map(as_shown, apart[:MAX_APART])),
            n_apart=int(metric.get("n_disagreements") or 0),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or some other file of this name, which is none of ours


def _sentences(raw: Mapping[str, Any]) -> list[str]:
    return [pair["sentence"] for metric in raw["metrics"].values() for pair in metric["pairs"]]
