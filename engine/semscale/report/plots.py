"""The plots of the report. Each takes plain values and returns a Plot; none reads a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale.model import Array
from semscale.report import figure_data
from semscale.report.density import bounded_density
from semscale.report.figure_data import named
from semscale.report.format import count, number, plural, span
from semscale.report.names import short
from semscale.report.palette import Mark
from semscale.report.summary import Estimate
from semscale.report.svg import INK, WIDTH, Plot, house_style, label, to_plot, unwritten

MAX_ROWS = 12  # models drawn in one plot
IN_TITLE, IN_LEGEND = 30, 24  # characters of a name, which leave room for what stands beside it
MAX_POINTS = 1500  # groups drawn one by one in a scatter
MAX_TICKS = 150  # groups drawn one by one under a density
MIN_GROUPS_FOR_SHAPE = 5  # fewer have no shape to show
NEGLIGIBLE = 0.01  # of a density's peak: not drawn
Marks = Mapping[str | None, Mark]


@dataclass(frozen=True, slots=True)
class Axis:
    """What is along an axis."""

    title: str
    low: float  # bounds that no value passes
    high: float


@house_style()
def interval_plot(estimates: Mapping[str, Estimate], axis: Axis, marks: Marks, *, name: str) -> Plot:
    """Return a dot and its interval for each model, in the order given."""
    rows = list(estimates.items())[:MAX_ROWS]
    figure, axes = _rows(len(rows), inches=0.5)
    names = short(estimates, IN_TITLE)
    for y, (model, estimate) in enumerate(rows):
        colour = marks[model].colour
        _title(axes, y - 0.36, names[model], number(estimate.value), marks[model])
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot([estimate.value], [y], marks[model].shape, color=colour, markersize=7)
    axes.set_ylim(len(rows) - 0.72, -0.7)
    ends = np.array([[e.value, e.low, e.high] for _, e in rows])
    set_limits(axes, ends[np.isfinite(ends)], axis)
    said = "; ".join(f"{named(model)}: {number(e.value)}, interval {span(e.low, e.high)}" for model, e in rows)
    alt = f"{axis.title} by model, with intervals. {said}."
    data = figure_data.of_intervals(estimates)
    return to_plot(figure, name=name, title=axis.title, alt=alt, caption=_shown(rows, estimates, marks), data=data)


@house_style()
def distribution_plot(values: Mapping[str | None, Array], axis: Axis, marks: Marks, *, name: str) -> Plot:
    """Return, for each model in the order given, the density of its (G,) values, G > 0, over a box.

    The groups themselves are drawn as ticks when they are few.
    """
    rows = list(values.items())[:MAX_ROWS]
    figure, axes = _rows(len(rows), inches=0.95)
    names = short(values, IN_TITLE)
    for y, (model, v) in enumerate(rows):
        _title(axes, y - 0.56, names[model], plural(len(v), "group"), marks[model])
        _distribution(axes, y, v, axis=axis, mark=marks[model])
    axes.set_ylim(len(rows) - 0.66, -0.7)
    set_limits(axes, np.concatenate([_extent(v, axis) for _, v in rows]), axis)
    said = "; ".join(f"{named(model)}: median {number(np.median(v))}, {span(v.min(), v.max())}" for model, v in rows)
    alt = f"Distribution of {axis.title} over groups. {said}."
    data = figure_data.of_distributions(values)
    return to_plot(figure, name=name, title=axis.title, alt=alt, caption=_shown(rows, values, marks), data=data)


def _distribution(axes: Axes, y: float, values: Array, *, axis: Axis, mark: Mark) -> None:
    if len(values) < MIN_GROUPS_FOR_SHAPE:
        axes.plot(values, np.full(len(values), y), mark.shape, color=mark.colour, markersize=6, alpha=0.8)
    else:
        centres, density = bounded_density(values, low=axis.low, high=axis.high)
        shown = density > density.max() * NEGLIGIBLE
        top = y - 0.4 * density[shown] / density.max()
        axes.fill_between(centres[shown], y, top, color=mark.colour, alpha=0.35, linewidth=0)
        axes.plot(centres[shown], top, color=mark.colour, linewidth=1.1)
        _box(axes, y + 0.12, values, mark.colour)
    if MIN_GROUPS_FOR_SHAPE <= len(values) <= MAX_TICKS:
        axes.plot(values, np.full(len(values), y + 0.27), "|", color=mark.colour, markersize=5, alpha=0.7)


def _extent(values: Array, axis: Axis) -> Array:
    """Return the places that must be seen: the values, and the curve over them."""
    if len(values) < MIN_GROUPS_FOR_SHAPE:
        return values
    centres, density = bounded_density(values, low=axis.low, high=axis.high)
    return np.concatenate([values, centres[density > density.max() * NEGLIGIBLE]])


def _box(axes: Axes, y: float, values: Array, colour: str) -> None:
    p5, p25, p50, p75, p95 = np.percentile(values, [5, 25, 50, 75, 95])
    axes.plot([p5, p95], [y, y], color=colour, linewidth=1.0)
    axes.fill_between([p25, p75], y - 0.07, y + 0.07, color=colour, linewidth=0)
    axes.plot([p50, p50], [y - 0.1, y + 0.1], color=INK, linewidth=1.6, solid_capstyle="butt")


@house_style()
def scatter_plot(values: Mapping[str | None, Array], x: Axis, y: Axis, marks: Marks, *, name: str) -> Plot:
    """Return each group's (G, 2) values as a point; over MAX_POINTS groups, a random sample of them."""
    n_groups = sum(len(v) for v in values.values())
    drawn = {model: _sample(v, len(v) / n_groups) for model, v in values.items()}
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    axes = figure.subplots()
    for model, v in drawn.items():
        axes.plot(v[:, 0], v[:, 1], marks[model].shape, color=marks[model].colour, markersize=4.5, alpha=0.6, mew=0)
    for model, v in values.items():
        axes.plot(*v.mean(axis=0), marks[model].shape, color=marks[model].colour, markersize=10, mec=INK, mew=1.2)
    set_limits(axes, np.concatenate([v[:, 0] for v in drawn.values()]), x)
    set_limits(axes, np.concatenate([v[:, 1] for v in drawn.values()]), y, vertical=True)
    axes.set_xlabel(f"{x.title} →")
    axes.set_ylabel(f"{y.title} →")
    told = _points_drawn(sum(len(v) for v in drawn.values()), n_groups)
    caption = " ".join(filter(None, (told, numbered(values if len(values) > 1 else (), marks))))
    title = f"{x.title} and {y.title}"
    if len(values) > 1:
        legend(figure, marks, list(values))
    data = figure_data.of_scatter(values, x.title, y.title)
    return to_plot(figure, name=name, title=title, alt=_scatter_alt(values, x, y), caption=caption, data=data)


def _points_drawn(n_drawn: int, n_groups: int) -> str:
    means = "One point a group; the large points are the means of the models."
    return f"{means} A random {count(n_drawn)} of {count(n_groups)} groups." if n_drawn < n_groups else means


def _scatter_alt(values: Mapping[str | None, Array], x: Axis, y: Axis) -> str:
    means = {model: v.mean(axis=0) for model, v in list(values.items())[:MAX_ROWS]}
    said = "; ".join(f"{named(model)}: means {number(a)} and {number(b)}" for model, (a, b) in means.items())
    return f"{x.title} (across) against {y.title} (up), one point a group. {said}."


def _sample(values: Array, share: float) -> Array:
    n = max(1, round(MAX_POINTS * share))
    if len(values) <= n:
        return values
    return values[np.sort(np.random.default_rng(0).choice(len(values), n, replace=False))]


def _shown(drawn: Sequence[tuple[str | None, Any]], every: Sized, marks: Marks) -> str:
    first = f"The first {len(drawn)} of {len(every)} models, the best first." if len(drawn) < len(every) else ""
    return " ".join(filter(None, (first, numbered([model for model, _ in drawn], marks))))


def numbered(models: Iterable[str | None], marks: Marks) -> str:
    """Return, for a caption, the models that a figure has as numbers; "" where it has none."""
    return unwritten({marks[model].number: model for model in models})


def _rows(n: int, *, inches: float) -> tuple[Figure, Axes]:
    height = n * inches + 0.36
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.025, 0.28 / height, 0.95, 1 - 0.3 / height))
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.tick_params(length=2, width=0.6)
    return figure, axes


def _title(axes: Axes, y: float, name: str | None, right: str, mark: Mark) -> None:
    """Name a row: in the colour of the text, for that of the mark is too pale to read."""
    place = {"transform": axes.get_yaxis_transform(), "va": "center", "parse_math": False}
    axes.text(0, y, mark.glyph, color=mark.colour, ha="left", **place)
    axes.text(0.045, y, label(name, IN_TITLE, number=mark.number), weight="bold", ha="left", **place)
    axes.text(1, y, right, ha="right", **place)


def legend(figure: Figure, marks: Marks, shown: Sequence[str | None]) -> None:
    """Put the names of up to MAX_ROWS models under a figure that does not name them itself."""
    names = short(shown, IN_LEGEND)
    for model in shown[:MAX_ROWS]:
        mark = marks[model]
        text = label(names[model], IN_LEGEND, number=mark.number).lstrip("_")
        figure.axes[0].plot([], [], mark.shape, color=mark.colour, label=text)
    drawn = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5, handletextpad=0.2)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def set_limits(axes: Axes, values: Array, axis: Axis, *, vertical: bool = False) -> None:
    """Show where the values are, with a margin, but nothing beyond the bounds except room for half a marker."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (axis.low, axis.high)
    whole = axis.high - axis.low
    margin = max(0.04 * (high - low), 0.005 * whole)
    edge = 0.02 * (high - low + 2 * margin)
    limits = (max(low - margin, axis.low - edge), min(high + margin, axis.high + edge))
    (axes.set_ylim if vertical else axes.set_xlim)(*limits)
