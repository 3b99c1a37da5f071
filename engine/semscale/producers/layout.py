"""Where the objects of a scene go: boxes for the two sides of a relation, well separated places in a box."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from semscale.producers.captions import Scene, Thing

_SIZE_BANDS = {"small": (0.56, 0.6), "medium": (0.73, 0.77), "large": (0.93, 0.97), None: (0.62, 0.94)}
_ROWS = {1: ((1,),), 2: ((2,), (1, 1)), 3: ((1, 2), (2, 1)), 4: ((2, 2),), 5: ((3, 2), (2, 3), (2, 1, 2))}
_LARGEST_RADIUS = 0.4

Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the canvas
_WHOLE: Box = (0.03, 0.03, 0.97, 0.97)
_LEFT, _RIGHT = (0.02, 0.06, 0.5, 0.94), (0.5, 0.06, 0.98, 0.94)
_TOP, _BOTTOM = (0.06, 0.02, 0.94, 0.5), (0.06, 0.5, 0.94, 0.98)
_CENTRE: Box = (0.33, 0.33, 0.67, 0.67)
_BOXES: dict[str, tuple[Box, Box]] = {
    "left of": (_LEFT, _RIGHT),
    "right of": (_RIGHT, _LEFT),
    "above": (_TOP, _BOTTOM),
    "below": (_BOTTOM, _TOP),
    "inside": (_CENTRE, _WHOLE),
    "around": (_WHOLE, _CENTRE),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A disc an object fills: centre and radius, as fractions of the canvas."""

    x: float
    y: float
    radius: float


def places(scene: Scene, rng: random.Random) -> list[tuple[Thing, list[Place]]]:
    """Return each thing of `scene` with one place per copy, in the order of drawing (back to front)."""
    if scene.second is None or scene.relation is None:
        return [(scene.first, _in_box(scene.first, _WHOLE, rng))]
    box, other = _BOXES[scene.relation]
    if scene.relation == "inside":
        return [
            (scene.second, [Place(0.5, 0.5, rng.uniform(0.44, 0.47))]),
            (scene.first, _in_box(scene.first, box, rng)),
        ]
    second = _in_box(scene.second, other, rng)
    first = _in_circle(scene.first, rng) if scene.relation == "around" else _in_box(scene.first, box, rng)
    return [(scene.second, second), (scene.first, first)]


def _in_box(thing: Thing, box: Box, rng: random.Random) -> list[Place]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    rows = _rows(thing.count, width / height, rng)
    step_x, step_y = width / max(rows), height / len(rows)
    radius = min(step_x / 2, step_y / 2, _LARGEST_RADIUS) * rng.uniform(*_SIZE_BANDS[thing.size])
    slack_x, slack_y = 0.6 * (step_x / 2 - radius), 0.6 * (step_y / 2 - radius)
    found = []
    for row, in_row in enumerate(rows):
        for column in range(in_row):
            x = left + width / 2 + (column - (in_row - 1) / 2) * step_x + rng.uniform(-slack_x, slack_x)
            y = top + (row + 0.5) * step_y + rng.uniform(-slack_y, slack_y)
            found.append(Place(x, y, radius))
    return found


def _rows(count: int, aspect: float, rng: random.Random) -> tuple[int, ...]:
    if aspect > 1.5:
        return (count,) if count < 4 else (count - count // 2, count // 2)
    if aspect < 1 / 1.5:
        return (1,) * count if count < 4 else (2,) * (count // 2) + (1,) * (count % 2)
    return _ROWS[count][int(rng.random() * len(_ROWS[count]))]


def _in_circle(thing: Thing, rng: random.Random) -> list[Place]:
    radius, start = 0.155 * rng.uniform(*_SIZE_BANDS[thing.size]), rng.uniform(0, 2 * math.pi)
    turns = [start + 2 * math.pi * k / thing.count for k in range(thing.count)]
    return [Place(0.5 + 0.345 * math.cos(t), 0.5 + 0.345 * math.sin(t), radius) for t in turns]
