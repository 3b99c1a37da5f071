"""Models that are one generator under several settings, labelled by `semscale generate`: "sdxl steps=10 size=768"."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from semscale.report.format import is_defined
from semscale.report.summary import Estimate

AXES = {
    "steps": "Steps",
    "guidance": "Guidance",
    "image-guidance": "Image guidance",
    "strength": "Strength",
    "size": "Size, pixels",
}
LONGEST = 500  # characters of a label that is looked into
_FIELDS = "|".join((*AXES, "scheduler"))
_LABEL = re.compile(rf"(?P<name>.*?)(?P<settings>(?: (?:{_FIELDS})=\S+)+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Curve:
    """One generator with one setting changed and all others held."""

    label: str  # its name, and the settings that are held and that others have otherwise
    places: tuple[float, ...]  # of the setting, rising
    estimates: tuple[Estimate, ...]


def settings_of(label: str) -> tuple[str, dict[str, str]]:
    """Return the name in the label of a model, and the settings behind it."""
    found = _LABEL.fullmatch(label) if len(label) <= LONGEST else None
    if found is None:
        return label, {}
    return found["name"], dict(part.split("=", 1) for part in found["settings"].split())


def sweeps(by_model: Mapping[str, Estimate]) -> dict[str, list[Curve]]:
    """Return, for each setting with a number for value that varies while all else is held, a curve for each such case.

    A curve has two places or more. Models without a value, and settings left to a generator's default, have no place.
    """
    told = [(*settings_of(label), estimate) for label, estimate in by_model.items() if is_defined(estimate.value)]
    found = {field: _curves(field, told) for field in AXES}
    return {field: curves for field, curves in found.items() if curves}


def _curves(field: str, told: Iterable[tuple[str, dict[str, str], Estimate]]) -> list[Curve]:
    held: dict[str, dict[float, Estimate]] = defaultdict(dict)
    for name, settings, estimate in told:
        place = _number(settings.get(field, ""))
        if is_defined(place):
            others = (f"{other}={value}" for other, value in settings.items() if other != field)
            held[" ".join([name, *others])][place] = estimate
    return [
        Curve(label, tuple(sorted(points)), tuple(points[place] for place in sorted(points)))
        for label, points in sorted(held.items())
        if len(points) > 1
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # "default", "512x768"
        return math.nan
