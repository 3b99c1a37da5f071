"""Whether what came out in case `pairs` is right: brute force in float64, and contestants with each other."""

from __future__ import annotations

import numpy as np

from semscale.model import Array
from semscale.search import Products
from semscale_bench.pair_contestants import OURS, Contestant
from semscale_bench.pair_data import SLICE, THRESHOLD, K, Part

CHECKED = 50  # rows compared with brute force
ROUNDING = 1e-12  # of float64 similarities


def check(rows: Array, part: Part, contestants: list[Contestant], outputs: dict[str, Array]) -> None:
    """Compare semscale with float64 on a sample, and others' pairs with semscale's but for those within rounding.

    Raises AssertionError.
    """
    sample = np.random.default_rng(1).choice(len(part.queries), min(CHECKED, len(part.queries)), replace=False)
    numbers = part.queries[sample]
    exact = _similarities(rows[numbers], rows)
    exact[np.arange(len(numbers)), numbers] = -2.0
    _check_pairs(exact, numbers, outputs[OURS["threshold"]])
    _check_neighbours(exact, outputs[OURS["neighbours"]][sample])
    ours, allowed = _asked(part, outputs[OURS["threshold"]]), Products(precision="float32").bound(rows.shape[1])
    for each in contestants:
        if each.job == "threshold":
            left, right = np.divmod(np.setxor1d(ours, _asked(part, outputs[each.name])), part.n)
            off = np.abs(np.einsum("pd,pd->p", rows[left], rows[right], dtype=np.float64) - THRESHOLD)
            assert (off <= allowed).all(), f"{each.name}: other pairs than float32 may find"


def recall(contestant: Contestant, part: Part, outputs: dict[str, Array]) -> float:
    """Share of what semscale found for the rows asked about that this one found too."""
    ours, found = outputs[OURS[contestant.job]], outputs[contestant.name]
    if contestant.job == "threshold":
        return float(np.isin(_asked(part, ours), found).mean())
    slices = [slice(at, at + SLICE) for at in range(0, len(ours), SLICE)]
    hits = [(found[each, :, None] == ours[each, None, :]).any(axis=1) for each in slices]
    return float(np.concatenate(hits).mean())


def count_found(part: Part, outputs: dict[str, Array]) -> int:
    """About how many pairs are above the threshold; exactly where everything was looked at."""
    return round(len(outputs[OURS["threshold"]]) * part.pairs / part.in_blocks)


def _check_pairs(exact: Array, numbers: Array, pairs: Array) -> None:
    a, b = np.divmod(pairs, exact.shape[1])
    for line, row in zip(exact, numbers, strict=True):
        later = line[row + 1 :]
        found = np.zeros(len(later), bool)
        found[b[a == row] - row - 1] = True
        assert (later[found] >= THRESHOLD - ROUNDING).all(), f"row {row}: a pair below the threshold"
        assert (later[~found] < THRESHOLD + ROUNDING).all(), f"row {row}: a pair is missing"


def _check_neighbours(exact: Array, ids: Array) -> None:
    best = -np.sort(-exact, axis=1)[:, :K]
    assert np.abs(np.take_along_axis(exact, ids, axis=1) - best).max() <= ROUNDING, "other neighbours than the nearest"


def _asked(part: Part, pairs: Array) -> Array:
    """Those pairs whose first row everyone was asked about."""
    return pairs if part.whole else pairs[np.isin(pairs // part.n, part.queries)]


def _similarities(some: Array, rows: Array) -> Array:
    """(s, D), (N, D) -> (s, N) float64 cosines."""
    left = _normalised(some)
    parts = [left @ _normalised(rows[at : at + SLICE]).T for at in range(0, len(rows), SLICE)]
    return np.concatenate(parts, axis=1)


def _normalised(rows: Array) -> Array:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)
