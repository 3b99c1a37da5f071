"""Retrieval: does an image find its text among all texts, and a text its images among all images?

What belongs together is given by position, and several items may belong to one: images of one prompt, captions of one
image. Candidates are ranked by cosine. Ties are pessimistic: whatever is equal to a relevant item to within rounding
(TIE) and not relevant itself comes before it, so that a model which says the same of everything finds nothing.
Cosines are float64, a block of queries against a block of candidates at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.features import Features, check_dims, directed, open_features
from semscale.metrics.means import cosines_of, joined, spans
from semscale.metrics.shares import clustered_mean, clustered_share
from semscale.metrics.vectors import unit_rows
from semscale.model import Array, Interval, Score

TIE = 1e-12  # cosines in float64 differ by less from rounding alone, up to thousands of dimensions
FEW = 16  # relevant items of a query that are compared one by one; more are looked up in sorted cosines
TOPS = (1, 5, 10)
PRESETS = {
    "hit": "recall@k is the share of queries with a relevant item among the first k: R@k of CLIP and its kin",
    "share": "recall@k is the mean share of a query's relevant items that are among the first k: as in text retrieval",
}

IMAGE_TO_TEXT = Description(
    name="retrieval-image-to-text",
    what="how far up an image finds its own text among all texts: recall@k, precision@k, mAP, median rank",
    formula="recall@k as the preset says; precision@k = relevant among the first k / k; mAP = mean over queries of the "
    "mean over their relevant items of j / rank of the j-th; median over queries of the first relevant rank, from 1",
    range="0 to 1, median rank at least 1; all get harder with the number of candidates, which `params` gives",
    better="higher",
    estimator="means over queries; equal cosines are ranked against the model. Interval: Student t, or Wilson for "
    "hits, over clusters of queries that share their best relevant item. Invalid rows, and queries without a valid "
    "relevant item, are left out and counted",
    smallest_n=2,
    of="images with a text",
    source="Karpathy and Fei-Fei 2015, arXiv 1412.2306 (R@k, median rank); Radford et al. 2021, arXiv 2103.00020",
    presets=PRESETS,
)
TEXT_TO_IMAGE = dataclasses.replace(
    IMAGE_TO_TEXT,
    name="retrieval-text-to-image",
    what="how far up a text finds its own images among all images: recall@k, precision@k, mAP, median rank",
    of="texts with an image",
)


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """What Q queries of one direction found. All scores but the median rank are better when higher."""

    recall: tuple[Score, ...]  # one for each k
    precision: tuple[Score, ...]  # one for each k
    mean_average_precision: Score
    median_rank: Score
    first_rank: Array  # (Q,) int64 rank of each query's first relevant item, from 1; 0 where it is left out


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Valid queries that have a relevant item, valid candidates, and which belong together."""

    queries: Features
    candidates: Features
    owner: Array  # (P,) int64 rising: position of a query
    relevant: Array  # (P,) int64: position of a candidate that belongs to it


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Where the relevant items are, those of each query best first."""

    starts: Array  # (q,) int64: where the items of each query begin
    ranks: Array  # (P,) int64 from 1
    nth: Array  # (P,) int64 from 1: which of its query's relevant items it is
    clusters: Array  # (q,) int64: the best relevant item


def image_to_text(
    images: Array, texts: Array, belongs: Array, *, tops: Sequence[int] = TOPS, preset: str = "hit"
) -> Retrieval:
    """(N, D) image and (M, D) text embeddings, and what belongs together -> how images find their texts.

    `belongs` is (N,), the row of each image's text, or (P, 2) pairs of image row and text row where images have several
    texts. Invalid rows are left out and counted. A k above the number of candidates takes all of them, precision@k
    divides by k all the same. Raises UsageError when shapes, rows, `tops` or `preset` do not fit.
    """
    pairs = _pairs(belongs, len(images), len(texts))
    return _retrieval(IMAGE_TO_TEXT, (images, texts), pairs, tops, preset)


def text_to_image(
    images: Array, texts: Array, belongs: Array, *, tops: Sequence[int] = TOPS, preset: str = "hit"
) -> Retrieval:
    """The same arguments -> how texts find their images. Texts without an image are left out and counted."""
    pairs = _pairs(belongs, len(images), len(texts))
    return _retrieval(TEXT_TO_IMAGE, (texts, images), pairs[:, ::-1], tops, preset)


def _retrieval(
    described: Description, sides: tuple[Array, Array], pairs: Array, tops: Sequence[int], preset: str
) -> Retrieval:
    if preset not in PRESETS:
        raise UsageError(f"unknown recall preset {preset!r}; choose from {', '.join(PRESETS)}")
    if not tops or any(not isinstance(k, (int, np.integer)) or k < 1 for k in tops):
        raise UsageError(f"retrieval: tops of {tops}; give whole numbers from 1")
    queries, candidates = (open_features(side, directed) for side in sides)
    check_dims(queries.dim, candidates.dim)
    asked = _asked(queries, candidates, pairs)
    params = {
        "preset": preset,
        "ties": "pessimistic",
        "n_queries": len(asked.queries),
        "n_candidates": len(candidates),
        "n_invalid": queries.n_invalid,
        "n_invalid_candidates": candidates.n_invalid,
        "n_without_relevant": len(queries) - len(asked.queries),
    }
    warn_if_few(described, len(asked.queries))
    return _scores(described, asked, _found(asked), tops, params)


def _asked(queries: Features, candidates: Features, pairs: Array) -> _Asked:
    """(P, 2) rows of queries and candidates -> those that are valid, by position."""
    owner, relevant = (_positions(side)[rows] for side, rows in zip((queries, candidates), pairs.T, strict=True))
    valid = (owner >= 0) & (relevant >= 0)
    kept = np.unique(np.stack([owner[valid], relevant[valid]], axis=1), axis=0)
    asking, owner = np.unique(kept[:, 0], return_inverse=True)
    return _Asked(queries.take(asking), candidates, owner, kept[:, 1])


def _positions(side: Features) -> Array:
    """(N,) place of each row among those that count; -1 where it does not."""
    positions = np.full(len(side.array), -1)
    positions[side.rows] = np.arange(len(side))
    return positions


def _found(asked: _Asked) -> _Found:
    """Rank the relevant items: the j-th of its query comes after j - 1 others and whatever is not worse."""
    cosines = joined(
        cosines_of(_rows(asked.queries, asked.owner[at]), _rows(asked.candidates, asked.relevant[at]))
        for at in spans(len(asked.owner))
    )
    order = np.lexsort((-cosines, asked.owner))
    asked = dataclasses.replace(asked, relevant=asked.relevant[order])  # owners rise already
    starts = np.searchsorted(asked.owner, np.arange(len(asked.queries)))
    nth = np.arange(len(order)) - starts[asked.owner] + 1
    ranks = nth + _ahead(asked, cosines[order] - TIE)
    return _Found(starts, ranks, nth, asked.relevant[starts])


def _rows(side: Features, positions: Array) -> Array:
    return side.array[side.rows[positions]]


def _ahead(asked: _Asked, floors: Array) -> Array:
    """(P,) floors of the relevant items -> (P,) how many candidates that are not relevant reach them."""
    ahead = np.zeros(len(floors), np.int64)
    for rows in spans(len(asked.queries)):
        units, _ = unit_rows(asked.queries.block(rows.start, rows.stop))
        part = slice(*np.searchsorted(asked.owner, (rows.start, rows.stop)))
        owner, relevant = asked.owner[part] - rows.start, asked.relevant[part]
        for columns in spans(len(asked.candidates)):
            others, _ = unit_rows(asked.candidates.block(columns.start, columns.stop))
            cosines = units @ others.T
            inside = (relevant >= columns.start) & (relevant < columns.stop)
            cosines[owner[inside], relevant[inside] - columns.start] = -np.inf
            ahead[part] += _reaching(cosines, owner, floors[part])
    return ahead


def _reaching(cosines: Array, owner: Array, floors: Array) -> Array:
    """(b, c) cosines, (p,) floors and the rows they are for, rising -> (p,) how many of its row reach each floor."""
    starts = np.searchsorted(owner, np.arange(len(cosines) + 1))
    sizes = np.diff(starts)
    found = np.empty(len(floors), np.int64)
    for nth in range(min(int(sizes.max()), FEW)):
        rows = np.flatnonzero((sizes > nth) & (sizes <= FEW))
        at = starts[rows] + nth
        of_rows = cosines if len(rows) == len(cosines) else cosines[rows]  # which would copy
        found[at] = np.count_nonzero(of_rows >= floors[at, None], axis=1)
    for row in np.flatnonzero(sizes > FEW):
        at = slice(starts[row], starts[row + 1])
        found[at] = cosines.shape[1] - np.searchsorted(np.sort(cosines[row]), floors[at])
    return found


def _scores(
    described: Description, asked: _Asked, found: _Found, tops: Sequence[int], params: Mapping[str, Any]
) -> Retrieval:
    n_relevant = np.diff(np.append(found.starts, len(found.ranks)))
    first = found.ranks[found.starts]

    def score(what: str, values: Array, k: int | None = None) -> Score:
        value = float(values.mean()) if len(values) else float("nan")
        told = params if k is None else {**params, "k": int(k)}
        return Score(f"{described.name}-{what}", value, len(values), _interval(values, found.clusters), True, told)

    among = [_sums(found, found.ranks <= k) for k in tops]
    hit = params["preset"] == "hit"
    recalls = [first <= k if hit else many / n_relevant for k, many in zip(tops, among, strict=True)]
    median = float(np.median(first)) if len(first) else float("nan")
    all_ranks = np.zeros(len(asked.queries.array), np.int64)
    all_ranks[asked.queries.rows] = first
    return Retrieval(
        tuple(score(f"recall@{k}", values, k) for k, values in zip(tops, recalls, strict=True)),
        tuple(score(f"precision@{k}", many / k, k) for k, many in zip(tops, among, strict=True)),
        score("map", _sums(found, found.nth / found.ranks) / n_relevant),
        Score(f"{described.name}-median-rank", median, len(first), None, False, params),
        all_ranks,
    )


def _sums(found: _Found, values: Array) -> Array:
    """(P,) values of relevant items -> (q,) their sums by query."""
    return np.add.reduceat(values.astype(np.float64), found.starts) if len(values) else np.zeros(0)


def _interval(values: Array, clusters: Array) -> Interval | None:
    if not len(values):
        return None
    return clustered_share(values, clusters, "queries") if values.dtype == bool else clustered_mean(values, clusters)


def _pairs(belongs: Array, n_images: int, n_texts: int) -> Array:
    """-> (P, 2) int64 rows of images and texts."""
    of = np.asarray(belongs)
    if of.shape != (n_images,) and (of.ndim != 2 or of.shape[1] != 2):
        raise UsageError(
            f"retrieval: {n_images} images and what belongs to them of shape {of.shape}; need the text of each, "
            f"({n_images},), or pairs of image and text, (P, 2)"
        )
    if not np.issubdtype(of.dtype, np.integer):
        raise UsageError(f"retrieval: what belongs together is of {of.dtype}; need whole numbers, rows of the arrays")
    pairs = of if of.ndim == 2 else np.stack([np.arange(n_images), of], axis=1)
    if len(pairs) and (pairs.min() < 0 or (pairs >= (n_images, n_texts)).any()):
        raise UsageError(
            f"retrieval: a pair names a row that is not there; images 0 to {n_images - 1}, texts 0 to {n_texts - 1}"
        )
    return pairs.astype(np.int64)
