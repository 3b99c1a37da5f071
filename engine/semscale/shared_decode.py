"""Decoding shared by the CPU, where each caller decodes, and a batch decoder, on a GPU say, by their measured rates.

    callers   one image each; decode it themselves, `workers` of them at once, or hand it over and wait
    thread    takes what has been handed over while it was busy, decodes that as one batch, and wakes the callers

No image waits for a batch to fill: batches grow by themselves with the time that one takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from semscale.errors import InputError
from semscale.model import Array

WEIGHT = 0.1  # of one image in the average of its side
WARM_UP = 1  # batches not measured: the first pays for starting the device
PROBE = 64  # every so many images one goes to the slower side, or a rate that was once bad would stay so for ever


class BatchDecoder(Protocol):
    """Decodes several images at once. Called from one thread."""

    def takes(self, data: bytes) -> bool:
        """Whether this file is one for this decoder. Called by many threads at once."""
        ...

    def decode(self, files: Sequence[bytes]) -> Sequence[Array | InputError]:
        """Return (H, W, 3) uint8, or the reason why not, for each file."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """What each side has to do, and how fast it is."""

    cpu_images: int  # being decoded by their callers, or waiting for one of the workers
    batch_images: int  # handed over and not yet back
    workers: int
    cpu_seconds: float | None  # an image and worker; None until measured
    batch_seconds: float | None  # an image


class Counts(NamedTuple):
    """Images decoded by each side, failures among them."""

    cpu: int
    batch: int


def batch_is_sooner(load: Load) -> bool:
    """Whether one more image is expected to be done sooner by the batch decoder. Of equals the CPU is taken.

    A side that was never measured is given one image for that, the batch decoder first.
    """
    if load.batch_seconds is None:
        return load.batch_images == 0
    if load.cpu_seconds is None:
        return load.cpu_images > 0
    turns = load.cpu_images // load.workers + 1
    return (load.batch_images + 1) * load.batch_seconds < turns * load.cpu_seconds


class SharedDecoder:
    """Decodes like `decode`, beside it on another device. Many threads call it; `close` it in the end."""

    def __init__(
        self,
        batch_decoder: BatchDecoder,
        decode: Callable[[bytes], Array],
        *,
        workers: int,
        batch_size: int,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`workers` callers at most decode at once, by `decode`; at most `batch_size` images make a batch."""
        self._batch_decoder, self._decode, self._now = batch_decoder, decode, now
        self._workers, self._batch_size = workers, batch_size
        self._free = threading.BoundedSemaphore(workers)
        self._changed = threading.Condition()  # guards all that follows
        self._waiting: deque[tuple[bytes, Future[Array]]] = deque()
        self._cpu_images = self._batch_images = self._asked = self._batches = 0
        self._cpu_seconds: float | None = None
        self._batch_seconds: float | None = None
        self._counts = Counts(0, 0)
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="semscale-batch-decode", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        """Images decoded so far."""
        with self._changed:
            return self._counts

    def __call__(self, data: bytes) -> Array:
        """Return (H, W, 3) uint8 for an encoded file, whoever decodes it.

        Raises InputError as `decode` does, and whatever else the decoder raises that was chosen.
        """
        taken = self._batch_decoder.takes(data)
        answer: Future[Array] = Future()
        with self._changed:
            to_batch = taken and self._goes_to_batch()
            if to_batch:
                self._waiting.append((data, answer))
                self._batch_images += 1
                self._changed.notify()
            else:
                self._cpu_images += 1
        return answer.result() if to_batch else self._on_cpu(data, measured=taken)

    def close(self) -> None:
        """End the thread once all that was handed to it is done. Who calls later decodes alone. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _goes_to_batch(self) -> bool:
        load = Load(self._cpu_images, self._batch_images, self._workers, self._cpu_seconds, self._batch_seconds)
        self._asked += 1
        probe = self._asked % PROBE == 0
        return not self._closed and batch_is_sooner(load) != probe

    def _on_cpu(self, data: bytes, *, measured: bool) -> Array:
        seconds = None
        try:
            with self._free:
                began = self._now()
                pixels = self._decode(data)
                seconds = self._now() - began
            return pixels
        finally:
            with self._changed:
                self._cpu_images -= 1
                self._counts = self._counts._replace(cpu=self._counts.cpu + 1)
                if measured and seconds is not None:  # what only the CPU takes says nothing of what both do
                    self._cpu_seconds = averaged(self._cpu_seconds, seconds, 1)

    def _serve(self) -> None:
        while batch := self._next_batch():
            began = self._now()
            answers = self._answers([data for data, _ in batch])
            seconds = (self._now() - began) / len(batch)
            with self._changed:
                self._batches += 1
                self._batch_images -= len(batch)
                self._counts = self._counts._replace(batch=self._counts.batch + len(batch))
                if self._batches > WARM_UP:
                    self._batch_seconds = averaged(self._batch_seconds, seconds, len(batch))
            for (_, future), answer in zip(batch, answers, strict=True):
                if isinstance(answer, BaseException):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _next_batch(self) -> list[tuple[bytes, Future[Array]]]:
        """What waits, as soon as anything does; nothing at all once the decoder is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_size))]

    def _answers(self, files: Sequence[bytes]) -> Sequence[Array | BaseException]:
        """One answer a file. An error of the whole batch is everybody's: it must not end the thread they wait for."""
        try:
            answers = self._batch_decoder.decode(files)
            assert len(answers) == len(files), f"{len(answers)} answers to a batch of {len(files)} images"
        except BaseException as error:
            return [error] * len(files)
        return answers


def averaged(before: float | None, seconds: float, images: int) -> float:
    """The exponential average after `images` more that took `seconds` each."""
    kept = (1 - WEIGHT) ** images
    return seconds if before is None else kept * before + (1 - kept) * seconds
