"""How many images a prompt needs: `sensitivity.json` of a run, or the `plan.json` of `semscale plan-samples`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.report.format import DASH, as_float, count, number, plural

FILES = ("plan.json", "sensitivity.json")  # what was asked for goes before what every run finds
MAX_MODELS = 50
FAR = 10  # times the images of the smallest prompt, beyond which an extrapolation is a guess
MISSED = "What {:.0%} of the images show is in none of the smallest prompt's with a chance of {:.0%}."


@dataclass(frozen=True, slots=True)
class Size:
    """The errors of scores of so many images; NaN where there is none."""

    n: int
    median: float
    high: float  # what the wanted share of the errors stays within
    worst: float  # the same of the worst prompt
    within: float  # share of the errors within the precision, 0 to 1
    drawn: bool  # from subsets of the images, not extrapolated


@dataclass(frozen=True, slots=True)
class Need:
    """How many images a prompt one model needs; None where no number that was tried is enough."""

    model: str | None
    n_prompts: int
    for_prompt: int | None
    for_mean: int | None
    for_worst: int | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a plan says."""

    file: str
    unit: str
    precision: float
    confidence: float
    n_prompts: int
    pilot: tuple[int, int]  # images of the smallest and of the largest prompt
    recommended: int | None  # None where no number is enough
    extrapolated: bool
    needs: tuple[Need, ...]  # by model
    missed: str  # what the images cannot tell
    sizes: tuple[Size, ...]

    @property
    def wanted(self) -> str:
        """The precision in words."""
        return f"{self.precision:g} {'%' if self.unit.startswith('percent') else self.unit}"

    @property
    def axis(self) -> str:
        """The unit of the errors, as an axis has it."""
        return "% of the score" if self.unit.startswith("percent") else self.unit

    @property
    def shown(self) -> str:
        """The recommended number, or what it is above, where it is a guess."""
        if self.recommended is None:
            return DASH
        most = FAR * self.pilot[0]
        return count(self.recommended) if self.recommended <= most else f"over {count(most)}"

    @property
    def answer(self) -> str:
        """The recommendation in one sentence."""
        share = f"{100 * self.confidence:g} % of the scores of a prompt are within {self.wanted} of the truth"
        if self.recommended is None:
            return f"No number of images was found at which {share}."
        told = f"With {plural(self.recommended, 'image')} a prompt, {share}"
        if self.recommended <= FAR * self.pilot[0]:
            return f"{told}."
        return f"{told}: a guess, from {plural(self.pilot[0], 'image')} of the smallest prompt."


def read_sensitivity(out: Path) -> Sensitivity | None:
    """Return the plan in `out`, the one that was asked for first; None where none of the files is one."""
    return next((found for found in (_read(out / name) for name in FILES) if found is not None), None)


def _read(path: Path) -> Sensitivity | None:
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or some other file of this name, which is none of ours


def _parsed(raw: Mapping[str, Any], name: str) -> Sensitivity:
    best, rare = raw["recommended"], raw["rare_mode"]
    return Sensitivity(
        file=name,
        unit=str(raw["unit"]),
        precision=float(raw["precision"]),
        confidence=float(raw["confidence"]),
        n_prompts=int(raw["n_prompts"]),
        pilot=(int(raw["smallest_pilot"]), int(raw["largest_pilot"])),
        recommended=_whole(best["n"]),
        extrapolated=best["basis"] != "subsets",
        needs=tuple(map(_need, raw["by_model"][:MAX_MODELS])),
        missed=MISSED.format(float(rare["share"]), float(rare["chance_unseen"])),
        sizes=tuple(_size(row) for row in raw["sizes"]),
    )


def _size(raw: Mapping[str, Any]) -> Size:
    errors = (as_float(raw[name]) for name in ("median_error", "high_error", "worst_prompt", "within"))
    return Size(int(raw["n"]), *errors, drawn=raw["basis"] == "subsets")


def _need(raw: Mapping[str, Any]) -> Need:
    numbers = (_whole(raw[name]) for name in ("n", "for_mean", "for_worst_prompt"))
    return Need(None if raw["model"] is None else str(raw["model"]), int(raw["n_prompts"]), *numbers)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def rows(found: Sensitivity) -> tuple[tuple[str, ...], ...]:
    """Return a line for each size."""
    return tuple(
        (
            count(size.n),
            number(size.median),
            number(size.high),
            number(size.worst),
            f"{100 * size.within:.0f} %",
            "drawn" if size.drawn else "extrapolated",
        )
        for size in found.sizes
    )
