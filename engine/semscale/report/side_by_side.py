"""The same prompt by several models, seed by seed, where the models differ most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from semscale.report.format import number, shorten, span
from semscale.report.groups import Group
from semscale.report.images import Member, in_group, scan
from semscale.report.thumbs import Thumb, thumbnail

MAX_PROMPTS = 4
MAX_MODELS = 6
MAX_SEEDS = 6
HELD = 256  # images of a group that are looked at, those of the lowest seeds


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of a grid."""

    thumb: Thumb
    alt: str


@dataclass(frozen=True, slots=True)
class Row:
    """One model's images."""

    model: str
    value: str
    interval: str
    clip_score: str
    shots: tuple[Shot, ...]  # one for each column


@dataclass(frozen=True, slots=True)
class Grid:
    """One prompt."""

    title: str
    gap: str  # between the models at the ends
    columns: tuple[str, ...]  # "seed 3"; without seeds in common "image 1"
    paired: bool
    rows: tuple[Row, ...]
    n_models: int  # of this prompt, with those not shown


def grids(images: Path, prompts: list[list[Group]]) -> list[Grid]:
    """Return a grid for each prompt: the groups that models have of it, the most consistent first.

    Of more than MAX_MODELS models those at both ends are shown. Errors as in `images.failures_in`.
    """
    shown = [_ends(groups) for groups in prompts]
    found = _lowest_seeds(images, [group for groups in shown for group in groups])
    return [
        _grid(groups, [found[group.model, group.group] for group in groups], every)
        for groups, every in zip(shown, prompts, strict=True)
    ]


def _ends(groups: list[Group]) -> list[Group]:
    half = MAX_MODELS // 2
    return groups if len(groups) <= MAX_MODELS else [*groups[:half], *groups[-half:]]


def _lowest_seeds(path: Path, groups: list[Group]) -> dict[tuple[str | None, str], list[dict[str, Any]]]:
    """Return up to HELD images of each group, by seed and key. Memory is bounded by these alone."""
    found: dict[tuple[str | None, str], list[dict[str, Any]]] = {(g.model, g.group): [] for g in groups}
    if not groups:
        return found
    wanted = ds.field("group").isin(sorted({group.group for group in groups})) & (ds.field("status") == "ok")
    for batch in scan(path, ["key", "uri", "sha256", "seed", "model", "group"], wanted):
        for group in groups:
            inside = batch.filter(in_group(batch, group))
            first = inside.take(pc.select_k_unstable(inside, HELD, [("seed", "ascending"), ("key", "ascending")]))
            held = [*found[group.model, group.group], *first.to_pylist()]
            found[group.model, group.group] = sorted(held, key=_by_seed)[:HELD]
    return found


def _by_seed(row: dict[str, Any]) -> tuple[bool, int, str]:
    return (row["seed"] is None, row["seed"] or 0, row["key"])


def _grid(groups: list[Group], images: list[list[dict[str, Any]]], every: list[Group]) -> Grid:
    by_seed = [{row["seed"]: row for row in reversed(rows) if row["seed"] is not None} for rows in images]
    common = sorted(set.intersection(*map(set, by_seed)))[:MAX_SEEDS]
    if common:
        columns, chosen = [f"seed {seed}" for seed in common], [[rows[s] for s in common] for rows in by_seed]
    else:
        n = min(MAX_SEEDS, *map(len, images))
        columns, chosen = [f"image {place}" for place in range(1, n + 1)], [rows[:n] for rows in images]
    return Grid(
        title=shorten(groups[0].group, 200),
        gap=number((every[0].scs or 0.0) - (every[-1].scs or 0.0)),
        columns=tuple(columns),
        paired=bool(common),
        rows=tuple(_row(group, rows, columns) for group, rows in zip(groups, chosen, strict=True)),
        n_models=len(every),
    )


def _row(group: Group, images: Iterable[dict[str, Any]], columns: list[str]) -> Row:
    named = f"{shorten(group.model or '', 60)}, {shorten(group.group, 80)}"
    return Row(
        model=group.model or "",
        value=number(group.scs),
        interval=span(group.scs_low, group.scs_high),
        clip_score=number(group.clip_score),
        shots=tuple(
            Shot(thumbnail(Member(row["key"], row["uri"], row["sha256"], None)), f"{named}, {column}")
            for row, column in zip(images, columns, strict=True)
        ),
    )
