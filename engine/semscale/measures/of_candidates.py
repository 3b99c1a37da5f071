"""Ranking of the images that were made for one prompt, whoever made them."""

from __future__ import annotations

import numpy as np

from semscale.measures.given import Given
from semscale.measures.measure import OfSets
from semscale.measures.of_sets import told
from semscale.measures.of_tasks import texts_of
from semscale.measures.rows import StoredRows, some_rows
from semscale.metrics.means import paired_cosines
from semscale.metrics.ranking import SCALE, ranked, win_share
from semscale.model import Array, Score

NAME = "ranking-win-share"
OF_MODELS = "ranking: all images together win against nobody; `by_model` holds the share of each"
ONE_MODEL = "ranking: the images are of one model, so there is no share of wins; images.parquet ranks them"


def ranking(given: Given, _: str) -> OfSets:
    """How often each model made the best image of a prompt, and each image's chance of being preferred."""
    prompt, cosines = _cosines(given)
    known = prompt >= 0
    models = np.array([name or "" for name in given.models], dtype=object)[known].astype(str)
    names = [name for name in given.subsets if name]
    found = {one: told(lambda one=one: win_share(cosines[known], prompt[known], models, one), NAME) for one in names}
    chances = np.full(len(prompt), np.nan)
    chances[known] = _chances(prompt[known], cosines[known])
    few = len(names) < 2
    nobody = Score(NAME, float("nan"), 0, None, True, {"scale": SCALE})
    by_model = {} if few else {one: score for one, (score, _) in found.items()}
    why = {one: reasons for one, (_, reasons) in found.items()}
    return OfSets({NAME: nobody}, {NAME: by_model}, {**why, "": (ONE_MODEL if few else OF_MODELS,)}, chances)


def _cosines(given: Given) -> tuple[Array, Array]:
    """(N,) number of each image's prompt, -1 where it has none, and (N,) the cosine with it, NaN without one."""
    store = given.store
    prompt, text_row = texts_of(store)[0], store.text_rows()
    cosines = np.full(len(prompt), np.nan)
    having = np.flatnonzero(prompt >= 0)
    texts = StoredRows(store.texts, text_row[having], store.spec.image.normalized)
    images = some_rows(store, having)
    cosines[having] = paired_cosines(images, texts, "ranking, images and texts")  # type: ignore[arg-type]
    return prompt, cosines


def _chances(prompt: Array, cosines: Array) -> Array:
    """(n,) chance of each image of being preferred to the others of its prompt."""
    order = np.argsort(prompt, kind="stable")
    ends = np.flatnonzero(np.diff(prompt[order])) + 1
    chances = np.empty(len(prompt))
    for rows in np.split(order, ends):
        chances[rows] = ranked(cosines[rows]).chances
    return chances
