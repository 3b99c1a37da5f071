"""The outlines of the objects a scene can show: polygons in a square from -1 to 1, y downwards.

A shape is a list of parts painted in order. A part is a polygon and whether it adds to the object or cuts a hole.
"""

from __future__ import annotations

import math

Point = tuple[float, float]
Part = tuple[list[Point], bool]  # polygon, True where it adds and False where it cuts


def _disc(x: float, y: float, rx: float, ry: float | None = None) -> list[Point]:
    ry = rx if ry is None else ry
    turns = [2 * math.pi * k / 40 for k in range(40)]
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns]


def _regular(corners: int, radius: float, turn: float = -math.pi / 2) -> list[Point]:
    turns = [turn + 2 * math.pi * k / corners for k in range(corners)]
    return [(radius * math.cos(t), radius * math.sin(t)) for t in turns]


def _star() -> list[Point]:
    outer, inner = _regular(5, 1.0), _regular(5, 0.42, -math.pi / 2 + math.pi / 5)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _heart() -> list[Point]:
    turns = [2 * math.pi * k / 40 for k in range(40)]
    return [
        (
            0.95 * math.sin(t) ** 3,
            -0.06 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) - 0.08,
        )
        for t in turns
    ]


def _drop() -> list[Point]:
    arc = [math.pi * (-0.12 + 1.24 * k / 24) for k in range(25)]
    return [(0.0, -1.0), *((0.62 * math.cos(t), 0.36 + 0.62 * math.sin(t)) for t in arc)]


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _adds(*polygons: list[Point]) -> list[Part]:
    return [(polygon, True) for polygon in polygons]


def _cuts(*polygons: list[Point]) -> list[Part]:
    return [(polygon, False) for polygon in polygons]


SHAPES: dict[str, list[Part]] = {
    "circle": _adds(_disc(0, 0, 0.88)),
    "square": _adds(_box(-0.78, -0.78, 0.78, 0.78)),
    "triangle": _adds([(0, -0.92), (0.95, 0.75), (-0.95, 0.75)]),
    "star": _adds(_star()),
    "heart": _adds(_heart()),
    "cross": _adds(_box(-0.32, -0.9, 0.32, 0.9), _box(-0.9, -0.32, 0.9, 0.32)),
    "ring": _adds(_disc(0, 0, 0.95)) + _cuts(_disc(0, 0, 0.48)),
    "diamond": _adds([(0, -1), (0.62, 0), (0, 1), (-0.62, 0)]),
    "hexagon": _adds(_regular(6, 0.95, 0.0)),
    "crescent": _adds(_disc(-0.05, 0, 0.95)) + _cuts(_disc(0.42, 0, 0.7)),
    "arrow": _adds([(-0.95, -0.28), (0.1, -0.28), (0.1, -0.78), (0.98, 0), (0.1, 0.78), (0.1, 0.28), (-0.95, 0.28)]),
    "house": _adds(_box(-0.66, -0.15, 0.66, 0.9), [(-0.95, -0.12), (0, -0.95), (0.95, -0.12)])
    + _cuts(_box(-0.18, 0.35, 0.2, 0.9)),
    "tree": _adds(
        _box(-0.17, 0.5, 0.17, 0.98),
        [(0, -0.98), (0.5, -0.3), (-0.5, -0.3)],
        [(0, -0.6), (0.65, 0.15), (-0.65, 0.15)],
        [(0, -0.2), (0.8, 0.6), (-0.8, 0.6)],
    ),
    "fish": _adds(_disc(-0.22, 0, 0.74, 0.5), [(0.3, 0), (0.98, -0.58), (0.98, 0.58)])
    + _cuts(_disc(-0.6, -0.12, 0.12)),
    "flower": _adds(
        *(_disc(0.58 * math.cos(t), 0.58 * math.sin(t), 0.37) for t in (0.3 + 2 * math.pi * k / 6 for k in range(6)))
    )
    + _cuts(_disc(0, 0, 0.27)),
    "cloud": _adds(
        _disc(-0.5, 0.18, 0.45), _disc(0.52, 0.2, 0.43), _disc(0.02, -0.14, 0.56), _box(-0.5, 0.1, 0.52, 0.62)
    ),
    "mushroom": _adds(
        [(0.92 * math.cos(t), 0.08 + 0.98 * math.sin(t)) for t in (math.pi * (1 + k / 24) for k in range(25))],
        [(-0.28, 0.0), (0.28, 0.0), (0.36, 0.95), (-0.36, 0.95)],
    ),
    "car": _adds(
        _box(-0.98, -0.02, 0.98, 0.42),
        [(-0.62, 0.0), (-0.4, -0.55), (0.36, -0.55), (0.64, 0.0)],
        _disc(-0.52, 0.45, 0.27),
        _disc(0.52, 0.45, 0.27),
    )
    + _cuts(_box(-0.32, -0.4, 0.28, -0.08)),
    "boat": _adds([(-0.95, 0.32), (0.95, 0.32), (0.55, 0.85), (-0.6, 0.85)], [(0.0, -0.98), (0.72, 0.2), (0.0, 0.2)])
    + _adds([(-0.1, -0.7), (-0.1, 0.2), (-0.62, 0.2)]),
    "cup": _adds(_disc(0.58, -0.02, 0.4), [(-0.8, -0.7), (0.55, -0.7), (0.4, 0.8), (-0.65, 0.8)])
    + _cuts([(0.6, -0.2), (0.78, -0.02), (0.56, 0.18)]),
    "bolt": _adds([(0.2, -1), (-0.62, 0.15), (-0.08, 0.15), (-0.3, 1), (0.62, -0.28), (0.08, -0.28), (0.55, -1)]),
    "cat": _adds(
        _disc(0, 0.22, 0.8, 0.68),
        [(-0.78, 0.15), (-0.72, -0.92), (-0.1, -0.38)],
        [(0.78, 0.15), (0.72, -0.92), (0.1, -0.38)],
    )
    + _cuts(_disc(-0.3, 0.1, 0.13), _disc(0.3, 0.1, 0.13)),
    "drop": _adds(_drop()),
    "umbrella": _adds(
        [(0.98 * math.cos(t), 0.1 + 1.0 * math.sin(t)) for t in (math.pi * (1 + k / 24) for k in range(25))],
        _box(-0.08, 0.0, 0.08, 0.85),
        _box(-0.08, 0.78, 0.42, 0.95),
        _box(0.28, 0.55, 0.42, 0.95),
    ),
    "leaf": _adds(
        [
            *[(-0.8, 0.55), (-0.75, -0.05), (-0.35, -0.6), (0.2, -0.85), (0.85, -0.85)],
            *[(0.85, -0.2), (0.6, 0.35), (0.05, 0.75), (-0.55, 0.8), (-0.95, 0.98)],
        ]
    )
    + _cuts([(-0.6, 0.62), (0.5, -0.55), (0.56, -0.48), (-0.5, 0.7)]),
    "rocket": _adds(
        [(0, -1), (0.34, -0.5), (0.36, 0.55), (-0.36, 0.55), (-0.34, -0.5)],
        [(0.3, 0.05), (0.72, 0.75), (0.3, 0.6)],
        [(-0.3, 0.05), (-0.72, 0.75), (-0.3, 0.6)],
        [(-0.22, 0.6), (0.22, 0.6), (0, 1.0)],
    )
    + _cuts(_disc(0, -0.25, 0.17)),
    "butterfly": _adds(
        _disc(-0.52, -0.38, 0.46, 0.5),
        _disc(0.52, -0.38, 0.46, 0.5),
        _disc(-0.42, 0.46, 0.36, 0.4),
        _disc(0.42, 0.46, 0.36, 0.4),
        _disc(0, 0.02, 0.13, 0.75),
    ),
    "key": _adds(
        _disc(-0.55, 0, 0.43), _box(-0.3, -0.14, 0.98, 0.14), _box(0.68, 0, 0.92, 0.5), _box(0.32, 0, 0.54, 0.42)
    )
    + _cuts(_disc(-0.55, 0, 0.19)),
    "crown": _adds([(-0.9, 0.7), (-0.95, -0.62), (-0.45, -0.05), (0, -0.85), (0.45, -0.05), (0.95, -0.62), (0.9, 0.7)]),
    "hourglass": _adds(
        _box(-0.75, -0.98, 0.75, -0.72),
        _box(-0.75, 0.72, 0.75, 0.98),
        [(-0.62, -0.8), (0.62, -0.8), (0.08, 0.0), (0.62, 0.8), (-0.62, 0.8), (-0.08, 0.0)],
    ),
}
