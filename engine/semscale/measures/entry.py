"""A metric's outcome as the entry of `summary.json`: every one says its convention, its counts and its encoder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semscale.measures.asked import Asked
from semscale.measures.measure import OfItems, OfSets, OfStore, Outcome
from semscale.metrics.registry import METRICS
from semscale.model import Array, Interval, Score
from semscale.stats.intervals import LEVEL, clustered_mean_interval, mean_interval
from semscale.store_spec import StoreSpec
from semscale.summary import Consistency

READ_TEXTS = ("clip-score", "clip-directional", "ranking", "retrieval-image-to-text", "retrieval-text-to-image")
NO_INTERVAL = "none holds: see `semscale metrics NAME`"


@dataclass(frozen=True, slots=True)
class Encoding:
    """What made the embeddings behind a number."""

    name: str
    sha256: str  # of the weights
    precision: str
    backend: str
    resize: str  # in words, as "bicubic to 224, cropped to 224"


@dataclass(frozen=True, slots=True)
class Entry:
    """One number; null where something does not apply to it."""

    name: str
    preset: str | None
    value: float
    low: float
    high: float
    level: float
    method: str  # of the interval
    n: int
    per: str  # what `n` counts
    n_invalid: int | None
    n_truncated: int | None  # texts that were cut
    n_clamped: int | None
    seed: int | None
    median: float
    sd: float
    sd_ddof: int
    n_groups: int | None
    higher_is_better: bool | None  # None where neither end is better
    encoder: Encoding | None  # None where pixels were compared
    warnings: tuple[str, ...]
    params: Mapping[str, Any]


def encoding(spec: StoreSpec) -> Encoding:
    """What made a store's embeddings."""
    image, prepared = spec.image, spec.image.preprocess
    resize = "" if prepared is None else f"{prepared.filter} to {prepared.size}"
    if prepared is not None:
        resize += ", stretched" if prepared.geometry == "stretch" else f", cropped to {prepared.crop}"
    return Encoding(image.name, image.sha256, image.precision, spec.backend, resize)


def entries(asked: Asked, outcome: Outcome, spec: StoreSpec, *, n_truncated: int) -> dict[str, dict[str, Any]]:
    """The entries of one metric by label: one, or where it is several numbers, as recall at 1 and 5, one for each."""
    parts = list(outcome.overall) if isinstance(outcome, OfSets) and asked.name not in outcome.overall else [asked.name]
    return {asked.label.replace(asked.name, part, 1): _entry(asked, outcome, spec, part, n_truncated) for part in parts}


def _entry(asked: Asked, outcome: Outcome, spec: StoreSpec, part: str, n_truncated: int) -> dict[str, Any]:
    """Overall, and `by_model`. Texts that were cut are counted overall alone."""
    made = encoding(spec) if asked.measure.encodes else None
    read_texts = n_truncated if asked.name in READ_TEXTS else None
    if isinstance(outcome, OfStore):
        parts = {model: _of_store(asked, part, made, None) for model, part in outcome.by_model.items()}
        return {**_of_store(asked, outcome.overall, made, read_texts), "by_model": parts}
    if isinstance(outcome, OfSets):
        scores = {"": outcome.overall[part], **outcome.by_model[part]}
        found = {model: _of_set(asked, score, outcome, model, made, read_texts) for model, score in scores.items()}
    else:
        found = {model: _of_items(asked, outcome, model, made, read_texts) for model in _models(outcome)}
    overall = dataclasses.asdict(found.pop(""))
    return {**overall, "by_model": {model: dataclasses.asdict(part) for model, part in found.items()}}


def _models(outcome: OfItems) -> list[str]:
    return ["", *sorted({model for model in outcome.model.tolist() if model is not None})]


def _of_store(asked: Asked, part: Any, made: Encoding | None, n_truncated: int | None) -> dict[str, Any]:
    """Fields that have names of their own stay; what every entry has is added."""
    fields = dataclasses.asdict(part)
    lacking = "group has two valid images" if isinstance(part, Consistency) else "image counts"
    common = {
        "name": asked.name,
        "per": "group" if isinstance(part, Consistency) else "image",
        "preset": asked.preset or fields["params"].get("definition"),
        "n_invalid": fields.get("n_invalid"),
        "n_truncated": n_truncated,
        "n_clamped": fields.get("n_clamped"),
        "seed": None,
        "encoder": None if made is None else dataclasses.asdict(made),
        "warnings": _empty(fields["value"], lacking),
    }
    return {**fields, **common}


def _empty(value: float, why: str) -> tuple[str, ...]:
    """Why there is no value, where there is none."""
    return () if math.isfinite(value) else (f"no {why}, so there is no value",)


def _of_this(asked: Asked, warnings: tuple[str, ...]) -> tuple[str, ...]:
    """Without what is said of metrics that were computed on the way; MiFID rests on all of them."""
    own = {asked.name, *(METRICS if asked.name == "mifid" else ())}
    return tuple(why for why in warnings if why.split(" of ")[0] in own or why.split(" of ")[0] not in METRICS)


def _few(asked: Asked, n: int, per: str) -> tuple[str, ...]:
    """What to say of a mean over so few items."""
    least = asked.measure.described.smallest_n if per != "group" else 1
    return (f"{asked.name} of {n} {per}s: below {least} it says little",) if 0 < n < least else ()


def _of_set(
    asked: Asked, score: Score, outcome: OfSets, model: str, made: Encoding | None, n_truncated: int | None
) -> Entry:
    low, high, level, method = _ends(score.interval, NO_INTERVAL)
    params, better = dict(score.params), _better(asked)
    cut = params.pop("n_truncated", n_truncated)
    if better is not None and math.isfinite(score.value):
        better = score.higher_is_better  # of a rank it is not what it is of the shares beside it
    return Entry(
        asked.name, asked.preset or None, score.value, low, high, level, method, score.n, asked.measure.per,
        n_invalid=params.pop("n_invalid", None), n_truncated=None if model else cut, n_clamped=None,
        seed=params.pop("seed", None),
        median=math.nan, sd=math.nan, sd_ddof=1, n_groups=None, higher_is_better=better, encoder=made,
        warnings=_of_this(asked, outcome.warnings.get(model, ())), params=params,
    )  # fmt: skip


def _of_items(asked: Asked, outcome: OfItems, model: str, made: Encoding | None, n_truncated: int | None) -> Entry:
    mine = np.ones(len(outcome.values), bool) if not model else outcome.model == model
    values, groups = outcome.values[mine], outcome.group[mine]
    known = np.isfinite(values)
    values, groups = values[known], groups[known]
    low, high, level, method = _ends(_interval(values, groups, outcome.bounds), "too few to tell")
    told = _few(asked, len(values), outcome.per) or (() if len(values) else _empty(math.nan, f"{outcome.per} counts"))
    params = {key: value for key, value in outcome.params.items() if not (model and key.startswith("n_"))}  # of all
    return Entry(
        asked.name, asked.preset or None, float(values.mean()) if len(values) else math.nan, low, high, level, method,
        len(values), outcome.per,
        n_invalid=None if model else outcome.n_invalid,
        n_truncated=None if model else params.pop("n_truncated", n_truncated), n_clamped=None, seed=None,
        median=float(np.median(values)) if len(values) else math.nan,
        sd=float(values.std(ddof=1)) if len(values) > 1 else math.nan, sd_ddof=1, n_groups=len(np.unique(groups)),
        higher_is_better=_better(asked), encoder=made, params=params,
        warnings=told,
    )  # fmt: skip


def _interval(values: Array, groups: Array, bounds: tuple[float, float]) -> Interval | None:
    """Of the mean over items, their groups being what is independent; with one group, over its items."""
    if not len(values):
        return None
    _, place = np.unique(groups, return_inverse=True)
    counts = np.bincount(place)
    return clustered_mean_interval(np.bincount(place, values), counts, bounds) or mean_interval(values, bounds)


def _ends(interval: Interval | None, why: str) -> tuple[float, float, float, str]:
    if interval is None:
        return math.nan, math.nan, LEVEL, why
    return interval.low, interval.high, interval.level, interval.method


def _better(asked: Asked) -> bool | None:
    better = asked.measure.described.better
    return None if better == "neither" else better == "higher"
