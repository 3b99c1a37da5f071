"""Prompts to images: whatever is missing of them in an output is made, and nothing twice.

    from semscale.producers.drawing import SceneProducer
    from semscale.producers.generation import generate

    generate(SceneProducer(), ["a red circle", "two blue stars"], seeds=range(4), out="images")

The output holds a model's images under a label, which is the producer's name and whatever differs among the settings.
Calling it again, after whatever ended it, makes the rest; more prompts, seeds, settings or another model add theirs.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image

from semscale.errors import UsageError
from semscale.locks import exclusive
from semscale.prefetch import ahead
from semscale.producers.failures import Failures
from semscale.producers.folder_output import FolderOutput
from semscale.producers.notes import cut_off, differing, mixed_groups, overwritten, refuse_negatives
from semscale.producers.outputs import Output, Survey, batches_of, mark_begun, mark_ended
from semscale.producers.pictures import read_image
from semscale.producers.prompts import Prompt
from semscale.producers.request import Producer, Request, Setting
from semscale.producers.seeds import check_seeds
from semscale.producers.sweep import Point, labelled
from semscale.producers.work import CIRCUMSTANCES, Made, Planned, Task, check_label, made_by, planned, setting_of, tasks

Tell = Callable[[int, int, int], None]  # images done, failed, and asked for
DEFAULTS = (Setting(),)
OPEN_SOURCES = 8  # images to edit that are kept in memory
REASONS = 10


@dataclass(frozen=True, slots=True)
class Generated:
    """What became of every image that was asked for: n_asked = n_made + n_kept + n_failed."""

    out: Path
    labels: list[str]
    n_asked: int
    n_made: int
    n_kept: int  # were there before
    n_failed: int  # see failures.jsonl
    reasons: dict[str, int]  # why images failed, and how many for that; the most frequent first, at most REASONS
    notes: list[str]  # prompts that were left out, and what to mind when scoring


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would be made."""

    labels: list[str]
    n_asked: int
    n_kept: int
    first: list[str]  # names of the first images
    notes: list[str]


def generate(
    producer: Producer,
    prompts: Iterable[str | Prompt],
    *,
    seeds: Iterable[int],
    out: str | Path | Output,
    settings: Sequence[Setting] = DEFAULTS,
    on_progress: Tell = lambda *_: None,
) -> Generated:
    """Make an image of every prompt with every seed and setting that `out` does not hold yet.

    `out` is a folder (see `folder_output`), or an Output such as `TarOutput(folder, 1000)`. A prompt that the producer
    cannot do is recorded in failures.jsonl with the reason, and tried again by the next call; the others go on.

    Raises, before anything is made, UsageError for a setting that the producer cannot do, seeds or prompts that are
    none, a text with two negative prompts under a label, and an output that holds other images of a label, or lines of
    metadata that do not fit their images; StoreLockedError while another process writes there; and StoreError when it
    cannot be written.
    """
    output = FolderOutput(out) if isinstance(out, str | Path) else out
    job = _planned(producer, prompts, list(seeds), settings)
    with contextlib.ExitStack() as held:
        held.enter_context(exclusive(output.folder))
        job, survey = _against(job, output)
        mark_begun(output.folder)
        failures = Failures(output.folder)
        failures.forget({task.stem for task in job.tasks()})
        with output.writing():
            found = _Run(job, output, failures, on_progress).finish(survey)
        mark_ended(output.folder)
    return found


def forecast(
    producer: Producer,
    prompts: Iterable[str | Prompt],
    *,
    seeds: Iterable[int],
    out: str | Path | Output,
    settings: Sequence[Setting] = DEFAULTS,
) -> Forecast:
    """What `generate` would make; writes nothing. Raises what it would raise before anything is made."""
    output = FolderOutput(out) if isinstance(out, str | Path) else out
    job = _planned(producer, prompts, list(seeds), settings)
    job, survey = _against(job, output)
    names = [task.stem + output.form.suffix for task in job.tasks()]
    kept = sum(name in survey.names for name in names)
    return Forecast(job.labels, len(names), kept, names[:3], job.notes)


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that was asked for, checked."""

    producer: Producer
    points: list[Point]
    plans: list[Planned]
    seeds: list[int]
    notes: list[str]

    @property
    def labels(self) -> list[str]:
        return [point.label for point in self.points]

    def tasks(self) -> Iterator[Task]:
        return tasks(self.points, self.plans, self.seeds)

    def __len__(self) -> int:
        return len(self.points) * len(self.plans) * len(self.seeds)


def _planned(
    producer: Producer, prompts: Iterable[str | Prompt], seeds: list[int], settings: Sequence[Setting]
) -> _Job:
    check_label(producer.name)
    check_seeds(seeds)
    plans, notes = planned(Prompt(each) if isinstance(each, str) else each for each in prompts)
    edits = plans[0].prompt.source is not None
    if any((plan.prompt.source is not None) != edits for plan in plans):
        raise UsageError("some prompts have an image to edit, and others have none; generate them apart")
    points = labelled(producer.name, settings)
    checked = [replace(point, setting=producer.check(point.setting, edits=edits)) for point in points]
    plans = [replace(plan, unread=producer.unread(plan.prompt.text)) for plan in plans]
    return _Job(producer, checked, plans, seeds, [*notes, *mixed_groups(plans), *cut_off(plans, producer)])


def _against(job: _Job, output: Output) -> tuple[_Job, Survey]:
    """What the output holds, and the job with notes where that was made in other circumstances.

    Raises UsageError where it would mix with what was asked for.
    """
    if job.plans[0].prompt.source is not None and not output.holds_sources:
        raise UsageError("edits need the images that were edited beside them; write a folder, without --shards")
    survey, changed = output.survey(), set()
    for point in job.points:
        refuse_negatives(point.label, job.plans, survey.negatives.get(point.label, {}))
        now = made_by({**setting_of(point), "generator": {**job.producer.facts, "format": output.form.described}})
        changes = differing(survey.made_by.get(point.label, now), now)
        told = "; ".join(changes.values())
        if changes.keys() - CIRCUMSTANCES:
            raise UsageError(
                f"{output.folder}: holds images of {point.label!r} made otherwise: {told}. Choose another label, or "
                "another -o"
            )
        if changes:
            changed.add(f"{output.folder}: holds images of the same models made elsewhere: {told}")
        shared = [label for label in survey.made_by if Point(label, point.setting).folder == point.folder]
        if shared not in ([], [point.label]):
            raise UsageError(f"{output.folder}: {point.label!r} and {shared[0]!r} get one folder; choose another label")
    strays = sum(task.stem + output.form.suffix in survey.undescribed for task in job.tasks())
    return replace(job, notes=[*job.notes, *sorted(changed), *overwritten(strays)]), survey


class _Run:
    """Images being made, in one background thread, while those before them are written."""

    def __init__(self, job: _Job, output: Output, failures: Failures, on_progress: Tell) -> None:
        self._job, self._output, self._failures, self._on_progress = job, output, failures, on_progress
        self._read = lru_cache(OPEN_SOURCES)(read_image)

    def finish(self, survey: Survey) -> Generated:
        """Make what is missing."""
        job, suffix = self._job, self._output.form.suffix
        missing = (task for task in job.tasks() if task.stem + suffix not in survey.names)
        kept = sum(task.stem + suffix in survey.names for task in job.tasks())
        made = failed = 0
        self._on_progress(kept, 0, len(job))
        with contextlib.closing(ahead(self._results(missing), depth=1)) as results:  # type: ignore[type-var]
            for outcomes in results:
                images = [each for each in outcomes if isinstance(each, Made)]
                self._output.add(images, job.producer.facts)
                for task, error in (each for each in outcomes if not isinstance(each, Made)):
                    self._failures.add(task, error)
                made, failed = made + len(images), failed + len(outcomes) - len(images)
                self._on_progress(kept + made + failed, failed, len(job))
        reasons = dict(self._failures.reasons.most_common(REASONS))
        return Generated(self._output.folder, job.labels, len(job), made, kept, failed, reasons, job.notes)

    def _results(self, missing: Iterator[Task]) -> Iterator[list[Made | tuple[Task, Exception]]]:
        for batch in _batches(missing, self._job.producer.batch_size):
            yield self._attempt(batch)

    def _attempt(self, batch: Sequence[Task]) -> list[Made | tuple[Task, Exception]]:
        """Make a batch; where that fails, each image of it alone, so that only those fail that must."""
        try:
            return list(self._make(batch))
        except Exception as error:  # whatever a model raises is the reason of that image, and kept with it
            if len(batch) == 1:
                return [(batch[0], error)]
        return [outcome for task in batch for outcome in self._attempt([task])]

    def _make(self, batch: Sequence[Task]) -> list[Made]:
        requests = [self._request(task) for task in batch]
        images = self._job.producer.generate(requests, batch[0].point.setting)
        return [
            Made(task, _as_rgb(image), request.source)
            for task, request, image in zip(batch, requests, images, strict=True)
        ]

    def _request(self, task: Task) -> Request:
        prompt = task.planned.prompt
        source = None if prompt.source is None else self._read(prompt.source)
        return Request(prompt.text, task.seed, prompt.negative, source)


def _batches(missing: Iterator[Task], size: int) -> Iterator[list[Task]]:
    """Batches of one setting each."""
    for _, run in itertools.groupby(missing, key=lambda task: task.point.label):
        yield from batches_of(run, size)


def _as_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")
