"""Figures of a score or an error against a number: sweeps over a setting, and how many images a prompt needs."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from semscale.report.figure_data import named
from semscale.report.format import count, number, plural, span
from semscale.report.palette import COLOURS
from semscale.report.plots import Axis, Marks, legend, numbered, set_limits
from semscale.report.sensitivity import Sensitivity, rows
from semscale.report.svg import INK, WIDTH, Data, Plot, house_style, to_plot
from semscale.report.sweeps import Curve

MAX_CURVES = 8  # in one figure
MAX_TICKS = 7
SPREAD = 0.012  # of the axis, between the intervals of curves that share a place
HEIGHT = 3.3  # inches


@house_style()
def sweep_plot(curves: list[Curve], setting: str, axis: Axis, marks: Marks, *, name: str) -> Plot:
    """Return a score against a setting, one curve a generator, with the interval of every point."""
    drawn = curves[:MAX_CURVES]
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    places = sorted({place for curve in drawn for place in curve.places})
    for index, curve in enumerate(drawn):
        shift = (index - (len(drawn) - 1) / 2) * SPREAD * (places[-1] - places[0])
        _curve(axes, curve, shift, marks)
    ends = np.array([[e.value, e.low, e.high] for curve in drawn for e in curve.estimates])
    set_limits(axes, ends[np.isfinite(ends)], axis, vertical=True)
    axes.xaxis.set_major_locator(FixedLocator(places[:: -(-len(places) // MAX_TICKS)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(f"{setting} →")
    axes.set_ylabel(f"{axis.title} →")
    legend(figure, marks, [curve.label for curve in drawn])
    first = f"The first {len(drawn)} of {len(curves)} curves." if len(drawn) < len(curves) else ""
    caption = " ".join(filter(None, (first, numbered([curve.label for curve in drawn], marks))))
    title = f"{axis.title} by {setting.lower()}"
    return to_plot(figure, name=name, title=title, alt=_swept(drawn, title), caption=caption, data=_points(curves))


def _curve(axes: Axes, curve: Curve, shift: float, marks: Marks) -> None:
    colour, x = marks[curve.label].colour, np.array(curve.places) + shift
    low, value, high = (np.array([getattr(e, end) for e in curve.estimates]) for end in ("low", "value", "high"))
    axes.vlines(x, low, high, color=colour, linewidth=1.6, alpha=0.75)
    axes.plot(x, value, "-", color=colour, linewidth=1.3)
    axes.plot(x, value, marks[curve.label].shape, color=colour, markersize=6)


def _swept(curves: list[Curve], title: str) -> str:
    said = (
        f"{named(curve.label)}: {number(curve.estimates[0].value)} at {curve.places[0]:g}, "
        f"{number(curve.estimates[-1].value)} at {curve.places[-1]:g}"
        for curve in curves
    )
    return f"{title}, with intervals. {'; '.join(said)}."


def _points(curves: list[Curve]) -> Data:
    lines = [
        (named(curve.label), f"{place:g}", number(e.value), span(e.low, e.high))
        for curve in curves
        for place, e in zip(curve.places, curve.estimates, strict=True)
    ]
    return Data(("Model", "Setting", "Value", "Interval"), tuple(lines))


@house_style()
def sensitivity_plot(found: Sensitivity) -> Plot | None:
    """Return the error of a prompt's score against the number of its images; None where there is no error at all."""
    errors = np.array([[size.median, size.high, size.worst] for size in found.sizes]).reshape(-1, 3)
    if not (errors > 0).any():
        return None
    figure = Figure(figsize=(WIDTH, HEIGHT + 0.5), layout="constrained")
    axes = figure.subplots()
    _errors(axes, found, np.where(errors > 0, errors, np.nan))
    _wanted(axes, found)
    _logarithmic(axes, [size.n for size in found.sizes], f"Error, {found.axis} →")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    heads = ("Images a prompt", "Median error", f"{100 * found.confidence:g} %", "Worst prompt", "Within", "Basis")
    title = "Error by images of a prompt"
    return to_plot(figure, name="sensitivity", title=title, alt=_told(found), data=Data(heads, rows(found)))


def _errors(axes: Axes, found: Sensitivity, errors: np.ndarray) -> None:
    share, sizes = f"{100 * found.confidence:g} % of errors", [size.n for size in found.sizes]
    drawn = [("Half of errors", ":", COLOURS[0]), (share, "o-", COLOURS[0]), ("Worst prompt", "--", COLOURS[1])]
    for (name, style, colour), values in zip(drawn, errors.T, strict=True):
        axes.plot(sizes, values, style, color=colour, markersize=3.5, linewidth=1.3, label=name)


def _wanted(axes: Axes, found: Sensitivity) -> None:
    """The precision that was asked for, what it takes, and where extrapolation begins."""
    axes.axhline(found.precision, color=COLOURS[2], linewidth=1.1, label=f"Wanted: {found.wanted}")
    if found.recommended is not None:
        told = f"Recommended: {count(found.recommended)}"
        axes.axvline(found.recommended, color=COLOURS[2], linewidth=1.1, linestyle=(0, (1, 1.5)), label=told)
    drawn = [size.n for size in found.sizes if size.drawn]
    start, end = drawn[-1] if drawn else found.sizes[0].n, max(found.sizes[-1].n, found.recommended or 0)
    if start < end:
        axes.axvspan(start, end, color=INK, alpha=0.06, linewidth=0, label="Extrapolated")


def _logarithmic(axes: Axes, sizes: list[int], title: str) -> None:
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator([float(n) for n in sizes[:: -(-len(sizes) // MAX_TICKS)]]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Images a prompt →")
    axes.set_ylabel(title)


def _told(found: Sensitivity) -> str:
    ends = (found.sizes[0], found.sizes[-1])
    said = " and ".join(f"{number(size.high)} at {plural(size.n, 'image')}" for size in ends)
    return f"Errors of a prompt's score fall with the number of its images: {found.confidence:.0%} are within {said}."
