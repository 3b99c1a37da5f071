"""What a run must know of a metric to compute it, and what comes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from semscale.measures.given import Given
from semscale.metrics.description import Description
from semscale.model import Array, Score
from semscale.summary import Alignment, Consistency


class Need(Enum):
    """What a metric takes beside the images, and what to give when it is missing."""

    REFERENCE = "a reference set; give --reference STORE, a folder of images, or a file of `semscale reference`"
    ROWS = "a reference set of single embeddings; give --reference STORE or a folder of images"
    PAIRS = "pairs of images; give --pairs TABLE with the columns source and edited"
    TEXTS = "a text for each image; give a source with texts"
    TEXT_TOWER = "a model that reads texts; choose a CLIP or SigLIP model with --model"
    LABELS = "the classes to choose from; give a file with one label a line with --labels"
    CAPTIONS = "reference captions; give a table with the columns key (or text) and reference with --captions"
    HEAD = "a linear head; give its file with --head"
    FLOAT32 = "embeddings in float32; leave out --dtype float16"


@dataclass(frozen=True, slots=True)
class OfSets:
    """Scores of all images together, and of those of each model."""

    overall: Mapping[str, Score]  # by name: metrics that come together, or the numbers that one metric is
    by_model: Mapping[str, Mapping[str, Score]]  # by name and model
    warnings: Mapping[str, tuple[str, ...]]  # model, or "" -> why not to trust them
    of_images: Array | None = None  # (N,) a value an image beside them, NaN where there is none


@dataclass(frozen=True, slots=True)
class OfItems:
    """One value an image, a pair or a group, NaN where there is none; the score is their mean."""

    values: Array  # (n,) float64
    group: Array  # (n,) number of its group, which is the independent unit
    model: Array  # (n,) object: its model, None where it has none
    per: str  # "image", "pair" or "group"
    bounds: tuple[float, float]
    n_invalid: int  # values that are missing because of an invalid embedding or an unreadable image
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OfStore:
    """A score with fields of its own, as `summary` sums it up."""

    overall: Consistency | Alignment
    by_model: Mapping[str, Consistency | Alignment]


Outcome = OfSets | OfItems | OfStore


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """One metric, as a run computes it."""

    described: Description
    compute: Callable[[Given, str], Outcome]
    default: str = ""  # preset
    pattern: str = ""  # of further presets, as a regular expression
    example: str = ""  # of those
    needs: frozenset[Need] = frozenset()
    encoders: Mapping[str, str] = field(default_factory=dict)  # preset -> encoder; "" for `--model`
    encoder: str = ""  # where the preset does not say
    encodes: bool = True  # False where pixels are compared
    per: str = "image"  # what the number rests on, where sets are compared
    folder: str = ""  # what the folder behind its @ holds, where that is no encoder
    only: str = ""  # how the names of its encoders begin, where the metric is of those alone

    @property
    def presets(self) -> tuple[str, ...]:
        """Those with names."""
        return tuple(self.described.presets)

    @property
    def choices(self) -> str:
        """All presets, in words."""
        named = ", ".join(self.presets)
        return " or ".join(part for part in (named, self.example) if part) or "none: leave out the colon"

    def takes(self, preset: str) -> bool:
        """Whether there is such a preset."""
        known = preset in self.presets or bool(self.pattern and re.fullmatch(self.pattern, preset))
        return known or preset == self.default

    def encoder_of(self, preset: str) -> str:
        """What encodes the images, as `--model` takes it; "" for `--model` itself."""
        return self.encoders.get(preset, self.encoder)
