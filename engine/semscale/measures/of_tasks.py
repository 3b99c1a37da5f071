"""Tasks that embeddings solve: telling classes apart, and finding texts by images and images by texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from semscale.errors import UsageError
from semscale.measures.given import Given, Subset
from semscale.measures.of_sets import of_sets
from semscale.metrics.retrieval import Retrieval, image_to_text, text_to_image
from semscale.metrics.zero_shot import class_vectors, prompts, zero_shot
from semscale.model import Array, Score
from semscale.store import Store


def _classes(subset: Subset, given: Given, _: str) -> Mapping[str, Score]:
    """Top-1 and top-5 of the images whose group is one of the labels."""
    labels = given.labels
    assert labels is not None, "checked before anything was embedded"
    texts, cut = given.encode_texts(tuple(prompts(labels.names, labels.templates)))
    classes = class_vectors(texts.reshape(len(labels.names), len(labels.templates), -1))
    place = {name: number for number, name in enumerate(labels.names)}
    group = given.groups.of_row[subset.rows.rows]
    truth = np.array([place.get(name, -1) for name in given.groups.name], np.int64)[group]
    if not (truth >= 0).any():
        raise UsageError(f"zero-shot: no group is one of the {len(labels.names)} labels, so no truth is known")
    known = replace(subset.rows, rows=subset.rows.rows[truth >= 0])
    found = zero_shot(known, classes, truth[truth >= 0])  # type: ignore[arg-type]
    facts = {"n_unlabelled": int((truth < 0).sum()), "labels": len(place), "templates": list(labels.templates)}
    facts["n_truncated"] = int(cut.sum())
    of_class = {name: float(share) for name, share in zip(labels.names, found.per_class, strict=True)}
    facts |= {"per_class": of_class, "confusion": _confusion(found.confusion, labels.names)}
    return {one.metric: replace(one, params={**one.params, **facts}) for one in (found.top1, found.top5)}


def _confusion(counts: Array, names: tuple[str, ...]) -> list[list[str | int]]:
    """The pairs of classes that occur: true class, predicted class, images."""
    return [[names[t], names[p], int(counts[t, p])] for t, p in zip(*np.nonzero(counts), strict=True)]


def _retrieval(direction: Callable[..., Retrieval]) -> Callable[[Subset, Given, str], Mapping[str, Score]]:
    def compare(subset: Subset, given: Given, preset: str) -> Mapping[str, Score]:
        belongs, texts = texts_of(given.store)
        mine = belongs[subset.rows.rows]
        if not (mine >= 0).any():
            raise UsageError(f"{given.store.spec.source}: no image has a text to be found by")
        images = replace(subset.rows, rows=subset.rows.rows[mine >= 0])
        used, place = np.unique(mine[mine >= 0], return_inverse=True)
        found = direction(images, given.store.texts.take(texts[used]), place, preset=preset)
        scores = (*found.recall, *found.precision, found.mean_average_precision, found.median_rank)
        return {one.metric: one for one in scores}

    return compare


def texts_of(store: Store) -> tuple[Array, Array]:
    """(N,) the number of each image's text, -1 where it has none, and (M,) a row of `store.texts` for each text.

    The same text is kept once in each shard; here it is one.
    """
    rows = store.text_rows()
    captions = store.metadata(["caption"]).column(0).combine_chunks().dictionary_encode()
    encoded = captions.combine_chunks() if isinstance(captions, pa.ChunkedArray) else captions
    number = np.where(rows >= 0, encoded.indices.fill_null(-1).to_numpy(), -1)
    row_of = np.zeros(len(encoded.dictionary), np.int64)
    row_of[number[number >= 0]] = rows[number >= 0]
    return number, row_of


classes = of_sets(_classes, "zero-shot-top1", "zero-shot-top5")
by_image = of_sets(_retrieval(image_to_text), "retrieval-image-to-text-recall@1")
by_text = of_sets(_retrieval(text_to_image), "retrieval-text-to-image-recall@1")
