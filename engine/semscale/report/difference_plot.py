"""The plot of paired differences: every prompt as a point, sorted, with the mean and its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale.model import Array, Interval
from semscale.report.format import number, plural, signed
from semscale.report.names import apart
from semscale.report.palette import Mark
from semscale.report.svg import INK, WIDTH, Data, Plot, house_style, label, to_plot, unwritten

MAX_POINTS = 300  # more would lie on each other, and each takes 300 bytes of the page
TALLEST = 3.0  # inches
ROOM = 22  # characters of both names that fit beside one another
LONGEST = 34  # of one name on a line of its own
LINE = 0.19  # inches of a line above the plot


@house_style()
def difference_plot(
    differences: Array,
    interval: Interval | None,
    names: tuple[str, str],
    marks: tuple[Mark, Mark],
    *,
    name: str,
    title: str = "Paired differences",
) -> Plot:
    """(n,) differences a - b, n > 0 -> a point a prompt from the lowest to the highest, in the colour of who is ahead.

    `names` are short, for they are drawn above it. The band is the interval of the mean. Of more than MAX_POINTS
    prompts evenly spaced ones are drawn.
    """
    values = np.sort(differences)
    drawn = values[np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().astype(int))]
    place = np.arange(len(drawn))
    figure, axes = _below(lines=1 if sum(map(len, names)) <= ROOM else 2)
    if interval is not None:
        axes.axvspan(interval.low, interval.high, color=INK, alpha=0.12, linewidth=0)
    axes.axvline(float(values.mean()), color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.axvline(0, color=INK, linewidth=0.9)
    for mark, chosen in ((marks[1], drawn < 0), (marks[0], drawn > 0)):
        axes.hlines(place[chosen], 0, drawn[chosen], color=mark.colour, linewidth=0.6, alpha=0.4)
        axes.plot(drawn[chosen], place[chosen], mark.shape, color=mark.colour, markersize=4, alpha=0.9, mew=0)
    zero = drawn == 0
    axes.plot(drawn[zero], place[zero], "o", color=INK, markersize=3, alpha=0.6, mew=0)
    _sides(axes, names, marks)
    reach = float(np.abs(values).max()) or 1.0
    axes.set_xlim(min(values.min(), 0) - 0.05 * reach, max(values.max(), 0) + 0.05 * reach)
    axes.margins(y=0.03)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    return to_plot(
        figure,
        name=name,
        title=title,
        alt=_alt(values, names),
        caption=_caption(drawn, values, banded=interval is not None) + _numbered(names, marks),
        data=_numbers(values, interval, names),
    )


def _below(*, lines: int) -> tuple[Figure, Axes]:
    """A figure with room above the axes for so many lines."""
    figure, top = Figure(figsize=(WIDTH, TALLEST)), (lines * LINE + 0.05) / TALLEST
    axes = figure.add_axes((0.025, 0.09, 0.95, 0.91 - top))
    axes.tick_params(length=2, width=0.6)
    return figure, axes


def _sides(axes: Axes, names: tuple[str, str], marks: tuple[Mark, Mark]) -> None:
    """Say above the plot which side of 0 is whose, in the colour of the text: that of a mark is too pale to read."""
    right, left = (label(text, number=mark.number) for text, mark in zip(apart(names, LONGEST), marks, strict=True))
    up = 0 if len(left) + len(right) <= ROOM else 72 * LINE  # points above the other, where one line is too short
    drawn = ((0, 1, up, f"← {left} higher", marks[1]), (1, -1, 0, f"{right} higher →", marks[0]))
    for end, inwards, above, text, mark in drawn:
        place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        place["ha"] = "right" if end else "left"
        axes.annotate(mark.glyph, (end, 1), (0, 5 + above), color=mark.colour, **place)
        axes.annotate(text, (end, 1), (14 * inwards, 5 + above), weight="bold", parse_math=False, **place)


def _alt(values: Array, names: tuple[str, str]) -> str:
    a, b = names
    return (
        f"Differences {a} minus {b}, one point a prompt, sorted: from {number(float(values.min()))} to "
        f"{number(float(values.max()))}, mean {number(float(values.mean()))}; "
        f"{plural(int((values > 0).sum()), 'prompt')} above 0."
    )


def _caption(drawn: Array, values: Array, *, banded: bool) -> str:
    band = "; the band is its interval" if banded else ""
    told = f"One point a prompt. Dashed: the mean{band}."
    return told if len(drawn) == len(values) else f"{told} {len(drawn):,} of {len(values):,} prompts."


def _numbered(names: tuple[str, str], marks: tuple[Mark, Mark]) -> str:
    told = unwritten({mark.number: text for text, mark in zip(names, marks, strict=True)})
    return f" {told}." if told else ""


def _numbers(values: Array, interval: Interval | None, names: tuple[str, str]) -> Data:
    a, b = names
    ends = (float("nan"), float("nan")) if interval is None else (interval.low, interval.high)
    low, median, high = map(float, np.percentile(values, (0, 50, 100)))
    lines = [("Prompts", f"{len(values):,}"), (f"{a} higher", f"{int((values > 0).sum()):,}")]
    lines += [(f"{b} higher", f"{int((values < 0).sum()):,}"), ("Mean", signed(float(values.mean())))]
    lines += [("Mean, low end", signed(ends[0])), ("Mean, high end", signed(ends[1]))]
    lines += [("Lowest", signed(low)), ("Median", signed(median)), ("Highest", signed(high))]
    return Data(("Number", f"{a} − {b}"), tuple(lines))
