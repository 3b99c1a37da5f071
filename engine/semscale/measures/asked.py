"""What is asked for: NAME[:PRESET][@ENCODER], as `fid`, `fid:clean-fid`, `vendi:q=2` or `scs@fid-inception`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from semscale.errors import UsageError
from semscale.measures.table import MEASURES, Measure
from semscale.metrics.registry import METRICS, metric


@dataclass(frozen=True, slots=True)
class Asked:
    """One metric of a run."""

    measure: Measure
    preset: str  # "" where the metric has none
    encoder: str  # as `--model` takes it; "" for `--model` itself

    @property
    def name(self) -> str:
        """Of the metric."""
        return self.measure.described.name

    @property
    def label(self) -> str:
        """Its name in the results: what is not the default is part of it."""
        preset = "" if self.preset == self.measure.default else f":{self.preset}"
        own = self.measure.encoder_of(self.preset)
        shown = self.measure.encodes and self.encoder != own
        return f"{self.name}{preset}{f'@{self.encoder}' if shown else ''}"

    @property
    def column(self) -> str:
        """The same as the name of a column."""
        return re.sub(r"[^a-z0-9.]+", "_", self.label.lower()).strip("_")


def asked(texts: Iterable[str], *, clip_score: str = "torchmetrics") -> list[Asked]:
    """Read what is asked for, each text one or several with commas between; repeated ones count once.

    `clip_score` is the preset of the CLIP score where none is said.
    Raises UsageError for an unknown metric, with the name that was probably meant, for an unknown preset, and for two
    that would have one name in the results.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    found: dict[str, Asked] = {}
    for one in (_one(word, {"clip-score": clip_score}) for word in words if word):
        same = found.setdefault(one.label, one)
        if same.encoder != one.encoder:
            raise UsageError(
                f"{one.label}: asked for by {same.encoder} and by {one.encoder}; one run takes one of them"
            )
    return list(found.values())


def _one(word: str, defaults: Mapping[str, str]) -> Asked:
    named, _, encoder = word.partition("@")
    name, _, preset = named.partition(":")
    described = metric(name)
    if described.name not in MEASURES:
        raise UsageError(f"{name}: not computed by `semscale score`; `semscale metrics {name}` says where it is")
    measure = replace(MEASURES[name], default=defaults.get(name, MEASURES[name].default))
    chosen = preset or measure.default
    if not measure.takes(chosen):
        close = difflib.get_close_matches(chosen, measure.presets, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"{name}: unknown preset {preset!r}; {meant}choose from {measure.choices}")
    if "@" in word and not encoder:
        raise UsageError(f"{word}: no encoder behind the @; name one, as in {name}@fid-inception")
    if measure.folder and not encoder:
        raise UsageError(f"{word}: needs {measure.folder}; name its folder, as in {name}@FOLDER")
    if encoder and not measure.encodes and not measure.folder:
        raise UsageError(f"{word}: {name} compares pixels and takes no encoder")
    return Asked(measure, chosen, encoder or measure.encoder_of(chosen))


def unlisted() -> list[str]:
    """Metrics that `semscale score` does not compute."""
    return [name for name in METRICS if name not in MEASURES]
