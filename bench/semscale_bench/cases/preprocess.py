"""Case `preprocess`: encoded files in memory to the input of a ViT of 224 pixels, beside Pillow alone.

Regime: one thread, one image after the other. The PIL path is the arithmetic of transformers' slow
CLIPImageProcessor (decode, bicubic to 224 on the shortest side, crop) without the copies that it makes in between.
Goal: twice its rate, at most 1 of 255 away.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from semscale.decode import decode
from semscale.model import Array
from semscale.preprocess import kept, preprocess, resized_shape
from semscale_bench.cases.decode import largest, mean
from semscale_bench.images import Images, kinds
from semscale_bench.in_memory import Sample, Work, go, loaded, opened, own_threads
from semscale_bench.inputs import VIT
from semscale_bench.measure import measure
from semscale_bench.plan import Plan
from semscale_bench.ratios import Ratio, ratio_of
from semscale_bench.rows import Check, Outcome, Row

CASE = "preprocess"
REGIME = "encoded bytes in memory to 224 x 224 x 3 bytes in memory, one thread"
GOAL, AWAY = 2.0, 1.0  # times the PIL path; of 255 at most
PIL_PATH, EXACT, CLOSE, FAST = "PIL path", "semscale, exact", "semscale, close", "semscale, fast"
LIMITS = {EXACT: 0.0, CLOSE: 2.0}  # of 255 at most: what `preprocess` promises; 1 is what is seen on photographs
FAST_LIMIT = 2.0  # of 255 at the mean


def run(plan: Plan) -> Outcome:
    """Time every way on every kind of images."""
    rows, said, absent = [], [], []
    details = {}
    with TemporaryDirectory() as work, own_threads():
        for images in kinds(plan, Path(work)):
            data, left_out = loaded(images)
            found = {row.name: row for row in _rows(images, data, plan)}
            ratio = ratio_of(found[CLOSE].timing, found[PIL_PATH].timing)
            rows += found.values()
            said.append(_sentence(images.name, ratio, found[CLOSE].check))
            details[images.name] = {"close_over_pil_path": [ratio.median, ratio.low, ratio.high]}
            absent += left_out
    return Outcome(CASE, REGIME, rows, said, absent, details)


def pil_path(encoded: bytes) -> Array:
    """(224, 224, 3) uint8: decoded, resized and cropped by Pillow."""
    image = opened(encoded)
    height, width = resized_shape(image.height, image.width, VIT)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(resized[kept(height, VIT.crop), kept(width, VIT.crop)])


def _way(encoded: bytes, *, exact: bool, shrink_to: int | None = None) -> Array:
    return preprocess(decode(encoded, shrink_to=shrink_to), VIT, exact=exact)


def _rows(images: Images, data: Sequence[bytes], plan: Plan) -> list[Row]:
    ways: dict[str, Work] = {PIL_PATH: pil_path, EXACT: partial(_way, exact=True), CLOSE: partial(_way, exact=False),
                             FAST: partial(_way, exact=False, shrink_to=VIT.size)}  # fmt: skip
    samples = {name: Sample() for name in ways}
    gos = {name: go(way, data, samples[name]) for name, way in ways.items()}
    timed = measure(gos, repeats=plan.repeats, seconds=plan.seconds)
    return [Row(CASE, name, images.name, "images", timing, _check(name, samples[name], data))
            for name, timing in timed.items()]  # fmt: skip


def _check(name: str, sample: Sample, data: Sequence[bytes]) -> Check | None:
    if name == PIL_PATH:
        return None  # the reference
    if name == FAST:
        return sample.compared("mean difference of 255", FAST_LIMIT, lambda n, found: mean(pil_path(data[n]), found))
    limit = LIMITS[name]
    return sample.compared("largest difference of 255", limit, lambda n, found: largest(pil_path(data[n]), found))


def _sentence(kind: str, ratio: Ratio, check: Check | None) -> str:
    assert check is not None
    met = "met" if ratio.median >= GOAL and check.worst <= AWAY else "missed"
    return (f"{kind}: close at {ratio} the rate of the PIL path, {check.worst:.0f} of 255 away at most "
            f"(goal: {GOAL:.0f} times at most {AWAY:.0f} away: {met})")  # fmt: skip
