"""The numeric gate: no encoder is used whose embeddings differ from float32's by more than its precision may.

A back end, or a reduced precision, embeds a fixed set of images or texts (`producers.probes`), and so does the float32
reference. `compare` then says, in float64, how far apart they are:

    plain      cosine between an embedding and its reference: the smallest, and the 1st percentile
    centred    the same with the reference's mean embedding taken off both. Images that have nothing in common are alike
               by 0.9 in many encoders, so that even the wrong image's embedding has a high plain cosine
    overlap    share of a probe's ten nearest neighbours that the reference has too, averaged over the probes
    score      largest change of a group's Semantic Consistency Score, of 100
    length     largest change of an embedding's length, of their median

Only directions count in the first four, only lengths in the last. What fails is not used, and the error says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np

from semscale.encoders import load_spec
from semscale.errors import ParityError, UsageError
from semscale.metrics.consistency import scs
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Encoder
from semscale.producers import probes
from semscale.tokens import Tokenizer

NEIGHBOURS = 10
TIE = 1e-6  # cosine; a neighbour this close to the tenth is as good as it
BATCHES = (32, 5, 16, 1, 7, 3)  # rows; whoever pads must pad


@dataclass(frozen=True, slots=True)
class Limits:
    """What a precision may differ by. Bounds are inclusive."""

    plain_min: float
    centred_min: float
    centred_p1: float
    overlap: float  # share, 0 to 1
    score_change: float  # of 100
    length_change: float  # of the median length


# fp16's are the project's aims, and TF32 keeps as many bits. Those of bf16 and int8 leave room for 3 to 10 times the
# largest distance measured, over 128 probes on the demo encoder and 64 on two random ViT-B/32 (int8: 128 on one), image
# and text towers, on a processor with AVX-512 (torch 2.13, OpenVINO 2026.4, ONNX Runtime 1.31). The worst of them,
# cosines as 1 - cosine:
#
#                            plain    centred   p1        overlap   score    length
#     fp32  torch, OpenVINO  1.1e-11  1.3e-11   6.1e-12   1.0000    0.0000   5.3e-7
#     fp16  torch autocast   9.1e-7   4.8e-6    4.7e-6    0.9969    0.0084   4.3e-7
#     fp16  OpenVINO         1.4e-5   3.3e-5    2.8e-5    0.9969    0.0939   4.8e-4    fails: it sums in half precision
#     bf16  torch autocast   7.4e-5   2.9e-4    2.8e-4    0.9945    0.0562   4.5e-7
#     bf16  OpenVINO         1.3e-4   7.9e-4    6.6e-4    0.9875    0.0935   4.8e-7
#     int8  ONNX Runtime     8.8e-4   4.7e-3    4.4e-3    0.9836    0.2470   6.3e-7    the back end onnx
#
# Raw embeddings also change their length: of two random DINOv2 of 12 layers by 8.5e-5 in fp16 and 6.8e-4 in bf16 (the
# larger one, torch), and by 1.8e-3 and 3.5e-3 in int8. (Their directions break the limits of bf16 and int8.)
_HALF = Limits(0.9995, 0.999, 0.9995, 0.99, 0.05, 1e-3)
LIMITS: Mapping[str, Limits] = {
    "fp32": Limits(0.999999, 0.99999, 0.999995, 0.999, 0.005, 1e-5),
    "tf32": _HALF,
    "fp16": _HALF,
    "bf16": Limits(0.999, 0.995, 0.997, 0.96, 0.5, 5e-3),
    "int8": Limits(0.99, 0.96, 0.97, 0.93, 1.0, 2e-2),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far one tower on one back end is from its reference, and whether that passes."""

    precision: str
    n: int  # probes
    invalid: int  # embeddings of the candidate that are zero or not finite
    invalid_reference: int
    plain_min: float  # cosines
    plain_p1: float
    centred_min: float
    centred_p1: float
    overlap: float  # share, 0 to 1
    score_change: float  # of 100
    length_change: float  # of the median length
    limits: Limits
    tower: str = "unnamed"  # "image" or "text"
    candidate: str = "the candidate"  # back end and precision
    reference: str = "the reference"
    versions: Mapping[str, str] = field(default_factory=dict)  # back end -> version of its library

    @property
    def passed(self) -> bool:
        """Whether no limit is broken."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """One sentence for each limit that is broken: what was measured, and the limit."""
        found = []
        for count, who in ((self.invalid, self.candidate), (self.invalid_reference, self.reference)):
            if count:
                found.append(f"{count} of {self.n} embeddings of {who} are zero or not finite")
        return found + [_sentence(self, limit) for limit in _BOUNDS if not _keeps(self, limit)]

    def raise_if_failed(self) -> None:
        """Raise ParityError, with every reason and what to do, unless this passed."""
        if self.passed:
            return
        cure = "another --backend" if self.precision == "fp32" else "--precision fp32 or another --backend"
        raise ParityError(
            f"{self.candidate}: the {self.tower} tower is not used, for it differs from {self.reference} "
            f"by more than {self.precision} may: {'; '.join(self.reasons)}. Use {cure}"
        )


@dataclass(frozen=True, slots=True)
class Probes:
    """What both sides embed."""

    inputs: Array  # (N, *input_shape) of the tower's input_dtype
    groups: Array  # (N,) int64: which are variants of one scene


def compare(reference: Array, candidate: Array, groups: Array, *, precision: str) -> Comparison:
    """Compare the (N, D) embeddings of N probes in `groups` (N,) with those of the reference.

    Rows that are invalid on either side are counted, and the rest is measured without them; what cannot be measured
    (fewer than two valid rows, no group of two) is NaN and fails. Raises UsageError for shapes that do not fit or a
    precision without limits.
    """
    limits = limits_of(precision)
    if reference.ndim != 2 or reference.shape != candidate.shape or groups.shape != reference.shape[:1]:
        raise UsageError(
            f"embeddings {candidate.shape} in groups {groups.shape} cannot be compared with a reference of "
            f"{reference.shape}; both must be (N, D), and the groups (N,)"
        )
    (expected, known), (actual, valid) = unit_rows(reference), unit_rows(candidate)
    both = known & valid
    lengths = [np.linalg.norm(rows[both].astype(np.float64), axis=1) for rows in (reference, candidate)]
    measured = (
        _measure(expected[both], actual[both], groups[both]) if both.sum() > 1 else dict.fromkeys(_DIRECTIONS, math.nan)
    )
    return Comparison(
        precision=precision,
        n=len(both),
        invalid=int((~valid).sum()),
        invalid_reference=int((~known).sum()),
        length_change=_length_change(*lengths),
        limits=limits,
        **measured,
    )


def _length_change(expected: Array, actual: Array) -> float:
    """Of the median, because a raw embedding may be nearly zero, and its own rounding then as large as itself."""
    return float(np.abs(actual - expected).max() / np.median(expected)) if len(expected) else 0.0


def limits_of(precision: str) -> Limits:
    """Return what `precision` may differ by. Raises UsageError when it has no limits."""
    if precision not in LIMITS:
        raise UsageError(f"unknown precision {precision!r}; choose from {', '.join(LIMITS)}")
    return LIMITS[precision]


def _measure(expected: Array, actual: Array, groups: Array) -> dict[str, float]:
    """What the directions say: (n, D) unit rows of the reference and the candidate, n > 1."""
    mean = expected.mean(axis=0)
    plain, centred = cosines(expected, actual), cosines(expected - mean, actual - mean)
    values = (
        plain.min(),
        np.percentile(plain, 1),
        centred.min(),
        np.percentile(centred, 1),
        _overlap(expected, actual),
        _score_change(expected, actual, groups),
    )
    return dict(zip(_DIRECTIONS, map(float, values), strict=True))


def cosines(a: Array, b: Array) -> Array:
    """(n, D), (n, D) -> (n,) cosines of the rows; NaN for a row of length zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("nd,nd->n", a, b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def _overlap(expected: Array, actual: Array) -> float:
    """Share of the nearest neighbours among `actual` that are nearest neighbours, or tie with one, in `expected`."""
    count = min(NEIGHBOURS, len(expected) - 1)
    truth, found = expected @ expected.T, actual @ actual.T
    for similarity in (truth, found):
        np.fill_diagonal(similarity, -np.inf)
    last = np.partition(truth, -count, axis=1)[:, -count]
    nearest = np.argpartition(found, -count, axis=1)[:, -count:]
    return float((np.take_along_axis(truth, nearest, axis=1) >= last[:, None] - TIE).mean())


def _score_change(expected: Array, actual: Array, groups: Array) -> float:
    """Largest absolute change of a group's consistency score; NaN when no group has two members."""
    members = [groups == group for group in np.unique(groups)]
    changes = [abs(scs(actual[rows]) - scs(expected[rows])) for rows in members if rows.sum() > 1]
    return max(changes, default=math.nan)


def _keeps(comparison: Comparison, name: str) -> bool:
    value, limit = getattr(comparison, name), getattr(comparison.limits, name)
    return value <= limit if name in _AT_MOST else value >= limit  # NaN keeps neither


def _sentence(comparison: Comparison, name: str) -> str:
    value, limit = getattr(comparison, name), getattr(comparison.limits, name)
    return f"{_BOUNDS[name]} is {value:.6g}, allowed is at {'most' if name in _AT_MOST else 'least'} {limit:g}"


_DIRECTIONS = ("plain_min", "plain_p1", "centred_min", "centred_p1", "overlap", "score_change")
_AT_MOST = ("score_change", "length_change")
_BOUNDS = {
    "plain_min": "the smallest cosine",
    "centred_min": "the smallest centred cosine",
    "centred_p1": "the 1st percentile of the centred cosines",
    "overlap": "the share of ten nearest neighbours kept",
    "score_change": "the largest change of a group's consistency score",
    "length_change": "the largest change of a length over their median",
}


def probes_of(folder: Path, *, count: int = probes.COUNT) -> Probes:
    """Return the probes of the tower in `folder`, at its own input size or through its own tokenizer.

    Raises ModelError when the folder holds no tower.
    """
    spec = load_spec(folder)
    if spec.kind == "image":
        images = probes.probe_images(count, shape=spec.input_shape).astype(spec.input_dtype, copy=False)
        return Probes(images, probes.probe_groups(count))
    return Probes(Tokenizer(folder).encode(probes.probe_texts(count))[0], probes.probe_groups(count))


def check_encoder(candidate: Encoder, expected: Array, *, inputs: Probes, precision: str) -> Comparison:
    """Run an encoder over the probes, in batches of mixed size, and compare with the (N, D) its reference gave."""
    found = compare(expected, embed(candidate, inputs.inputs), inputs.groups, precision=precision)
    return dataclasses.replace(found, tower=candidate.spec.kind)


def embed(encoder: Encoder, inputs: Array) -> Array:
    """(N, *input_shape) -> (N, D) float32, in batches of mixed size."""
    return np.concatenate([encoder.encode(batch) for batch in _batches(inputs)])


def _batches(inputs: Array) -> Iterator[Array]:
    start = 0
    for size in cycle(BATCHES):
        if start >= len(inputs):
            return
        yield inputs[start : start + size]
        start += size
