"""The plot of a plan: the error of a prompt's score against the number of its images."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from semscale.report.palette import COLOURS
from semscale.report.svg import house_style
from semscale.study.samples.sample_plan import Plan, in_unit
from semscale.study.samples.subsets import drawn_up_to

METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}  # so that equal plans are equal files
MAX_TICKS = 9
BAND = (10, 90)  # percentiles of the prompts


@house_style()
def draw(plan: Plan) -> dict[str, bytes]:
    """Return plan.svg and plan.png: the same plan gives the same bytes. Needs no display."""
    figure = Figure(figsize=(6.4, 4.3), layout="constrained")
    axes = figure.subplots()
    _errors(axes, plan)
    _wanted(axes, plan)
    _axes(axes, plan)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    found = {}
    for kind, metadata in METADATA.items():
        out = io.BytesIO()
        figure.savefig(out, format=kind, metadata=metadata, facecolor="white", dpi=160)
        found[f"plan.{kind}"] = out.getvalue()
    return found


def _errors(axes: Axes, plan: Plan) -> None:
    """The wanted quantile of the error: the middle prompt, most prompts and the worst one."""
    asked, sizes = plan.question, plan.sizes
    errors = np.array([in_unit(asked.precision, p.high, p.pilot.score) for p in plan.prompts])
    low, middle, high = np.percentile(errors, [BAND[0], 50, BAND[1]], axis=0, method="nearest")
    share = f"{100 * asked.confidence:g} %"
    band = f"{BAND[0]} % to {BAND[1]} % of the prompts"
    axes.fill_between(sizes, low, high, color=COLOURS[0], alpha=0.22, linewidth=0, label=band)
    axes.plot(sizes, middle, "o-", color=COLOURS[0], markersize=3.5, label=f"{share} error, median prompt")
    axes.plot(sizes, plan.worst, "--", color=COLOURS[1], linewidth=1.3, label=f"{share} error, worst prompt")


def _wanted(axes: Axes, plan: Plan) -> None:
    """The precision that was asked for, what it takes, and where extrapolation begins."""
    wanted, n = plan.question.precision, plan.for_prompts
    axes.axhline(wanted.amount, color=COLOURS[2], linewidth=1.1, label=f"wanted: {wanted}")
    if n is not None:
        axes.axvline(n, color=COLOURS[2], linewidth=1.1, linestyle=":", label=f"recommended: {n:,} images")
    start = drawn_up_to(plan.smallest_pilot)
    end = max(plan.sizes[-1], n or 0)
    if start < end:
        axes.axvspan(max(start, plan.sizes[0]), end, color="#808893", alpha=0.10, linewidth=0,
                     label=f"extrapolated, above {start} images")  # fmt: skip


def _axes(axes: Axes, plan: Plan) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    every = -(-len(plan.sizes) // MAX_TICKS)
    axes.xaxis.set_major_locator(FixedLocator([float(n) for n in plan.sizes[::every]]))
    axes.xaxis.set_minor_locator(NullLocator())
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(NullFormatter())
    unit = "% of the score" if plan.question.precision.relative else "points"
    axes.set_xlabel("images a prompt, N")
    axes.set_ylabel(f"error of a prompt's score, {unit}")
