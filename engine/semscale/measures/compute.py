"""Every metric that was asked for, from the stores of a run: entries of the summary, and columns of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from semscale.accounts import truncated_texts
from semscale.measures.asked import Asked
from semscale.measures.captions import Captions
from semscale.measures.early_pairs import EarlyPairs
from semscale.measures.entry import entries
from semscale.measures.given import Given, Subset, subsets_of
from semscale.measures.labels import Labels
from semscale.measures.measure import OfItems, OfSets, Outcome
from semscale.measures.of_pairs import rows_of
from semscale.measures.pair_pixels import METRICS, PairPixels
from semscale.measures.pairs_table import PairTable
from semscale.measures.references import References
from semscale.measures.rows import all_rows
from semscale.metrics.alignment import Preset
from semscale.metrics.alignment import preset as convention_of
from semscale.model import Array, Source
from semscale.planning import index_of
from semscale.scoring import Groups, Scores, group_rows, score_store
from semscale.store import Store

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoder's embeddings, and what embeds texts for it."""

    store: Store
    tower: Path  # the exported image tower
    encode_texts: Callable[[Sequence[str]], tuple[Array, Array]]  # (n, D) float32, and (n,) which were cut


@dataclass(frozen=True, slots=True)
class Beside:
    """What the user gave beside the images."""

    references: References | None = None
    pairs: PairTable | None = None
    early: EarlyPairs | None = None  # of those pairs, where a metric compares pixels
    labels: Labels | None = None
    captions: Captions | None = None
    head: Path | None = None


@dataclass(slots=True)
class Measured:
    """What came of the metrics of a run."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)  # by label
    of_images: dict[str, Array] = field(default_factory=dict)  # (N,) by column, rows of the first store
    of_groups: dict[str, Array] = field(default_factory=dict)  # (G,)
    of_pairs: dict[str, Array] = field(default_factory=dict)  # (P,)
    reasons: list[str | None] = field(default_factory=list)  # (P,) why a pair has no value


def measure(
    asked: Sequence[Asked],
    encoded: Mapping[str, Encoded],
    beside: Beside,
    source: Source,
    first: Scores,
    *,
    convention: Preset,
    max_pixels: int | None,
) -> Measured:
    """Compute metrics; `encoded` holds an encoder's embeddings by its name, the first one those of `first`.

    Metrics that come together, as precision and recall do, are computed once.
    """
    home = next(iter(encoded.values())).store
    pixels = _pixels(home, beside.early, source, max_pixels)
    given = {name: _given(each, home, first, beside, pixels, convention) for name, each in encoded.items()}
    outcomes: dict[tuple[Any, str, str], Outcome] = {}
    found = Measured(reasons=[] if pixels is None else pixels.reasons)
    for one in asked:
        about = given[one.encoder] if one.measure.encodes else next(iter(given.values()))
        key = (one.measure.compute, one.preset, one.encoder)
        if key not in outcomes:
            outcomes[key] = one.measure.compute(about, one.preset)
        outcome = outcomes[key]
        found.entries |= entries(one, outcome, about.store.spec, n_truncated=truncated_texts(about.store))
        if isinstance(outcome, OfItems):
            _keep(found, one, outcome, about, next(iter(given.values())))
        elif isinstance(outcome, OfSets) and outcome.of_images is not None:
            found.of_images[one.column] = _in_order(outcome.of_images, about.store, home)
    return found


def early_pairs(asked: Iterable[Asked], pairs: PairTable | None) -> EarlyPairs | None:
    """The metrics of pixels that were asked for, ready for the images of some pairs; None where there are none."""
    wanted = {
        (one.name, one.preset): METRICS[one.name](one.preset, one.encoder) for one in asked if one.name in METRICS
    }
    return None if pairs is None or not wanted else EarlyPairs(pairs, wanted)


def _given(
    encoded: Encoded, home: Store, first: Scores, beside: Beside, pixels: PairPixels | None, convention: Preset
) -> Given:
    store = encoded.store
    groups = group_rows(store)
    real = None if beside.references is None else beside.references.store(store.spec.image)
    others = cache(partial(score_store, store, large=store is not home))  # of home the alignment alone is asked for

    def scores(preset: str) -> Scores:
        wanted = convention_of(preset) if preset else convention
        return first if store is home and wanted == convention else others(wanted)

    return Given(
        store=store, groups=groups, tower=encoded.tower, encode_texts=cache(encoded.encode_texts),
        references=beside.references, pairs=beside.pairs, pair_pixels=pixels, labels=beside.labels,
        captions=beside.captions, head=beside.head,
        scores=scores,
        subsets=subsets_of(store, groups), real=None if real is None else Subset(all_rows(real)),
    )  # fmt: skip


def _pixels(home: Store, early: EarlyPairs | None, source: Source, max_pixels: int | None) -> PairPixels | None:
    if early is None:
        return None
    keys = early.pairs.keys
    readable = frozenset(key for key, row in zip(keys, rows_of(home, keys), strict=True) if row >= 0)
    return PairPixels(early, source, index_of(source), readable=readable, max_pixels=max_pixels)


def _keep(found: Measured, asked: Asked, outcome: OfItems, about: Given, home: Given) -> None:
    """Values of single items, in the order of the first store's rows, or of its groups."""
    if outcome.per == "pair":
        found.of_pairs[asked.column] = outcome.values
    elif outcome.per == "group":
        found.of_groups[asked.column] = _by_name(outcome.values, about.groups, home.groups)
    else:
        found.of_images[asked.column] = _in_order(outcome.values, about.store, home.store)


def _by_name(values: Array, groups: Groups, home: Groups) -> Array:
    """(G,) values of one store's groups -> those of the same groups in another's; NaN where it lacks one.

    Stores that were begun at different times need not hold the same: what vanished in between is in one alone.
    """
    known = dict(zip(zip(groups.model, groups.name, strict=True), values.tolist(), strict=True))
    return np.array([known.get(group, np.nan) for group in zip(home.model, home.name, strict=True)], np.float64)


def _in_order(values: Array, store: Store, home: Store) -> Array:
    """(M,) values of one store's rows -> (N,) those of the same images in another's; NaN where it lacks one."""
    if store is home:
        return values
    rows = rows_of(store, home.metadata(["key"]).column(0).to_pylist())
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan) if len(values) else np.full(len(rows), np.nan)


def warned(entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is said of numbers that rest on too little, each once."""
    parts = [(label, part) for label, each in entries.items() for part in (each, *each["by_model"].values())]
    return list(dict.fromkeys(f"{label}: {why}" for label, part in parts for why in part["warnings"]))
