"""Precision, recall, density and coverage: how two sets of features lie in each other's k-nearest-neighbour balls.

Around each image of a set stands a ball that reaches to its k-th nearest other image of that set, in Euclidean
distance of the features as given, not normalised. Precision and density ask where generated images lie in the balls of
the real ones, coverage which of these balls are reached, recall where real images lie in the balls of the generated
ones. Repeated rows shrink balls: where an image occurs more than k times its ball is empty, so repeats are counted.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.description import Description, warn_if_few
from semscale.metrics.distances import Join, Points, nearest_squares, points_of
from semscale.metrics.features import Features, open_pair
from semscale.metrics.means import spans
from semscale.model import Array, Score


@dataclass(frozen=True, slots=True)
class Convention:
    """Which neighbour a ball reaches to, and whether its surface belongs to it."""

    name: str
    k: int
    strict: bool  # inside means nearer than the radius, not as near
    source: str


PRESETS = {
    one.name: one
    for one in (
        Convention("prdc", 5, True, "k = 5, inside is <: the prdc package and dgm-eval"),
        Convention("torch-fidelity", 3, False, "k = 3, inside is <=: torch-fidelity, after Kynkäänniemi et al. 2019"),
    )
}
DEFAULT = PRESETS["prdc"]

PRECISION = Description(
    name="precision",
    what="the share of generated images that lie among the real ones",
    formula="mean over generated g of [g lies in the ball of any real r], the radius being r's distance to its k-th "
    "nearest other real image",
    range="0 to 1",
    better="higher",
    estimator="plug-in: depends on the sizes of both sets and grows with outliers among the real images, so compare at "
    "equal sizes only. No interval: the balls are of the same sample",
    smallest_n=1000,
    of="images of each set",
    source="Kynkäänniemi et al. 2019, arXiv 1904.06991",
    presets={one.name: one.source for one in PRESETS.values()},
)
RECALL = dataclasses.replace(
    PRECISION,
    name="recall",
    what="the share of real images that lie among the generated ones",
    formula="mean over real r of [r lies in the ball of any generated g], the radius being g's distance to its k-th "
    "nearest other generated image",
    estimator="as precision; grows with outliers among the generated images",
)
DENSITY = dataclasses.replace(
    PRECISION,
    name="density",
    what="how many balls of real images a generated image lies in, against the k it would be expected to",
    formula="1 / (k M) times the number of pairs (r, g) with g in the ball of real r, M generated images",
    range="at least 0; about 1 where both sets are alike, above 1 where generated images crowd",
    estimator="as precision, but outliers count less",
    source="Naeem et al. 2020, arXiv 2002.09797",
    presets={
        "prdc": PRESETS["prdc"].source,
        "torch-fidelity": "k = 3, inside is <=, as in torch-fidelity, which has only precision and recall",
    },
)
COVERAGE = dataclasses.replace(
    PRECISION,
    name="coverage",
    what="the share of real images that have a generated image nearby",
    formula="mean over real r of [any generated g lies in the ball of r]",
    estimator="as precision, but outliers among the generated images do not raise it; of equal distributions and sizes "
    "1 - 2^-k is expected, not 1",
    source="Naeem et al. 2020, arXiv 2002.09797",
    presets=DENSITY.presets,
)
ALL_FOUR = dataclasses.replace(PRECISION, name="precision, recall, density and coverage")


@dataclass(frozen=True, slots=True)
class Prdc:
    """The four scores of one comparison."""

    precision: Score
    recall: Score
    density: Score
    coverage: Score


@dataclass(frozen=True, slots=True)
class _Found:
    """What lies in whose ball."""

    precise: Array  # (M,) bool: generated images in the ball of a real one
    recalled: Array  # (N,) bool: real images in the ball of a generated one
    covered: Array  # (N,) bool: real images with a generated one in their ball
    pairs: int  # of a generated image in the ball of a real one


def prdc(real: Array, fake: Array, *, k: int = DEFAULT.k, strict: bool = DEFAULT.strict) -> Prdc:
    """(N, D) features of real and (M, D) of generated images -> precision, recall, density, coverage.

    Higher is better. Not symmetric: exchanging the sets exchanges precision and recall. Exact: every comparison is
    decided in float64 on the rows as given, an image is left out of its own neighbours by position. NaN where a set
    has not more than `k` images to draw balls from. Rows with a NaN or an infinity are left out and counted, repeated
    rows kept and counted. Raises UsageError when D differs and for `k` below 1.
    """
    if k < 1:
        raise UsageError(f"precision and recall: k of {k}; a ball reaches to the first neighbour or a later one")
    sets = open_pair(real, fake)
    warn_if_few(ALL_FOUR, min(len(one) for one in sets))
    points, others = points_of(*sets)
    radii = _radii(points, k), _radii(others, k)
    found = _compare(points, others, *radii, strict=strict)
    return _scores(found, k, _params(sets, radii, k, strict))


def _radii(points: Points, k: int) -> Array:
    """(N,) squared radii; NaN where there are too few images."""
    return nearest_squares(points, k) if len(points) > k else np.full(len(points), np.nan)


def _compare(real: Points, fake: Points, real_radii: Array, fake_radii: Array, *, strict: bool) -> _Found:
    """Squared radii (N,) and (M,) -> what lies where; nothing lies in a ball whose radius is NaN."""
    holds = np.less if strict else np.less_equal
    precise, recalled, covered, pairs = (
        np.zeros(len(fake), bool),
        np.zeros(len(real), bool),
        np.zeros(len(real), bool),
        0,
    )
    if len(real) and len(fake):
        join = Join(fake, real)
        for rows in spans(len(fake)):
            for tile in join.tiles(rows):
                generated, reached = join.inside(tile, real_radii[tile.columns], holds)
                precise[rows.start + generated] = True
                covered[tile.columns.start + reached] = True
                pairs += len(generated)
                _, among = join.inside(tile, fake_radii[rows][:, None], holds)
                recalled[tile.columns.start + among] = True
    return _Found(precise, recalled, covered, pairs)


def _scores(found: _Found, k: int, params: Mapping[str, Any]) -> Prdc:
    n_real, n_fake = len(found.recalled), len(found.precise)
    balls_real, balls_fake = n_real > k and n_fake > 0, n_fake > k and n_real > 0
    return Prdc(
        _score(PRECISION, _share(found.precise, balls_real), n_fake, params),
        _score(RECALL, _share(found.recalled, balls_fake), n_real, params),
        _score(DENSITY, found.pairs / (k * n_fake) if balls_real else float("nan"), n_fake, params),
        _score(COVERAGE, _share(found.covered, balls_real), n_real, params),
    )


def _score(described: Description, value: float, n: int, params: Mapping[str, Any]) -> Score:
    return Score(described.name, value, n, None, True, params)


def _share(hit: Array, defined: bool) -> float:
    return float(hit.mean()) if defined else float("nan")


def _params(sets: tuple[Features, ...], radii: tuple[Array, ...], k: int, strict: bool) -> Mapping[str, Any]:
    known = [one.name for one in PRESETS.values() if (one.k, one.strict) == (k, strict)]
    (real, fake), duplicates = sets, [count_duplicates(one) for one in sets]
    return {
        "preset": known[0] if known else f"k {k}, {'<' if strict else '<='}",
        "k": k,
        "strict": strict,
        "distance": "Euclidean, features not normalised",
        "n_real": len(real),
        "n_fake": len(fake),
        "n_invalid": real.n_invalid + fake.n_invalid,
        "n_duplicates": sum(duplicates),
        "n_duplicates_real": duplicates[0],
        "n_duplicates_fake": duplicates[1],
        "n_empty_balls_real": int((radii[0] == 0).sum()),
        "n_empty_balls_fake": int((radii[1] == 0).sum()),
        "dim": real.dim,
    }


def count_duplicates(features: Features) -> int:
    """Rows whose numbers all equal those of an earlier row, found by 64-bit digests of their values."""
    digests = [_digest(row) for block in features.blocks() for row in block + 0.0]  # -0 becomes 0
    return len(digests) - len(np.unique(np.array(digests, np.uint64)))


def _digest(row: Array) -> int:
    return int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")
