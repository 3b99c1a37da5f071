"""Metrics of one group of images, averaged over groups: how alike or how diverse the images of one prompt are."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from semscale.measures.given import Given
from semscale.measures.measure import OfItems
from semscale.measures.rows import some_rows
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.diversity import mean_distance, mode_count, vendi
from semscale.metrics.features import BLOCK
from semscale.model import Array, Score

LEAST = 2  # valid images of a group, as for scs
ENDLESS = (1.0, float("inf"))


def vendi_of_groups(given: Given, preset: str) -> OfItems:
    """The Vendi score of each group; the preset is `q=` and its order."""
    q = float(preset.removeprefix("q="))
    return _of_groups(given, lambda rows: vendi(rows, q=q), ENDLESS, {"q": q, "kernel": "cosine"})


def modes_of_groups(given: Given, preset: str) -> OfItems:
    """The number of modes of each group; the preset is `t=` and the cosine that joins two images."""
    threshold = float(preset.removeprefix("t="))
    params = {"threshold": threshold, "linkage": "single"}
    return _of_groups(given, lambda rows: mode_count(rows, threshold), ENDLESS, params)


def distance_in_groups(given: Given, _: str) -> OfItems:
    """The mean distance of the images of each group."""
    return _of_groups(given, mean_distance, (0.0, 2.0), {})


def _of_groups(
    given: Given, measured: Callable[[Array], Score], bounds: tuple[float, float], params: dict[str, object]
) -> OfItems:
    groups = given.groups
    order = np.argsort(groups.of_row, kind="stable")
    bounded = np.searchsorted(groups.of_row[order], np.arange(len(groups) + 1))
    values, invalid = np.full(len(groups), np.nan), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)  # groups that are too small are left out below
        for group in range(len(groups)):
            rows = order[bounded[group] : bounded[group + 1]]
            if len(rows):
                mine = some_rows(given.store, rows)
                score = measured(mine if len(rows) > BLOCK else mine[:])  # type: ignore[arg-type]
                invalid += int(score.params["n_invalid"])
                values[group] = score.value if score.n >= LEAST else np.nan
    excluded = {"n_excluded": int(np.isnan(values).sum()), "least_images": LEAST}
    models = np.array([*groups.model, None], dtype=object)[:-1]
    return OfItems(values, np.arange(len(groups)), models, "group", bounds, invalid, {**params, **excluded})
