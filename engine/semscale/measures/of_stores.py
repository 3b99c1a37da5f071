"""The scores that need every group of a store: consistency, and alignment with texts."""

from __future__ import annotations

from semscale import summary
from semscale.errors import UsageError
from semscale.measures.given import Given
from semscale.measures.measure import OfStore
from semscale.metrics.alignment import preset as convention_of


def consistency(given: Given, _: str) -> OfStore:
    """The Semantic Consistency Score."""
    scores = given.scores("")
    by_model = {m: summary.consistency(scores, m, every_model=False) for m in given.subsets if m}
    return OfStore(summary.consistency(scores), by_model)


def alignment(given: Given, preset: str) -> OfStore:
    """The CLIP score. Raises UsageError where no image has a text."""
    scores, convention = given.scores(preset), convention_of(preset)
    overall = summary.alignment(scores, convention)
    if overall is None:
        raise UsageError(f"{given.store.spec.source}: no image has a text, so there is no CLIP score")
    parts = {m: summary.alignment(scores, convention, m, every_model=False) for m in given.subsets if m}
    return OfStore(overall, {m: part for m, part in parts.items() if part is not None})
