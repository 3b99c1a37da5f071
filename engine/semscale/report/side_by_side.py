"""The same prompt by several models, seed by seed, where the models differ most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from semscale.report.format import DASH, number, shorten, span
from semscale.report.groups import Group
from semscale.report.images import Member, in_group, scan
from semscale.report.thumbs import Thumb, thumbnail

MAX_PROMPTS = 4
MAX_MODELS = 6
MAX_SEEDS = 6
HELD = 256  # images of a group that are looked at, those of the lowest seeds
COLUMNS = ("key", "uri", "sha256", "seed")
Images = list[dict[str, Any]]  # of one group: COLUMNS


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of a grid."""

    thumb: Thumb
    alt: str


@dataclass(frozen=True, slots=True)
class Row:
    """One model's images."""

    model: str
    value: str  # "SCS 87.20"
    notes: tuple[str, ...]
    shots: tuple[Shot, ...]  # one for each column


@dataclass(frozen=True, slots=True)
class Grid:
    """One prompt."""

    title: str
    apart: str  # what the gap is: "apart by"
    gap: str  # between the models at the ends
    columns: tuple[str, ...]  # "seed 3"; without seeds in common "image 1"
    paired: bool
    rows: tuple[Row, ...]
    n_models: int  # of this prompt, with those not shown


@dataclass(frozen=True, slots=True)
class Lined:
    """Images of several models, one for each column."""

    columns: tuple[str, ...]
    images: tuple[Images, ...]  # by model
    paired: bool  # whether a column is of one seed


def grids(images: Path, prompts: list[list[Group]]) -> list[Grid]:
    """Return a grid for each prompt: the groups that models have of it, the most consistent first.

    Of more than MAX_MODELS models those at both ends are shown. Errors as in `images.failures_in`.
    """
    shown = [ends(groups) for groups in prompts]
    found = lowest_seeds(images, [(group.model, group.group) for groups in shown for group in groups])
    return [
        _grid(groups, lined_up([found[group.model, group.group] for group in groups]), every)
        for groups, every in zip(shown, prompts, strict=True)
    ]


def ends(models: list[Any]) -> list[Any]:
    """Return up to MAX_MODELS of the models of a prompt, from both ends of their order."""
    half = MAX_MODELS // 2
    return models if len(models) <= MAX_MODELS else [*models[:half], *models[-half:]]


def lowest_seeds(path: Path, places: Sequence[tuple[str | None, str]]) -> dict[tuple[str | None, str], Images]:
    """Return up to HELD images of each model and group, by seed and key. Memory is bounded by these alone."""
    found: dict[tuple[str | None, str], Images] = {place: [] for place in places}
    if not places:
        return found
    wanted = ds.field("group").isin(sorted({group for _, group in places})) & (ds.field("status") == "ok")
    for batch in scan(path, [*COLUMNS, "model", "group"], wanted):
        for place in places:
            inside = batch.filter(in_group(batch, *place)).select(COLUMNS)
            first = inside.take(pc.select_k_unstable(inside, HELD, [("seed", "ascending"), ("key", "ascending")]))
            found[place] = sorted([*found[place], *first.to_pylist()], key=_by_seed)[:HELD]
    return found


def _by_seed(row: Mapping[str, Any]) -> tuple[bool, int, str]:
    return (row["seed"] is None, row["seed"] or 0, row["key"])


def lined_up(models: Sequence[Images]) -> Lined:
    """Return the first MAX_SEEDS images of each model: of seeds that all have, where there are any."""
    by_seed = [{row["seed"]: row for row in reversed(rows) if row["seed"] is not None} for rows in models]
    common = sorted(set.intersection(*map(set, by_seed)))[:MAX_SEEDS]
    if common:
        return Lined(tuple(f"seed {s}" for s in common), tuple([rows[s] for s in common] for rows in by_seed), True)
    n = min(MAX_SEEDS, *map(len, models))
    return Lined(tuple(f"image {place}" for place in range(1, n + 1)), tuple(rows[:n] for rows in models), False)


def _grid(groups: list[Group], lined: Lined, every: list[Group]) -> Grid:
    return Grid(
        title=shorten(groups[0].group, 200),
        apart="apart by",
        gap=number((every[0].scs or 0.0) - (every[-1].scs or 0.0)),
        columns=lined.columns,
        paired=lined.paired,
        rows=tuple(_row(group, rows, lined.columns) for group, rows in zip(groups, lined.images, strict=True)),
        n_models=len(every),
    )


def _row(group: Group, images: Images, columns: Sequence[str]) -> Row:
    interval, clip_score = span(group.scs_low, group.scs_high), number(group.clip_score)
    notes = ("" if interval == DASH else interval, "" if clip_score == DASH else f"CLIP score {clip_score}")
    model = group.model or ""
    shown = shots(model, group.group, map(member, images), columns)
    return Row(model, f"SCS {number(group.scs)}", tuple(filter(None, notes)), shown)


def member(row: Mapping[str, Any]) -> Member:
    """Return an image from its row of `images.parquet`."""
    return Member(row["key"], row["uri"], row["sha256"], None)


def shots(model: str, prompt: str, images: Iterable[Member], columns: Sequence[str]) -> tuple[Shot, ...]:
    """Return the pictures of one model, with what they show in words."""
    named = f"{shorten(model, 60)}, {shorten(prompt, 80)}"
    return tuple(Shot(thumbnail(image), f"{named}, {column}") for image, column in zip(images, columns, strict=True))
