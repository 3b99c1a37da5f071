"""What a run would take, measured on its first images."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from semscale.run import Options, embed
from semscale.sources import open_source

SAMPLED = 128  # images embedded to measure the rate
ROW_BYTES = 400  # metadata and tables of one image, measured


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

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)


def estimate(source: str | Path, **options: Any) -> Estimate:
    """List `source`, embed its first images into a folder that is thrown away, and extrapolate.

    `options` are the fields of `semscale.run.Options`.
    """
    chosen = Options(**options)
    opened = open_source(source, group_by=chosen.group_by)
    count = min(len(opened.keys()), chosen.settings.limit or len(opened.keys()))
    sampled = min(SAMPLED, count)
    settings = dataclasses.replace(chosen.settings, limit=sampled)
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        store = embed(source, folder, **{**options, "settings": settings})
        rate = sampled / (time.perf_counter() - started)
        width = store.spec.image.dim * (4 if store.spec.dtype == "float32" else 2)
    return Estimate(
        n_found=count,
        n_ignored=opened.n_ignored,
        layout=opened.layout,
        n_sampled=sampled,
        images_per_second=rate,
        seconds=count / rate,
        disk_bytes=count * (width + ROW_BYTES),
    )
