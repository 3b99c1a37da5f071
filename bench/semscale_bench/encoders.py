"""Case `encoders`: one tower on every back end and precision that opens here, and on torch compiled.

Regime: the gate's probes, ready in memory, to embeddings in memory; copies to and from a GPU are part of it. Roof: the
best matrix product of the same precision on the same device, timed in the same rounds (`roof`), by the products that
one input needs (`flops`). Baselines: ONNX Runtime in float32, and torch in half precision compiled.

What came out of every timed run is kept, and compared with float32 when the clock has stopped. A run that is further
off than its precision may be is shown as wrong. What does not open or run is listed with the reason.

Nothing here was run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from semscale.gate import embed, probes_of
from semscale.model import Array, Encoder
from semscale_bench import roof
from semscale_bench.candidates import BASELINE, RIVAL, Candidate, open_candidate
from semscale_bench.deviation import Deviation, batches, deviation
from semscale_bench.measure import Timing, measure
from semscale_bench.ratios import Ratio, ratio_of
from semscale_bench.subjects import Subject

PROBES = 64  # as many as the gate at export takes: torch and ONNX Runtime take minutes over them at L/14 and 336 pixels


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate at one batch size."""

    candidate: Candidate
    batch_size: int
    timing: Timing
    of_baseline: Ratio | None  # None where onnx fp32 was not run
    of_rival: Ratio | None  # None where torch fp16 compiled was not run
    roof_share: float | None  # of the median rate; None for a precision without a roof
    deviation: Deviation


@dataclass(frozen=True, slots=True)
class Absent:
    """What could not be measured, and why."""

    candidate: Candidate
    batch_size: int | None  # None: at any
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """All about one tower."""

    subject: Subject
    rows: list[Row]
    absent: list[Absent]
    roofs: list[roof.Roof]  # the best product of each device and precision


@dataclass(frozen=True, slots=True)
class Truth:
    """The probes, and what the reference makes of them."""

    inputs: Array  # (N, *input_shape)
    rows: Array  # (N, D) float32


class Run:
    """An encoder at one batch size, as `measure` wants it. It walks over the probes and keeps what comes out."""

    def __init__(self, candidate: Candidate, encoder: Encoder, truth: Truth, batch_size: int) -> None:
        """Cut the probes into batches, encode one to warm up, and find out how many make a go.

        Raises whatever the encoder does.
        """
        self.candidate, self.batch_size = candidate, batch_size
        self._encoder, self._truth = encoder, truth
        self._indices = batches(len(truth.inputs), batch_size)
        self._batches = [truth.inputs[rows] for rows in self._indices]
        self._made: list[list[Array]] = []
        encoder.encode(self._batches[0])
        self._times = roof.times_in_a_go(lambda: encoder.encode(self._batches[0]))

    @property
    def name(self) -> str:
        """The candidate's and the batch size."""
        return f"{self.candidate.name}, {self.batch_size}"

    def __call__(self) -> int:
        """Encode for a go; the inputs done."""
        turns = (self._batches[turn % len(self._batches)] for turn in range(self._times))
        self._made.append([self._encoder.encode(batch) for batch in turns])
        return self._times * self.batch_size

    def deviation(self) -> Deviation:
        """Compare everything that `measure` saw with the reference."""
        indices = [self._indices[turn % len(self._indices)] for made in self._made for turn in range(len(made))]
        actual = np.concatenate([rows for made in self._made for rows in made])
        return deviation(self._truth.rows, actual, np.concatenate(indices), precision=self.candidate.precision)


def bench_tower(
    subject: Subject, wanted: Sequence[Candidate], *, batch_sizes: Sequence[int], repeats: int, seconds: float = 0.0
) -> Found:
    """Time every candidate that runs here at every batch size, and the roofs, all in turn in the same rounds.

    Raises ModelError when the reference itself does not open.
    """
    truth = _truth(subject.folder)
    with ExitStack() as stack:
        runs, absent = _runs(subject, wanted, truth, batch_sizes, stack)
        kinds = dict.fromkeys((run.candidate.device, run.candidate.precision) for run in runs)
        products = [product for kind in kinds for product in roof.products(*kind)]
        timings = measure(
            {run.name: run for run in runs} | roof.contestants(products), repeats=repeats, seconds=seconds
        )
    best = _best([roof.roof_of(product, timings[roof.contestant_name(product)]) for product in products])
    rows = [_row(run, timings, subject.flops, best) for run in runs]
    return Found(subject, rows, absent, list(best.values()))


def _truth(folder: Path) -> Truth:
    inputs = probes_of(folder, count=PROBES).inputs
    with _opened(BASELINE, folder) as encoder:
        return Truth(inputs, embed(encoder, inputs))


@contextmanager
def _opened(candidate: Candidate, folder: Path) -> Iterator[Encoder]:
    encoder = open_candidate(candidate, folder)
    try:
        yield encoder
    finally:
        encoder.close()


def _runs(
    subject: Subject, wanted: Sequence[Candidate], truth: Truth, batch_sizes: Sequence[int], stack: ExitStack
) -> tuple[list[Run], list[Absent]]:
    """What opens and encodes, open until `stack` is closed, and what does not."""
    runs: list[Run] = []
    absent: list[Absent] = []
    stack.callback(torch.compiler.reset)  # what was compiled for this tower counts against the next one's limit
    for candidate in wanted:
        try:
            encoder = stack.enter_context(_opened(candidate, subject.folder))
        except Exception as error:  # whatever a library raises is a result, and is shown
            absent.append(Absent(candidate, None, _told(error)))
            continue
        for size in batch_sizes:
            try:
                runs.append(Run(candidate, encoder, truth, size))
            except Exception as error:  # the same
                absent.append(Absent(candidate, size, _told(error)))
    return runs, absent


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _best(roofs: Sequence[roof.Roof]) -> dict[tuple[str, str], roof.Roof]:
    """The highest of each device and precision."""
    rising = sorted(roofs, key=lambda each: each.best)
    return {(each.device, each.precision): each for each in rising}


def _row(run: Run, timings: dict[str, Timing], flops: int, roofs: dict[tuple[str, str], roof.Roof]) -> Row:
    timing, limit = timings[run.name], roofs.get((run.candidate.device, run.candidate.precision))
    return Row(
        candidate=run.candidate,
        batch_size=run.batch_size,
        timing=timing,
        of_baseline=_ratio(timing, timings.get(f"{BASELINE.name}, {run.batch_size}")),
        of_rival=_ratio(timing, timings.get(f"{RIVAL.name}, {run.batch_size}")),
        roof_share=None if limit is None else timing.rate * flops / limit.best,
        deviation=run.deviation(),
    )


def _ratio(timing: Timing, other: Timing | None) -> Ratio | None:
    return None if other is None else ratio_of(timing, other)
