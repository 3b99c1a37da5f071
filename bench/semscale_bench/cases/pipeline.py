"""Case `pipeline`: files to stored embeddings, beside the roof of each stage, with the bottleneck in words.

Regime: files from the page cache to float32 embeddings on disk; the model is open. Where the encoder computes on the
cores that decode, stages cannot all run at their roofs at once, and what counts is the share of the processor's time
that is spent inside stage functions; with a GPU it is the share of the slowest stage's roof.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from semscale_bench import images, streams
from semscale_bench.bottleneck import Accounts, verdict
from semscale_bench.measure import Timing, measure
from semscale_bench.plan import Plan
from semscale_bench.ratios import ratio_of
from semscale_bench.rows import Check, Outcome, Row
from semscale_bench.towers import Tower, open_tower

CASE = "pipeline"
SAME = 1e-5  # cosine distance of embeddings of the same pixels in other batches, on the same back end
GOAL = 0.95
MOST, FEWEST = 8, 2  # batches of images in a go: many, so that filling the stages and emptying them weighs little
GO_SECONDS = 4.0  # of a go, about; large images are fewer


@dataclass(frozen=True, slots=True)
class _Found:
    """One kind of images."""

    kind: str
    streamed: Timing
    roofs: dict[str, Timing]
    accounts: list[Accounts]  # of the timed goes
    worst: float


def run(plan: Plan) -> Outcome:
    """Time the pipeline on every kind of images, and each stage alone, in turn in the same rounds."""
    with TemporaryDirectory() as work, open_tower(plan) as tower:
        kinds = images.kinds(plan, Path(work) / "images", count=MOST * tower.batch_size)
        found = [_kind(kind, tower, plan, Path(work)) for kind in kinds]
        regime = f"files in the page cache to float32 embeddings on disk, {plan.model}, {tower.name}, exact pixels"
        rows = [row for each in found for row in _rows(each, tower)]
        said = [sentence for each in found for sentence in _sentences(each, tower)]
        return Outcome(CASE, regime, rows, said, details={each.kind: _details(each, tower) for each in found})


def _kind(kind: images.Images, tower: Tower, plan: Plan, work: Path) -> _Found:
    inputs = streams.inputs_of(kind.folder, _count(kind, tower, work), tower)
    samples = streams.samples_of(inputs)
    pixels = streams.ready_pixels(inputs, samples, work / "journal")
    streamed = streams.Streamed(inputs, work / "store", tower.encoder.encode(pixels))
    stages = streams.roofs(inputs, samples, pixels, streamed, work)
    timed = measure({CASE: streamed, **stages}, repeats=plan.repeats, seconds=plan.seconds)
    return _Found(kind.name, timed.pop(CASE), timed, streamed.accounts[1:], streamed.worst)


def _count(kind: images.Images, tower: Tower, work: Path) -> int:
    """How many images make a go, whole batches, from the time that one batch takes to prepare and to encode."""
    one = streams.inputs_of(kind.folder, min(tower.batch_size, len(kind.files)), tower)
    samples, start = streams.samples_of(one), time.perf_counter()
    tower.encoder.encode(streams.ready_pixels(one, samples, work / "journal"))
    batches = round(GO_SECONDS / (time.perf_counter() - start))
    return min(len(kind.files), tower.batch_size * max(FEWEST, min(MOST, batches)))


def _slowest(found: _Found) -> str:
    return min(found.roofs, key=lambda name: found.roofs[name].rate)


def _rows(found: _Found, tower: Tower) -> list[Row]:
    slowest = _slowest(found)
    check = Check("1 - cosine to the encoder alone", found.worst, SAME)
    share = ratio_of(found.streamed, found.roofs[slowest]).median
    first = Row(CASE, f"pipeline, {tower.name}", found.kind, "images", found.streamed, check, tower.weights,
                f"roof of {slowest}", share)  # fmt: skip
    return [first, *(Row(CASE, f"roof of {name}", found.kind, "images", timing, None, tower.weights)
                     for name, timing in found.roofs.items())]  # fmt: skip


def _summed(accounts: list[Accounts]) -> Accounts:
    """All goes as one."""

    def add(parts: list[dict[str, float]]) -> dict[str, float]:
        return {name: sum(part.get(name, 0.0) for part in parts) for name in parts[0]}

    return replace(
        accounts[0],
        elapsed=sum(each.elapsed for each in accounts),
        busy=add([each.busy for each in accounts]),
        processor=add([each.processor for each in accounts]),
        process=sum(each.process for each in accounts),
    )


def _sentences(found: _Found, tower: Tower) -> list[str]:
    whole, slowest = _summed(found.accounts), _slowest(found)
    share = ratio_of(found.streamed, found.roofs[slowest]).median
    if tower.shares_cores:
        useful = whole.useful_share
        met = f"{found.kind}: {useful:.1%} of the processor's time is spent inside stage functions (goal {GOAL:.0%}: "
    else:
        useful = share
        met = f"{found.kind}: {useful:.1%} of the slowest stage's roof, {slowest} (goal {GOAL:.0%}: "
    met += "met)" if useful >= GOAL else "missed)"
    return [met, *(f"{found.kind}: {said}" for said in verdict(whole, shares_cores=tower.shares_cores).sentences)]


def _details(found: _Found, tower: Tower) -> dict[str, object]:
    whole, slowest = _summed(found.accounts), _slowest(found)
    said = verdict(whole, shares_cores=tower.shares_cores)
    return {
        "measure": "useful processor share" if tower.shares_cores else "share of the slowest stage's roof",
        "useful_share": whole.useful_share,
        "useful_share_of_goes": [each.useful_share for each in found.accounts],
        "share_of_slowest_roof": ratio_of(found.streamed, found.roofs[slowest]).median,
        "cores_busy": whole.cores_busy,
        "utilisation": whole.utilisation(),
        "processor_share": {name: seconds / whole.process for name, seconds in whole.processor.items()},
        "bottleneck": said.stage,
        "cores_full": said.cores_full,
        "elapsed": statistics.median(each.elapsed for each in found.accounts),
    }
