"""Encoded images -> encoder pixels, or the reason why not: decoding and preprocessing, by threads and partly a GPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from semscale.decode import MAX_PIXELS, decode
from semscale.errors import InputError
from semscale.headers import jpeg_size
from semscale.isolated import decode_isolated
from semscale.journal import Journal
from semscale.model import Array, Failure, Preprocess, Sample, Shard
from semscale.preprocess import OF_TORCH, one_thread, preprocess
from semscale.settings import Settings
from semscale.shared_decode import BatchDecoder, SharedDecoder
from semscale.supervise import confirmed
from semscale.timing import Clock

if TYPE_CHECKING:
    from semscale.device_resize import DeviceResizer

DECODED_TOGETHER = 32  # files handed to a batch decoder at once
RESIZED_TOGETHER = 32  # images

T = TypeVar("T")
Find = Callable[[str], "Found | None"]  # by the SHA-256 of an encoded file, in hexadecimal; called by many threads
Look = Callable[[str, Array], None]  # key of an image, and its pixels, (H, W, 3) uint8; called by many threads


class Item(NamedTuple):
    """One planned input on its way."""

    shard: Shard
    position: int  # in the plan
    sample: Sample | Failure


class Pixels(NamedTuple):
    """One decoded image, ready for the encoder unless `whole`, and what is known of it."""

    sample: Sample  # without its bytes
    pixels: tuple[Array, ...]  # (H, W, 3) as each encoder wants them, the whole image alone, or none if all is known
    whole: bool  # still to be resized on a device
    width: int  # of the upright image, whatever size it was decoded at
    height: int
    sha256: str  # of the encoded file
    vectors: tuple[Array | None, ...]  # (D,) of each encoder that need not run for it

    @property
    def is_new(self) -> bool:
        """Whether an encoder has to run."""
        return any(vector is None for vector in self.vectors)


class Found(NamedTuple):
    """What earlier runs found of an image of the same bytes."""

    vectors: tuple[Array | None, ...]  # (D,) of each encoder; None where it still has to run
    width: int  # of the upright image
    height: int

    @property
    def is_complete(self) -> bool:
        """Whether no encoder has to run."""
        return all(vector is not None for vector in self.vectors)


@dataclass(frozen=True, slots=True)
class Device:
    """What a GPU takes off the threads; None where they do it themselves."""

    resizer: DeviceResizer | None = None
    decoder: BatchDecoder | None = None


class Preparer:
    """Turns one sample into pixels. Called by `threads` threads at once; `close` it in the end."""

    def __init__(
        self,
        specs: Sequence[Preprocess],
        mode: str,
        *,
        device: Device,
        journal: Callable[[int], Journal],
        settings: Settings,
        clock: Clock,
        find: Find = lambda _: None,
        look: Look | None = None,
    ) -> None:
        """`specs` are those of the encoders, in their order: each image is decoded once for all of them, or with "fast"
        once for each size. `mode` is one of model.DECODES; `journal` opens one for so many threads.

        A device resizes for one encoder, its own; for others, and for several, the threads do, to the same bits.

        What `find` finds is taken as it is: an image of which every encoder's embedding is known is not even decoded.

        `look` is shown the key and the pixels of every image whose decoder is exact: neither reduced nor a device's;
        those that are known are decoded for it.

        After a crash everything is decoded here and nothing by the device's decoder: which file it died of, only a
        decode in isolation could tell, and those are not its own.
        """
        self._specs, self._clock = tuple(specs), clock
        self._reduces, self._exact = mode == "fast", mode not in ("close", "fast")
        self._find = find
        self._by_torch = not self._exact or any(spec.filter in OF_TORCH for spec in specs)
        self._look = look if mode in ("exact", "close") else None
        self._max_pixels = MAX_PIXELS if settings.max_pixels is None else settings.max_pixels
        self.threads = settings.workers + (0 if device.decoder is None else 2 * DECODED_TOGETHER)
        self.journal = journal(self.threads)
        mine = device.resizer is not None and self._specs == (device.resizer.spec,)
        self._resizer = device.resizer if mine else None
        self._shared: SharedDecoder | None = None
        if device.decoder is not None and not self.journal.suspects:
            plain, size = partial(decode, max_pixels=self._max_pixels), DECODED_TOGETHER
            self._shared = SharedDecoder(device.decoder, plain, workers=settings.workers, batch_size=size)

    @property
    def resizes(self) -> bool:
        """Whether a device resizes."""
        return self._resizer is not None

    def __call__(self, item: Item) -> tuple[Shard, Pixels | Failure]:
        """The pixels of one item, or why there are none."""
        if isinstance(item.sample, Failure):
            return item.shard, item.sample
        return item.shard, self._pixels(item.sample, item.position)

    def resized(self, prepared: Iterable[tuple[Shard, Pixels | Failure]]) -> Iterator[tuple[Shard, Pixels | Failure]]:
        """The same items in the same order, whole images resized on the device, many at once. For one thread."""
        if self._resizer is None:
            yield from prepared
            return
        for some in _cut(prepared, lambda item: isinstance(item[1], Pixels) and item[1].whole, RESIZED_TOGETHER):
            with self._clock.stage("resize"):
                filled = _filled(some, self._resizer)
            yield from filled

    @property
    def counts(self) -> dict[str, int]:
        """Images by who decoded them; empty where there was no choice."""
        return {} if self._shared is None else self._shared.counts._asdict()

    def close(self) -> None:
        """End what `__call__` started, and let go of the journal."""
        if self._shared is not None:
            self._shared.close()
        self.journal.close()

    def _pixels(self, sample: Sample, position: int) -> Pixels | Failure:
        with self._clock.stage("hash"):
            digest = hashlib.sha256(sample.image).hexdigest()
            found = self._found(digest)
        known = found if found is not None and found.is_complete else None
        if known is not None and self._look is None:
            return _known(sample, known, digest)
        if self._by_torch:
            one_thread()  # the pool is the parallelism, nested threads only fight over the cores
        sizes = dict.fromkeys(spec.size if self._reduces else None for spec in self._specs)
        try:
            with self._clock.stage("decode"):
                images = {size: self._decoded(sample, position, size) for size in sizes}
        except InputError as error:
            return _failure(sample, error)
        image = next(iter(images.values()))
        if self._look is not None:
            self._look(sample.key, image)
        if known is not None:
            return _known(sample, known, digest)
        whole = self._resizer is not None and self._resizer.fits(*image.shape[:2])
        with self._clock.stage("preprocess"):
            made = {} if whole else {spec: self._made(images, spec) for spec in dict.fromkeys(self._specs)}
        pixels = (image,) if whole else tuple(made[spec] for spec in self._specs)
        width, height = (jpeg_size(sample.image) if self._reduces else None) or (image.shape[1], image.shape[0])
        vectors = (None,) * len(self._specs) if found is None else found.vectors
        return Pixels(replace(sample, image=b""), pixels, whole, width, height, digest, vectors)

    def _found(self, digest: str) -> Found | None:
        """What is known of an image, unless it would be refused for its size today."""
        found = self._find(digest)
        return None if found is None or found.width * found.height > self._max_pixels else found

    def _made(self, images: Mapping[int | None, Array], spec: Preprocess) -> Array:
        """What one encoder gets of the image that was decoded for it."""
        return preprocess(images[spec.size if self._reduces else None], spec, exact=self._exact)

    def _decoded(self, sample: Sample, position: int, shrink_to: int | None) -> Array:
        """The decoded image. What was being decoded when an earlier process died is decoded in a process of its own."""
        if position not in self.journal.suspects:
            with self.journal.decoding(position):
                if self._shared is not None:
                    return self._shared(sample.image)
                return decode(sample.image, max_pixels=self._max_pixels, shrink_to=shrink_to)
        try:
            return decode_isolated(sample.image, max_pixels=self._max_pixels, shrink_to=shrink_to)
        except InputError as error:
            if error.code == "decoder-crashed":
                confirmed(sample.uri)
            raise


def _known(sample: Sample, found: Found, digest: str) -> Pixels:
    return Pixels(replace(sample, image=b""), (), False, found.width, found.height, digest, found.vectors)


def _failure(sample: Sample, error: InputError) -> Failure:
    fingerprint = "" if error.code == "decoder-killed" else sample.fingerprint
    known = (sample.group, sample.text, sample.model, sample.seed, fingerprint)
    return Failure(sample.key, sample.uri, error.code, error.message, *known)


def _cut(items: Iterable[T], counts: Callable[[T], bool], most: int) -> Iterator[list[T]]:
    """Cut a stream after every `most` items that count, and where none does."""
    some: list[T] = []
    counted = 0
    for item in items:
        some.append(item)
        counted += counts(item)
        if counted in {0, most} or len(some) == 4 * most:
            yield some
            some, counted = [], 0
    if some:
        yield some


def _filled(
    items: Sequence[tuple[Shard, Pixels | Failure]], resizer: DeviceResizer
) -> list[tuple[Shard, Pixels | Failure]]:
    whole = [item.pixels[0] for _, item in items if isinstance(item, Pixels) and item.whole]
    small = iter(resizer(whole) if whole else np.empty((0,), np.uint8))
    return [
        (shard, item._replace(pixels=(next(small),), whole=False) if isinstance(item, Pixels) and item.whole else item)
        for shard, item in items
    ]
