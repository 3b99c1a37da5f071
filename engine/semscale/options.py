"""Everything that decides what a run computes, but where from and where to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from semscale.encoders import DEFAULT_MODEL
from semscale.errors import UsageError
from semscale.metrics import alignment
from semscale.model import DECODES, DTYPES
from semscale.settings import Settings


@dataclass(frozen=True, slots=True)
class Options:
    """What a run computes, and how."""

    model: str = DEFAULT_MODEL  # hub id, checkpoint folder, exported folder, or "demo"
    backend: str = "auto"  # a name of encoders.BACK_ENDS, or whatever runs best here
    precision: str | None = None  # None for the back end's own
    clip_score: str = "torchmetrics"  # a preset of metrics.alignment
    group_by: str | None = None  # None: by text, else by parent folder
    decode: str = "exact"
    dtype: str = "float32"  # of the stored vectors
    settings: Settings = dataclasses.field(default_factory=Settings)
    follow: float | None = None  # go on until the producer ends, or nothing new came for so many seconds
    index: str | None = None  # kind of index to keep of the store meanwhile, or "auto"

    def __post_init__(self) -> None:
        if self.follow is not None and self.settings.part is not None:
            raise UsageError("--follow and --shards: parts need a source that is complete; leave one out")
        if self.index is not None and self.settings.part is not None:
            raise UsageError(
                "--index and --shards: one process cannot index what others write; leave out --index, and run "
                "`semscale index STORE` when all parts are done"
            )
        alignment.preset(self.clip_score)
        for name, value, known in (("decode", self.decode, DECODES), ("dtype", self.dtype, DTYPES)):
            if value not in known:
                raise UsageError(f"unknown {name} {value!r}; choose from {', '.join(known)}")
