"""What metrics of pixels say of pairs of images: what was found while they were embedded, and for the rest each pair
read and decoded once for all metrics that want it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from semscale.cores import usable_cores
from semscale.decode import MAX_PIXELS, decode
from semscale.errors import InputError
from semscale.measures.early_pairs import Compared, Comparison, EarlyPairs, compared
from semscale.metrics.pixel import mse, psnr
from semscale.metrics.structural import ms_ssim, ssim
from semscale.model import Array, Sample, Source
from semscale.perceptual import open_distance
from semscale.plan import KeyIndex
from semscale.prefetch import ordered_map

TOGETHER = 16  # pairs whose files are in memory at once

METRICS: Mapping[str, Callable[[str, str], Comparison]] = {  # of a preset and, for lpips, an exported folder
    "mse": lambda *_: Comparison(mse),
    "psnr": lambda *_: Comparison(psnr),
    "ssim": lambda preset, _: Comparison(lambda a, b: ssim(a, b, preset=preset)),
    "ms-ssim": lambda preset, _: Comparison(lambda a, b: ms_ssim(a, b, preset=preset)),
    "lpips": lambda _, folder: _distance(folder),
}


def _distance(folder: str) -> Comparison:
    distance = open_distance(folder, threads=1)  # pairs are compared side by side
    return Comparison(lambda a, b: float(distance(a[None], b[None])[0]), dataclasses.asdict(distance.spec))


class PairPixels:
    """What metrics of pixels say of each pair."""

    def __init__(
        self, early: EarlyPairs, source: Source, index: KeyIndex, *, readable: frozenset[str], max_pixels: int | None
    ) -> None:
        """`early` holds the pairs, the metrics, and what is known of them; `readable` are the keys of images that could
        be embedded. What failed there, perhaps by crashing its decoder, is not tried again.
        """
        self._pairs, self._compare = early.pairs, early.comparisons
        self._source, self._index, self._readable = source, index, readable
        self._max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
        self._early = {number: known for number, known in early.found.items() if self._is_readable(number)}

    def values(self, name: str, preset: str) -> Array:
        """(P,) float64, NaN where there is no value; see `reasons`."""
        return self._found[0][name, preset]

    def made_by(self, name: str, preset: str) -> Mapping[str, Any]:
        """What made the values of a metric."""
        return self._compare[name, preset].made_by

    @property
    def reasons(self) -> list[str | None]:
        """Why a pair has no values, None where it has."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[dict[tuple[str, str], Array], list[str | None]]:
        values = {wanted: np.full(len(self._pairs), np.nan) for wanted in self._compare}
        reasons: list[str | None] = [None] * len(self._pairs)
        late = [number for number in range(len(self._pairs)) if number not in self._early]
        read = ordered_map(self._compared, self._files(late), workers=usable_cores(), depth=TOGETHER)
        for pair, (found, why) in itertools.chain(self._early.items(), zip(late, read, strict=True)):
            reasons[pair] = "; ".join(dict.fromkeys(why)) or None
            for wanted, value in found.items():
                values[wanted][pair] = value
        return values, reasons

    def _is_readable(self, number: int) -> bool:
        return {self._pairs.source[number], self._pairs.edited[number]} <= self._readable

    def _files(self, numbers: Sequence[int]) -> Iterator[tuple[bytes | str, bytes | str]]:
        """The files of some pairs, or why they cannot be read."""
        for at in range(0, len(numbers), TOGETHER):
            sides = [(self._pairs.source[number], self._pairs.edited[number]) for number in numbers[at : at + TOGETHER]]
            files = self._read(list(dict.fromkeys(itertools.chain(*sides))))
            yield from ((files[source], files[edited]) for source, edited in sides)

    def _read(self, keys: Sequence[str]) -> dict[str, bytes | str]:
        places = dict(zip(keys, self._index.find(keys).tolist(), strict=True))
        wanted = sorted((key for key in keys if key in self._readable and places[key] >= 0), key=places.__getitem__)
        found: dict[str, bytes | str] = dict.fromkeys(keys, "could not be embedded, see images.parquet")
        for key, sample in zip(wanted, self._source.read(places[key] for key in wanted), strict=True):
            found[key] = sample.image if isinstance(sample, Sample) else sample.message
        return found

    def _compared(self, files: tuple[bytes | str, bytes | str]) -> Compared:
        """The values of one pair, and why some are missing."""
        images: list[Array] = []
        for file, side in zip(files, ("source", "edited"), strict=True):
            if isinstance(file, str):
                return {}, [f"{side}: {file}"]
            try:
                images.append(decode(file, max_pixels=self._max_pixels))
            except InputError as error:
                return {}, [f"{side}: {error.message}"]
        return compared(*images, self._compare)
