"""Case `memory`: peak memory and cost of a run over 1,000, 4,000 and 16,000 images, each in a fresh process.

Neither should depend on what came before: memory is flat, and an image costs as much. The cost is in seconds of the
processor, over all threads, which other work on the machine moves less than the clock. `semscale bench memory` alone
has options of its own, among them a listing of ten million names.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from semscale_bench.measure import Timing
from semscale_bench.memory import Peak, peak
from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome, Row

CASE = "memory"
SIZES = (1_000, 4_000, 16_000)
FLAT, LINEAR = 1.10, 0.05


def run(plan: Plan) -> Outcome:
    """Run every size in turn, so that a slow minute hits all alike, for the plan's rounds."""
    rounds = [[peak("embed", images) for images in SIZES] for _ in range(plan.repeats)]
    rows = [_row(peaks) for peaks in zip(*rounds, strict=True)]
    regime = "500x375 JPEGs through the bundled encoder into a store, in a fresh process, without its start"
    return Outcome(CASE, regime, rows, [_flat(rows), _linear(rounds)])


def _row(peaks: Sequence[Peak]) -> Row:
    images = peaks[0].images
    timing = Timing(str(images), images, tuple(each.seconds for each in peaks), max(each.peak_bytes for each in peaks))
    return Row(CASE, "embed", f"{images} images", "images", timing, weights="given")


def _flat(rows: list[Row]) -> str:
    first, last = (row.timing.peak_bytes or 0 for row in (rows[0], rows[-1]))
    met = "met" if last <= FLAT * first else "missed"
    return f"memory of {rows[-1].data}: {last / first:.3f} times that of {rows[0].data} (goal: within 10 %, {met})"


def _linear(rounds: Sequence[Sequence[Peak]]) -> str:
    """Processor seconds an image between the first and the second size, and between the second and the third."""
    slopes = [[_slope(*two) for two in pairwise(peaks)] for peaks in rounds]
    early, late = (1e3 * statistics.median(each) for each in zip(*slopes, strict=True))
    changes = [late / early - 1 for early, late in slopes]
    change, (a, b, c) = statistics.median(changes), (each.images for each in rounds[0])
    met = "met" if abs(change) <= LINEAR else "missed"
    return (
        f"processor time an image: {early:.2f} ms from {a} to {b} images, {late:.2f} ms from {b} to {c}: {change:+.1%} "
        f"({min(changes):+.1%} to {max(changes):+.1%}; goal: within {LINEAR:.0%}, {met})"
    )


def _slope(fewer: Peak, more: Peak) -> float:
    return (more.processor_seconds - fewer.processor_seconds) / (more.images - fewer.images)
