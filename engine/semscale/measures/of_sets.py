"""Metrics that compare all images, or those of one model, with a reference set."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from semscale.errors import UsageError
from semscale.heads import Classifier, read_classifier
from semscale.measures.given import Given, Subset
from semscale.measures.measure import OfSets
from semscale.measures.rows import StoredRows
from semscale.metrics.description import Description, FewSamplesWarning
from semscale.metrics.frechet import FD_DINOV2, FID, FID_CLIP, FID_INFINITY, fid_infinity, frechet
from semscale.metrics.inception_score import CLASSIFIER_SCORE, INCEPTION_SCORE, inception_score
from semscale.metrics.kernel_distance import cmmd, kid
from semscale.metrics.manifold import PRESETS as MANIFOLD
from semscale.metrics.manifold import prdc
from semscale.metrics.memorisation import memorisation_distance, mifid
from semscale.metrics.moments import Moments
from semscale.model import Array, Score

T = TypeVar("T")
Compared = Callable[[Subset, Given, str], Mapping[str, Score]]  # of one subset, under one preset


def of_sets(compare: Compared, *names: str) -> Callable[[Given, str], OfSets]:
    """A metric, or several that come together, over all images and over those of each model.

    What a metric cannot be computed from, say fewer images than one draw takes, is no value with the reason beside it.
    """

    def compute(given: Given, preset: str) -> OfSets:
        found: dict[str, tuple[Mapping[str, Score], tuple[str, ...]]] = {}
        for model, subset in given.subsets.items():
            known_of = found.get("") if subset is given.subsets[""] else None  # the only model is all images
            found[model] = known_of or _told(compare, subset, given, preset, names)
        known = list(dict.fromkeys(name for scores, _ in found.values() for name in scores))
        lacking = {name: Score(name, float("nan"), 0, None, False, {}) for name in known}
        filled = {model: {**lacking, **scores} for model, (scores, _) in found.items()}
        overall = filled.pop("")
        by_model = {name: {model: scores[name] for model, scores in filled.items()} for name in known}
        return OfSets(overall, by_model, {model: why for model, (_, why) in found.items()})

    return compute


def _told(
    compare: Compared, subset: Subset, given: Given, preset: str, names: tuple[str, ...]
) -> tuple[Mapping[str, Score], tuple[str, ...]]:
    """The scores of one subset, and why not to trust them."""
    try:
        return _caught(lambda: compare(subset, given, preset))
    except UsageError as error:
        nothing = {name: Score(name, float("nan"), len(subset.rows), None, False, {}) for name in names}
        return nothing, (str(error),)


def told(compute: Callable[[], Score], name: str) -> tuple[Score, tuple[str, ...]]:
    """A score, and why not to trust it; no value where it cannot be computed."""
    try:
        return _caught(compute)
    except UsageError as error:
        return Score(name, float("nan"), 0, None, True, {}), (str(error),)


def _caught(compute: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """What `compute` gives, and its warnings of too few samples; others go on their way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        found = compute()
    few = [str(each.message) for each in caught if issubclass(each.category, FewSamplesWarning)]
    for each in caught:
        if not issubclass(each.category, FewSamplesWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return found, tuple(dict.fromkeys(few))


def _real(given: Given) -> Subset:
    """The reference set's embeddings."""
    assert given.real is not None, "checked before anything was embedded"
    return given.real


def _moments(given: Given) -> Moments:
    """The reference set's moments, saved or computed."""
    saved = None if given.references is None else given.references.saved(given.store.spec.image)
    return _real(given).moments if saved is None else saved


def _frechet(name: str) -> Compared:
    def compare(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
        score = frechet(_moments(given), subset.moments, name=name)
        return {name: replace(score, params={**score.params, "preset": preset})}

    return compare


def _infinity(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
    score = fid_infinity(_moments(given), subset.rows)
    return {FID_INFINITY.name: replace(score, params={**score.params, "preset": preset})}


def _kid(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
    real = _real(given).rows
    return {"kid": kid(real, subset.rows, subsets=None) if preset == "full" else kid(real, subset.rows)}


def _cmmd(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
    return {"cmmd": cmmd(_real(given).rows, subset.rows, biased=preset == "biased")}


def _prdc(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
    convention = MANIFOLD[preset]
    found = prdc(_real(given).rows, subset.rows, k=convention.k, strict=convention.strict)
    return {name: getattr(found, name) for name in ("precision", "recall", "density", "coverage")}


def _mifid(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
    distance = memorisation_distance(_real(given).rows, subset.rows, preset=preset)
    return {distance.metric: distance, "mifid": mifid(frechet(_moments(given), subset.moments), distance)}


@dataclass(frozen=True, slots=True, eq=False)
class _Logits:
    """(N, K) logits as metrics read an array, computed block by block: of a million images they take gigabytes."""

    rows: StoredRows
    classifier: Classifier

    @property
    def dtype(self) -> np.dtype[np.float64]:
        """Of what is read."""
        return np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """N and K."""
        return len(self.rows), len(self.classifier.weight)

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | Array) -> Array:
        return self.classifier.logits(self.rows[key])


def _classes(described: Description) -> Compared:
    def compare(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
        classifier = read_classifier(given.tower)
        score = inception_score(_Logits(subset.rows, classifier), preset=preset, name=described.name)  # type: ignore[arg-type]
        return {score.metric: replace(score, params={**score.params, "classifier_sha256": classifier.sha256})}

    return compare


fid = of_sets(_frechet(FID.name), FID.name)
fid_clip = of_sets(_frechet(FID_CLIP.name), FID_CLIP.name)
fd_dinov2 = of_sets(_frechet(FD_DINOV2.name), FD_DINOV2.name)
infinity = of_sets(_infinity, FID_INFINITY.name)
kernel = of_sets(_kid, "kid")
gaussian = of_sets(_cmmd, "cmmd")
manifold = of_sets(_prdc, "precision", "recall", "density", "coverage")
memorisation = of_sets(_mifid, "memorisation-distance", "mifid")
inception = of_sets(_classes(INCEPTION_SCORE), INCEPTION_SCORE.name)
classifier = of_sets(_classes(CLASSIFIER_SCORE), CLASSIFIER_SCORE.name)
