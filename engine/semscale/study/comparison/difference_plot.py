"""The plot of paired differences: every prompt as a point, sorted, with the mean and its interval."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale.model import Array, Interval
from semscale.report.format import number, plural, shorten
from semscale.report.palette import Mark
from semscale.report.svg import INK, WIDTH, Plot, house_style, label, to_plot

MAX_POINTS = 300  # more would lie on each other, and each takes 300 bytes of the page
TALLEST = 3.0  # inches


@house_style()
def difference_plot(
    differences: Array, interval: Interval | None, names: tuple[str, str], marks: tuple[Mark, Mark], *, name: str
) -> Plot:
    """(n,) differences a - b, n > 0 -> a point a prompt from the lowest to the highest, in the colour of who is ahead.

    The band is the interval of the mean. Of more than MAX_POINTS prompts evenly spaced ones are drawn.
    """
    values = np.sort(differences)
    drawn = values[np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().astype(int))]
    place = np.arange(len(drawn))
    figure = Figure(figsize=(WIDTH, TALLEST), layout="constrained")
    axes = figure.subplots()
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
        figure, name=name, title="Paired differences", alt=_alt(values, names), caption=_caption(drawn, values)
    )


def _sides(axes: Axes, names: tuple[str, str], marks: tuple[Mark, Mark]) -> None:
    """Say above the plot which side of 0 is whose."""
    higher = {"left": f"← {label(names[1], 12)} higher", "right": f"{label(names[0], 12)} higher →"}
    for (place, text), mark in zip(higher.items(), reversed(marks), strict=True):
        axes.set_title(text, loc=place, color=mark.colour, fontsize=9.5, weight="bold", parse_math=False)  # type: ignore[arg-type]


def _alt(values: Array, names: tuple[str, str]) -> str:
    a, b = (shorten(who, 60) for who in names)
    return (
        f"Differences {a} minus {b}, one point a prompt, sorted: from {number(float(values.min()))} to "
        f"{number(float(values.max()))}, mean {number(float(values.mean()))}; "
        f"{plural(int((values > 0).sum()), 'prompt')} above 0."
    )


def _caption(drawn: Array, values: Array) -> str:
    told = "One point a prompt. Dashed: the mean; the band is its interval."
    return told if len(drawn) == len(values) else f"{told} {len(drawn):,} of {len(values):,} prompts."
