"""One colour and one shape for each model, the same in every plot and table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Mid-tones: each has a contrast of at least 3 to 1 with both the light and the dark page.
COLOURS = ("#3f82c9", "#cf7420", "#2f9e74", "#a468c8", "#d1566a", "#8a8b22", "#2a98ac", "#c2609f", "#8d7a66", "#6d7fd8")
SHAPES = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"))


@dataclass(frozen=True, slots=True)
class Mark:
    """How one model is drawn."""

    colour: str
    shape: str  # matplotlib's marker
    glyph: str  # the same shape as a character
    number: int  # from 1, for a figure whose fonts cannot write the name


def marks(models: Iterable[str | None]) -> dict[str | None, Mark]:
    """Return a mark for each model; the shapes and colours repeat at different lengths, so pairs rarely do."""
    names = sorted(set(models), key=lambda name: (name is None, name or ""))
    return {name: Mark(COLOURS[i % len(COLOURS)], *SHAPES[i % len(SHAPES)], i + 1) for i, name in enumerate(names)}
