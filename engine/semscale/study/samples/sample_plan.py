"""What `plan-samples` is asked, and what it answers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array
from semscale.study.samples.subsets import Pilot, drawn_up_to

MIN_PILOT = 10  # images of a prompt, below which nothing is said of it
SIZES = (5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)
HIGHEST = 100_000  # images a prompt, above which no number is sought
ALIKE = 99.999  # a score from which on the images of a prompt are taken for one and the same
FAR = 10  # times the images of a pilot, beyond which an extrapolation is a guess
RARE = 0.05  # share of images of the mode that a pilot may miss


@dataclass(frozen=True, slots=True)
class Precision:
    """How far a score may be from the truth."""

    amount: float  # percent of the score, or points of 0 to 100
    relative: bool

    def points(self, score: Array | float) -> Array:
        """The same in points, for scores of 0 to 100."""
        return np.asarray(score) * self.amount / 100 if self.relative else np.full(np.shape(score), self.amount)

    def __str__(self) -> str:
        return f"{self.amount:g} %" if self.relative else f"{self.amount:g} points"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a pilot."""

    precision: Precision = Precision(1.0, relative=True)
    confidence: float = 0.95  # share of the scores that shall be within the precision
    sizes: tuple[int, ...] = SIZES  # N in the tables
    repeats: int = 500  # random orders of each prompt's images
    groups: int = 1000  # prompts to use, at random where there are more
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.precision.amount) and self.precision.amount > 0):
            raise UsageError(f"precision {self.precision}: must be above 0, as '1%' of the score or '0.5' points")
        if not 0.5 <= self.confidence < 1:
            raise UsageError(f"confidence {self.confidence:g}: must be from 0.5 to below 1")
        if self.repeats * (1 - self.confidence) < 5:
            needed = math.ceil(5 / (1 - self.confidence))
            raise UsageError(f"{self.repeats} repeats are too few for confidence {self.confidence:g}; give {needed}")
        if not self.sizes or not all(2 <= size <= HIGHEST for size in self.sizes):
            named = ", ".join(map(str, self.sizes)) or "none"
            raise UsageError(f"sizes {named}: give whole numbers from 2 to {HIGHEST:,}")
        if self.groups < 1:
            raise UsageError(f"groups {self.groups}: must be 1 or more")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One group of the pilot, and what it needs."""

    model: str | None
    group: str
    pilot: Pilot
    needed: int | None  # images; None where HIGHEST are not enough
    median: Array  # (K,) of the absolute error at each size, points
    high: Array  # (K,) the error that the wanted share stays within, points
    within: Array  # (K,) share within the precision

    @property
    def standard_error(self) -> float:
        """Of the pilot's own score, points."""
        return float(np.sqrt(self.pilot.variance(self.pilot.n)))


@dataclass(frozen=True, slots=True)
class Advice:
    """How many images each prompt of one model needs; None where HIGHEST are not enough."""

    model: str | None
    n_groups: int
    for_mean: int | None  # the mean over these very prompts is within the precision
    for_prompts: int | None  # the wanted share holds over the scores of all prompts together
    for_worst: int | None  # it holds in each prompt
    worst: str  # the prompt that needs most


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. Sizes up to half of a prompt's pilot rest on its subsets, others on extrapolation."""

    question: Question
    prompts: list[Prompt]
    advice: list[Advice]  # by model
    median: Array  # (K,) of the relative (percent) or absolute (points) errors of all prompts, as precision is
    high: Array  # (K,) what the wanted share of them stays within
    within: Array  # (K,) share within the precision
    n_too_small: int  # groups left out for fewer than MIN_PILOT valid images
    n_not_sampled: int

    @property
    def sizes(self) -> list[int]:
        """The K sizes of the tables, rising, each once."""
        return sorted(set(self.question.sizes))

    @property
    def worst(self) -> Array:
        """(K,) the largest of the prompts' errors at the wanted share, in the unit of the precision."""
        return np.max([in_unit(self.question.precision, p.high, p.pilot.score) for p in self.prompts], axis=0)

    @property
    def for_prompts(self) -> int | None:
        """The recommended number of images a prompt: what the model needs that needs most."""
        return _largest(advice.for_prompts for advice in self.advice)

    @property
    def for_mean(self) -> int | None:
        """How many are enough for the mean over prompts, of every model."""
        return _largest(advice.for_mean for advice in self.advice)

    @property
    def for_worst(self) -> int | None:
        """How many the worst prompt of all models needs."""
        return _largest(advice.for_worst for advice in self.advice)

    @property
    def smallest_pilot(self) -> int:
        """Images of the prompt that has fewest."""
        return min(prompt.pilot.n for prompt in self.prompts)

    @property
    def n_alike(self) -> int:
        """Prompts whose images are all one image: copies, or a model that does not heed its seed."""
        return sum(prompt.pilot.score >= ALIKE for prompt in self.prompts)

    @property
    def missed(self) -> float:
        """How likely the smallest pilot shows nothing of a mode that RARE of the images are of."""
        return float((1 - RARE) ** self.smallest_pilot)

    def is_guess(self, n: int | None) -> bool:
        """Whether a size is so far beyond the smallest pilot that it can only be guessed."""
        return n is not None and n > FAR * self.smallest_pilot

    def basis(self, n: int | None) -> str:
        """What speaks for a size: "subsets" in every prompt, or "extrapolated" in some."""
        return "subsets" if n is not None and n <= drawn_up_to(self.smallest_pilot) else "extrapolated"


def parse_precision(text: str) -> Precision:
    """'1%' of the score, or '0.5' points. Raises UsageError."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(%?)\s*", text)
    if found is None:
        raise UsageError(f"precision {text!r}: give a share of the score as '1%', or points as '0.5'")
    return Precision(float(found[1]), relative=bool(found[2]))


def in_unit(precision: Precision, points: Array, score: float) -> Array:
    """Errors in points -> in the unit of the precision; relative ones of a score of 0 are infinite, or 0."""
    if not precision.relative:
        return points
    return np.divide(100 * points, score, out=np.where(points == 0, 0.0, np.inf), where=score > 0)


def _largest(values: Iterable[int | None]) -> int | None:
    found = list(values)
    return None if None in found else max(value for value in found if value is not None)
