"""Work on encoded images in memory as contestants: some outputs are kept while timing, and compared afterwards.

To compare while the clock runs would cost as much as what is timed.
"""

from __future__ import annotations

import io
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image, ImageOps

from semscale.decode import decode
from semscale.errors import InputError, UsageError
from semscale.model import Array
from semscale.prefetch import ordered_map
from semscale_bench.images import Images
from semscale_bench.measure import Contestant
from semscale_bench.rows import Check

KEPT = 4  # outputs of the last goes: of 12 megapixels each takes 36 MB
Work = Callable[[bytes], Array]


class Sample:
    """One output of each of the last goes, of another image each time."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Array]] = deque(maxlen=KEPT)

    def keep(self, number: int, output: Array) -> None:
        """Keep the output of the image of that number."""
        self._kept.append((number, output))

    def compared(self, what: str, limit: float, difference: Callable[[int, Array], float]) -> Check:
        """The worst difference of what was kept."""
        return Check(what, max(difference(number, output) for number, output in self._kept), limit)


def go(work: Work, data: Sequence[bytes], sample: Sample, *, workers: int = 1) -> Contestant:
    """A contestant that does `work` on every file, `workers` threads at once; as many images as there are files."""
    turns = itertools.count()

    def alone(encoded: bytes) -> Array:
        torch.set_num_threads(1)  # of this thread, as in a run: several would fight over the cores
        return work(encoded)

    def contestant() -> int:
        chosen = next(turns) % len(data)
        outputs = map(alone, data) if workers == 1 else ordered_map(alone, data, workers=workers, depth=2 * workers)
        for number, output in enumerate(outputs):
            if number == chosen:
                sample.keep(number, output)
        return len(data)

    return contestant


@contextmanager
def own_threads() -> Iterator[None]:
    """Put back the number of torch's threads, which `go` sets to one."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def by_pillow(encoded: bytes) -> Array:
    """(H, W, 3) uint8 as loaders get it from Pillow: upright, RGB, and no copy that is not needed."""
    return np.asarray(opened(encoded))


def opened(encoded: bytes) -> Image.Image:
    """A decoded image of Pillow, upright, RGB."""
    image: Image.Image = Image.open(io.BytesIO(encoded))
    ImageOps.exif_transpose(image, in_place=True)
    return image if image.mode == "RGB" else image.convert("RGB")


def loaded(images: Images) -> tuple[list[bytes], list[str]]:
    """The bytes of the files that both decoders read and read alike, and a sentence on those left out.

    Pillow drops transparency and the low bits of 16, semscale does not, on purpose: such files compare nothing. Raises
    UsageError where none is left.
    """
    data = [file.read_bytes() for file in images.files]
    alike = [encoded for encoded in data if _alike(encoded)]
    if not alike:
        raise UsageError(f"{images.name}: Pillow reads none of {len(data)} files as 8-bit RGB or grey; give photos")
    left_out = len(data) - len(alike)
    told = f"{images.name}: {left_out} of {len(data)} files, which Pillow and semscale do not read alike"
    return alike, [told] if left_out else []


def _alike(encoded: bytes) -> bool:
    try:
        shape = decode(encoded).shape  # first: it refuses what Pillow would warn of
        with Image.open(io.BytesIO(encoded)) as image:
            plain = image.mode in {"RGB", "L"} and not image.has_transparency_data
        return plain and by_pillow(encoded).shape == shape
    except (InputError, OSError, ValueError, SyntaxError):  # Pillow's, of damaged files
        return False
