"""Case `memory`: peak memory and time of a run over 1,000, 4,000 and 16,000 images, each in a fresh process.

Both should not depend on what came before: memory is flat, and time grows in proportion. `semscale bench memory` alone
has options of its own, among them a listing of ten million names.
"""

from __future__ import annotations

from semscale_bench.measure import Timing
from semscale_bench.memory import Peak, peak
from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome, Row

CASE = "memory"
SIZES = (1_000, 4_000, 16_000)
FLAT, LINEAR = 1.10, 0.05


def run(plan: Plan) -> Outcome:
    """Run every size in turn, at least the plan's rounds."""
    found = {images: [peak("embed", images) for _ in range(plan.repeats)] for images in SIZES}
    rows = [_row(images, peaks) for images, peaks in found.items()]
    regime = "500x375 JPEGs through the bundled encoder into a store, in a fresh process, without its start"
    return Outcome(CASE, regime, rows, [_flat(rows), _linear(rows)])


def _row(images: int, peaks: list[Peak]) -> Row:
    timing = Timing(str(images), images, tuple(each.seconds for each in peaks), max(each.peak_bytes for each in peaks))
    return Row(CASE, "embed", f"{images} images", "images", timing, weights="given")


def _flat(rows: list[Row]) -> str:
    first, last = (row.timing.peak_bytes or 0 for row in (rows[0], rows[-1]))
    met = "met" if last <= FLAT * first else "missed"
    return f"memory of {rows[-1].data}: {last / first:.3f} times that of {rows[0].data} (goal: within 10 %, {met})"


def _linear(rows: list[Row]) -> str:
    """Seconds an image between the first and the second size, and between the second and the third."""
    (a, b, c) = ((row.timing.units, row.timing.median) for row in rows)
    early, late = (b[1] - a[1]) / (b[0] - a[0]), (c[1] - b[1]) / (c[0] - b[0])
    met = "met" if abs(late / early - 1) <= LINEAR else "missed"
    return (
        f"time an image: {1e3 * early:.2f} ms from {a[0]} to {b[0]} images, {1e3 * late:.2f} ms from {b[0]} to {c[0]}: "
        f"{late / early - 1:+.1%} (goal: within {LINEAR:.0%}, {met})"
    )
