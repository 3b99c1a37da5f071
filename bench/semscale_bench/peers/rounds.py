"""Contestants in turn on the same images; what comes out is compared with semscale's float32 in every go."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semscale.gate import LIMITS
from semscale_bench.measure import Timing, measure
from semscale_bench.peers.job import Task
from semscale_bench.peers.process import PeerError, Process
from semscale_bench.rows import Check

POINTS = 1e-3  # of 100: most that a score computed in float32 may differ by
COSINE = 1e-6  # most that 1 - cosine of two embeddings in float32 may be


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one go gave."""

    seconds: float
    clip_score: float | None
    consistency: tuple[float, ...] | None
    embeddings: np.ndarray | None
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody whose model is loaded."""

    name: str
    process: Process
    version: str  # of its package
    groups: int | None = None  # of the images that it works on; None for all
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Result:
    """What a contestant did with one kind of images."""

    contestant: Contestant
    timing: Timing  # seconds as the contestant took them
    check: Check


@dataclass(slots=True)
class _Job:
    """A contestant at work, as `measure` wants it."""

    contestant: Contestant
    images: int
    task: Path
    answers: list[Answer] = field(default_factory=list)

    def __call__(self) -> int:
        """One go."""
        self.answers.append(ask(self.contestant, self.task))
        return self.images


def ask(contestant: Contestant, task: Path) -> Answer:
    """One go of a contestant on what `Task.write` wrote. Raises PeerError, which names it."""
    kept = task.with_suffix(".npy")
    told = contestant.process.ask("work", task=task, embeddings=kept)
    scores = told["consistency"]
    rows = np.load(kept) if told["has_embeddings"] else None
    return Answer(told["seconds"], told["clip_score"], None if scores is None else tuple(scores), rows,
                  told["peak_bytes"])  # fmt: skip


def compete(
    contestants: Sequence[Contestant], task: Task, work: Path, *, repeats: int
) -> tuple[list[Result], list[PeerError]]:
    """Run everyone `repeats` times in turn, after a go that warms up; the first is semscale in float32.

    Whoever fails on the way is left out, the others begin anew, and the error is returned. Raises PeerError where
    it is that first one.
    """
    present, failed = list(contestants), []
    work.mkdir(parents=True, exist_ok=True)
    while True:
        jobs = {each.name: _job(each, task, work) for each in present}
        try:
            timings = measure(jobs, repeats=repeats)
        except PeerError as error:
            if error.name == contestants[0].name:
                raise
            present = [each for each in present if each.name != error.name]
            failed.append(error)
        else:
            first = jobs[present[0].name].answers[0]
            return [_result(jobs[each.name], timings[each.name], first) for each in present], failed


def _job(contestant: Contestant, task: Task, work: Path) -> _Job:
    part = task if contestant.groups is None else task.first(contestant.groups)
    name = f"task-{len(part.images)}.json"
    return _Job(contestant, len(part.images), part.write(work / name))


def _result(job: _Job, timing: Timing, first: Answer) -> Result:
    told = dataclasses.replace(
        timing, seconds=tuple(answer.seconds for answer in job.answers[1:]), peak_bytes=job.answers[-1].peak_bytes
    )
    return Result(job.contestant, told, check_of(job.answers, first, job.contestant.precision))


def check_of(answers: Sequence[Answer], first: Answer, precision: str) -> Check:
    """How far scores, or else embeddings, were from semscale's float32 at worst."""
    if all(answer.clip_score is None and answer.consistency is None for answer in answers):
        return Check("1 - cosine to semscale fp32", max(_turned(answer, first) for answer in answers), COSINE)
    limit = POINTS if precision == "fp32" else LIMITS[precision].score_change
    return Check("points from semscale fp32", max(_points(answer, first) for answer in answers), limit)


def _turned(answer: Answer, first: Answer) -> float:
    assert answer.embeddings is not None and first.embeddings is not None
    ours, theirs = (_unit(rows[: len(answer.embeddings)]) for rows in (first.embeddings, answer.embeddings))
    return float(np.max(1 - np.einsum("nd,nd->n", ours, theirs)))


def _points(answer: Answer, first: Answer) -> float:
    """The largest difference of the CLIP score and of the groups' consistency scores; NaN counts as any."""
    apart = []
    if answer.clip_score is not None and first.clip_score is not None:
        apart.append(abs(answer.clip_score - first.clip_score))
    if answer.consistency is not None and first.consistency is not None:
        pairs = zip(answer.consistency, first.consistency, strict=False)  # of the first groups
        apart.extend(abs(theirs - ours) for theirs, ours in pairs)
    return float(np.max(apart))


def _unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)
