"""Which numbers of a prompt can be compared, and whether two runs computed them in the same way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from semscale.errors import UsageError
from semscale.metrics.registry import METRICS
from semscale.report.names import named
from semscale.study.comparison.sides import Side

Better = Literal["higher", "lower", "neither"]
FIRST = "scs"
OF_SCS: Mapping[str, Better] = {  # columns that come with scs -> which end is better
    "scs_corrected": "higher",
    "min_similarity": "higher",
    "max_similarity": "higher",
    "group_similarity": "higher",
    "n_clamped": "lower",
}
_BOUNDS = re.compile(r"(-?[0-9.]+) to (-?[0-9.]+)\b|at least (-?[0-9.]+)")
ENCODER = ("name", "sha256", "resize")  # what of an encoder must be the same
CLIP_TEXT = ("clip-score", "ref-clip-score")  # scores that rest on the text encoder, too


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that a prompt has, or the images of a prompt have."""

    name: str  # as in summary.json, or of the column
    column: str
    per: Literal["prompt", "image"]  # where its values are: groups.parquet or images.parquet
    better: Better
    what: str  # one line, "" where nothing is known of it
    low: float  # bounds that no value passes, infinite where there are none
    high: float


def column_of(name: str) -> str:
    """The column in which `semscale score` writes a score: `fid:clean-fid` -> `fid_clean_fid`."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")


def choose(sides: Sequence[Side], wanted: Sequence[str] = ()) -> tuple[Metric, ...]:
    """The metrics to compare: the `wanted` names of scores or columns, or every score that all sides have, scs first.

    Raises UsageError for one that a side does not have by prompt or by image, with the names that all have.
    """
    scores = [name for name in sides[0].results.entries if all(name in side.results.entries for side in sides)]
    usable = [name for name in scores if _place(sides, column_of(name))]
    if not wanted:
        if not usable:
            raise UsageError("the results have no score by prompt or by image in common; name a column with --metric")
        return tuple(_metric(sides, name) for name in sorted(usable, key=lambda name: name != FIRST))
    known = {column_of(name): name for name in scores}
    columns = dict.fromkeys(column_of(name) for each in wanted for name in each.split(",") if name.strip())
    if not columns:
        raise UsageError(f"--metric {','.join(wanted)!r} names nothing; choose from {', '.join(scores)}")
    return tuple(_metric(sides, known.get(column, column)) for column in columns)


def _place(sides: Sequence[Side], column: str) -> Literal["prompt", "image"] | None:
    """Where all sides have a column; of images it is joined by seed, which tells more than means of all images do."""
    if all(column in side.results.image_columns for side in sides):
        return "image"
    return "prompt" if all(column in side.results.group_columns for side in sides) else None


def _metric(sides: Sequence[Side], name: str) -> Metric:
    column = column_of(name)
    if (per := _place(sides, column)) is None:
        raise UsageError(_unknown(sides, name))
    base = name.split("@")[0].split(":")[0].replace("_", "-")
    described = METRICS.get(base)
    entry = entry_of(sides[0], name)
    if described is None:
        return Metric(name, column, per, OF_SCS.get(column, "neither"), "", *_bounds_of_column(column))
    return Metric(name, column, per, described.better, described.what, *_bounds(described.range, entry))


def _bounds_of_column(column: str) -> tuple[float, float]:
    if column.endswith("similarity"):
        return -100.0, 100.0
    return float("-inf"), 100.0 if column == "scs_corrected" else float("inf")


def _bounds(words: str, entry: Mapping[str, Any]) -> tuple[float, float]:
    """The range of a metric: of a score with a scale that scale, else as its description begins."""
    params = entry.get("params") or {}
    if params.get("scale"):
        scale = float(params["scale"])
        return (-scale if params.get("clamp") not in ("pair", "item") else 0.0), scale
    match = _BOUNDS.match(words)
    if match is None:
        return float("-inf"), float("inf")
    return (float(match[1]), float(match[2])) if match[3] is None else (float(match[3]), float("inf"))


def _unknown(sides: Sequence[Side], name: str) -> str:
    def has(side: Side) -> set[str]:
        return {*side.results.group_columns, *side.results.image_columns}

    common = sorted(set.intersection(*map(has, sides)))
    lacking = [side.label for side in sides if column_of(name) not in has(side)]
    close = difflib.get_close_matches(column_of(name), common, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    # one that none lacks is by prompt in some and by image in others
    where = f"in {', '.join(map(named, lacking))}" if lacking else "in the same table of all"
    return f"no {name!r} by prompt or by image {where}; {meant}all have {', '.join(common)}"


def entry_of(side: Side, name: str) -> Mapping[str, Any]:
    """What summary.json says of a score; of a column that comes with scs what it says of that."""
    column = column_of(name)
    found = next((entry for label, entry in side.results.entries.items() if column_of(label) == column), None)
    return found or (side.results.entries.get(FIRST, {}) if column in OF_SCS else {})


def differences(sides: Sequence[Side], metrics: Sequence[Metric]) -> tuple[list[str], list[str]]:
    """Why numbers of two runs cannot be compared, and what to know of those that can."""
    refused, noted = [], []
    first = sides[0]
    for other in sides[1:]:
        if other.results is first.results:
            continue
        who = f"{named(first.label)} and {named(other.label)}"
        for metric in metrics:
            a, b = (_made(side, metric) for side in (first, other))
            refused += [
                f"{metric.name} of {who} cannot be compared: {name} {a[name]!r} and {b[name]!r}"
                for name in sorted(a.keys() & b.keys())
                if a[name] != b[name]
            ][:1]
        noted += _notes(first, other, who)
    return refused, list(dict.fromkeys(noted))


def _made(side: Side, metric: Metric) -> dict[str, Any]:
    """What a number depends on beside the images, as far as it is known."""
    entry, models = entry_of(side, metric.name), side.results.summary.models
    if not entry and metric.column not in (FIRST, *OF_SCS):
        return {}
    encoder = (entry["encoder"] or {}) if "encoder" in entry else models.get("image") or {}
    made = {f"encoder {name}": encoder[name] for name in ENCODER if encoder.get(name)}
    if entry.get("name") in CLIP_TEXT:
        made["text encoder sha256"] = (models.get("text") or {}).get("sha256")
    params = {name: value for name, value in (entry.get("params") or {}).items() if not name.startswith("n_")}
    return {**made, **({"preset": entry["preset"]} if "preset" in entry else {}), **params}


def _notes(first: Side, other: Side, who: str) -> Iterator[str]:
    def facts(side: Side) -> dict[str, Any]:
        parameters, image = side.results.summary.parameters, side.results.summary.models.get("image") or {}
        return {"precision": image.get("precision"), **{name: parameters.get(name) for name in ("decode", "dtype")}}

    others = facts(other)
    for name, value in facts(first).items():
        if value != others[name]:
            yield f"{who} have different {name} ({value}, {others[name]}): small differences may come of that"
