"""What a run would take, measured on its first images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from semscale.errors import SourceError
from semscale.filling import fill
from semscale.options import Options
from semscale.run import places_of
from semscale.sources import Location, open_source
from semscale.timing import Clock
from semscale.wanted import check_source, wanted

SAMPLED = 128  # images embedded to measure the rate
ROW_BYTES = 600  # metadata and tables of one image, about
REPORT_BYTES = 2_000_000  # at most, whatever the number of images


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would read, and about what it would take."""

    n_found: int
    n_ignored: int
    layout: str
    n_sampled: int
    images_per_second: float
    seconds: float
    disk_bytes: int


def estimate(source: Location | Sequence[Location], **options: Any) -> Estimate:
    """List `source`, embed its first images into a folder that is thrown away, and extrapolate to a new output folder.

    Every encoder that the metrics need embeds them. Opening models does not count, nor do the images of a reference and
    the metrics themselves; an export that the cache does not hold yet is made, and kept there.

    `options` are the fields of `semscale.options.Options`.
    """
    chosen = Options(**options)
    todo = wanted(chosen)
    opened = open_source(source, group_by=chosen.group_by)
    check_source(todo, opened)
    count = min(len(opened), chosen.settings.limit or len(opened))
    sampled = min(SAMPLED, count)
    settings = dataclasses.replace(chosen.settings, limit=sampled, part=None)
    with TemporaryDirectory() as folder:
        sample = dataclasses.replace(chosen, settings=settings, reuse=())
        places = dict.fromkeys(places_of(todo, sample, Path(folder)).values())
        filled = fill([opened], list(places), sample, clock=Clock(), on_progress=lambda _: None)
    rate, specs = filled.images_per_second, [store.spec for store in filled.stores]
    if rate is None:
        raise SourceError(f"{source}: none of the first {sampled} images could be read; `semscale score` lists why")
    width = sum(spec.image.dim * (4 if spec.dtype == "float32" else 2) + ROW_BYTES for spec in specs)
    return Estimate(
        n_found=count,
        n_ignored=opened.n_ignored,
        layout=opened.layout,
        n_sampled=sampled,
        images_per_second=rate,
        seconds=count / rate,
        disk_bytes=count * width + REPORT_BYTES,
    )
