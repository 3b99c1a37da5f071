"""Everything that decides what a run computes, but where from and where to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semscale.encoders import DEFAULT_MODEL
from semscale.errors import UsageError
from semscale.measures.asked import Asked, asked
from semscale.metrics import alignment
from semscale.model import DECODES, DTYPES
from semscale.settings import Settings

DEFAULT_METRICS = ("scs", "clip-score")  # the second where there are texts


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
    metrics: Sequence[str] = ()  # NAME[:PRESET][@ENCODER]; none for scs, and clip-score where there are texts
    reference: Sequence[str] = ()  # stores, folders of images or files of statistics to compare with
    pairs: str | None = None  # table of pairs of images
    head: str | None = None  # file of a linear head
    captions: str | None = None  # table of reference captions
    reuse: Sequence[str] = ()  # stores, or results with stores, whose embeddings of the same bytes are taken
    labels: str | None = None  # file of classes, one a line
    templates: str | None = None  # file of the texts that stand for them, one a line with {} for the class

    def __post_init__(self) -> None:
        for name in ("metrics", "reference", "reuse"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(map(str, [value] if isinstance(value, str | Path) else value)))
        for name in ("pairs", "head", "captions", "labels", "templates"):  # paths too, which the summary could not hold
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else str(value))
        self.asked()
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

    def asked(self) -> list[Asked]:
        """The metrics, those of a run where nobody says included; presets of the CLIP score that need other texts, as
        one with a prefix does, cannot be in one run. Raises UsageError for those, and for an unknown metric.
        """
        found = asked(self.metrics or DEFAULT_METRICS, clip_score=self.clip_score)
        if not found:
            raise UsageError("no metric is named; `semscale metrics` lists them, and without the option it is scs")
        prefix = alignment.preset(self.clip_score).prefix
        for one in found:
            if one.name == "clip-score" and alignment.preset(one.preset).prefix != prefix:
                raise UsageError(
                    f"clip-score:{one.preset}: puts its own words before each text; add --clip-score {one.preset}, "
                    "into a new output folder"
                )
        if self.metrics:
            return found
        return [replace(one, measure=replace(one.measure, needs=frozenset())) for one in found]
