"""RefCLIPScore of each image: how well its text fits the image and what others have said of it."""

from __future__ import annotations

import numpy as np

from semscale.errors import UsageError
from semscale.measures.given import Given
from semscale.measures.measure import OfItems
from semscale.measures.rows import some_rows
from semscale.metrics.references import PRESETS, Convention, bounds, ref_clip_scores
from semscale.model import Array

BLOCK = 4096  # images whose embeddings are in memory at once


def ref_clip(given: Given, preset: str) -> OfItems:
    """RefCLIPScore of the images that have a text and a reference caption; the others are counted.

    Texts and captions are encoded with the preset's own words before them. Raises UsageError where no caption fits.
    """
    captions, convention = given.captions, PRESETS[preset]
    assert captions is not None, "checked before anything was embedded"
    known = given.store.metadata(["key", "caption"])
    texts = known.column("caption").to_pylist()
    images, numbers = captions.owners(known.column("key").to_pylist(), texts)
    held = np.array([text is not None for text in texts], bool)[images]
    images, numbers = images[held], numbers[held]
    if not len(images):
        what = "text" if captions.of_texts else "key"
        raise UsageError(f"{captions.path}: no caption is of an image here that has a text; compare the {what} column")
    vectors, cut, place = _encoded(given, [text for text in texts if text is not None], captions.caption, convention)
    text_of = np.array([-1 if text is None else place[convention.prefix + text] for text in texts])
    caption_of = np.array([place[convention.prefix + caption] for caption in captions.caption])
    values = np.full(len(texts), np.nan)
    used = np.unique(images)
    for at in range(0, len(used), BLOCK):
        rows = used[at : at + BLOCK]
        mine = np.isin(images, rows)
        own = np.searchsorted(rows, images[mine])
        block = some_rows(given.store, rows)[:]
        references = vectors[caption_of[numbers[mine]]]
        values[rows] = ref_clip_scores(block, vectors[text_of[rows]], references, owners=own, convention=convention)
    params = {
        "scale": convention.scale,
        "clamp": "both sides" if convention.clamp_references else "image side",
        "prefix": convention.prefix,
        "n_references": len(numbers),
        "n_without_reference": len(values) - len(used),
        "n_unused_captions": len(captions.caption) - len(np.unique(numbers)),
        "n_truncated": cut,
    }
    missing = int(np.isnan(values[used]).sum())
    return OfItems(values, given.groups.of_row, given.models, "image", bounds(convention), missing, params)


def _encoded(
    given: Given, texts: list[str], captions: list[str], convention: Convention
) -> tuple[Array, int, dict[str, int]]:
    """(T, D) embeddings of all distinct texts, how many were cut, and the row of each."""
    distinct = tuple(dict.fromkeys(convention.prefix + text for text in (*texts, *captions)))
    vectors, cut = given.encode_texts(distinct)
    return vectors, int(cut.sum()), {text: row for row, text in enumerate(distinct)}
