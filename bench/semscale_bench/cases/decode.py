"""Case `decode`: encoded files in memory to pixels, beside Pillow.

Regime: one image after the other on one thread, and on as many as a run has. `fast` is what `--decode fast` does for an
encoder of 224 pixels: a JPEG comes back at a half, a quarter or an eighth of its sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from semscale.decode import decode
from semscale.model import Array
from semscale.preprocess import preprocess
from semscale.settings import Settings
from semscale_bench.images import Images, kinds
from semscale_bench.in_memory import Sample, Work, by_pillow, go, loaded, own_threads
from semscale_bench.inputs import VIT
from semscale_bench.measure import Timing, measure
from semscale_bench.plan import Plan
from semscale_bench.ratios import ratio_of
from semscale_bench.rows import Check, Outcome, Row

CASE = "decode"
# None was seen: both call libjpeg-turbo, with the same DCT and the same upsampling. Its versions may round otherwise.
EXACT = 1.0
FAST = 2.0  # of 255 at the mean, once resized; 0.7 at most was seen, on 1024 to 512
PILLOW, EXACTLY, FASTER = "Pillow", "semscale", "semscale, fast"


def run(plan: Plan) -> Outcome:
    """Time every decoder on every kind of images."""
    rows, said, absent = [], [], []
    with TemporaryDirectory() as work, own_threads():
        for images in kinds(plan, Path(work)):
            data, left_out = loaded(images)
            found = _rows(images, data, plan)
            rows += found
            said += _sentences(images.name, {row.name: row.timing for row in found})
            absent += left_out
    return Outcome(
        CASE, "encoded bytes in memory to 8-bit RGB in memory; one thread where none is said", rows, said, absent
    )


def _rows(images: Images, data: Sequence[bytes], plan: Plan) -> list[Row]:
    workers = Settings().workers
    ways: dict[str, tuple[Work, int]] = {
        PILLOW: (by_pillow, 1),
        EXACTLY: (decode, 1),
        _threads(workers): (decode, workers),
    }
    if any(encoded.startswith(b"\xff\xd8\xff") for encoded in data):  # of all else the two are the same
        ways[FASTER] = (partial(decode, shrink_to=VIT.size), 1)
    samples = {name: Sample() for name in ways}
    gos = {name: go(way, data, samples[name], workers=threads) for name, (way, threads) in ways.items()}
    timed = measure(gos, repeats=plan.repeats, seconds=plan.seconds)
    return [Row(CASE, name, images.name, "images", timing, _check(name, samples[name], data))
            for name, timing in timed.items()]  # fmt: skip


def _check(name: str, sample: Sample, data: Sequence[bytes]) -> Check | None:
    if name == PILLOW:
        return None  # the reference
    if name == FASTER:
        return sample.compared(
            "mean difference once resized", FAST, lambda n, pixels: _fast_difference(data[n], pixels)
        )
    return sample.compared("largest difference to Pillow", EXACT, lambda n, pixels: largest(by_pillow(data[n]), pixels))


def largest(reference: Array, found: Array) -> float:
    """Largest difference of two images of one shape, in 1/255."""
    if reference.shape != found.shape:
        return float("nan")
    return float((np.maximum(reference, found) - np.minimum(reference, found)).max())


def _fast_difference(encoded: bytes, found: Array) -> float:
    return mean(preprocess(by_pillow(encoded), VIT), preprocess(found, VIT))


def mean(reference: Array, found: Array) -> float:
    """Mean difference of two images of one shape, in 1/255."""
    return float(np.abs(reference.astype(np.int16) - found).mean())


def _threads(workers: int) -> str:
    return f"semscale, {workers} threads"


def _sentences(kind: str, timed: dict[str, Timing]) -> list[str]:
    workers = Settings().workers
    said = f"{kind}: semscale decodes at {ratio_of(timed[EXACTLY], timed[PILLOW])} the rate of Pillow"
    if FASTER in timed:
        said += f", fast at {ratio_of(timed[FASTER], timed[PILLOW])}"
    return [f"{said}; {workers} threads at {ratio_of(timed[_threads(workers)], timed[EXACTLY])} the rate of one"]
