"""Peers that begin at features or embeddings: torch-fidelity, FAISS and scikit-learn, by the cases that have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semscale_bench import metrics_bench, pairs
from semscale_bench.measure import Timing
from semscale_bench.metric_contestants import OURS, TOLERANCE
from semscale_bench.metric_data import Sizes
from semscale_bench.metric_peers import TOLERANCE as IN_FLOAT32
from semscale_bench.metrics_bench import bench_metrics
from semscale_bench.pair_contestants import BASELINES
from semscale_bench.pair_contestants import OURS as OUR_PAIRS
from semscale_bench.pair_entries import case_of, entries
from semscale_bench.pairs import bench_pairs
from semscale_bench.ratios import ratio_of
from semscale_bench.rows import Check, Outcome, Row

FEATURES = Sizes(2048, 1024, group=64)  # those of Inception are 2048 long: `semscale bench frechet`
VECTORS = 5000  # more of them: `semscale bench pairs`
RIVALS = ("FAISS range", "FAISS flat", "scikit")
MISSED = 1e-3  # share of pairs or neighbours that float32 may find otherwise


def features(case: str, python: Path, *, repeats: int) -> Outcome:
    """The Fréchet distance of two sets of features, beside torch-fidelity's by the interpreter `python`."""
    found = bench_metrics(FEATURES, repeats=repeats, jobs=("fid",), python=python)
    timings = {row.name: _of_features(row) for row in found.rows}
    rows = [_feature_row(case, row, timings[row.name]) for row in found.rows]
    said = [_sentence("features to FID", name, OURS, timings[OURS], theirs)
            for name, theirs in timings.items() if name != OURS]  # fmt: skip
    return Outcome(case, "", rows, said, [f"features, {line}" for line in found.absent])


def all_pairs(case: str, *, repeats: int) -> Outcome:
    """All pairs above a threshold, and the nearest of each, beside FAISS and scikit-learn."""
    vectors = case_of(VECTORS, gpu=False)
    names = [each.name for each in entries(vectors)[0]]
    found = bench_pairs(vectors, repeats=repeats, memory=False, rivals=rivals_in(names))
    count = VECTORS * (VECTORS - 1) // 2
    timings = {row.name: Timing(row.name, count, row.seconds) for row in found.rows}
    rows = [_pair_row(case, row, timings[row.name]) for row in found.rows]
    said = [_sentence(f"all pairs, {row.job}", row.name, OUR_PAIRS[row.job], timings[OUR_PAIRS[row.job]],
                      timings[row.name]) for row in found.rows if row.name not in OUR_PAIRS.values()]  # fmt: skip
    rivals = [line for line in found.absent if line.startswith((*BASELINES.values(), "scikit-learn"))]
    return Outcome(case, "", rows, said, rivals)


def rivals_in(names: Sequence[str]) -> tuple[str, ...]:
    """What to ask `bench_pairs` for: semscale, and those of RIVALS that are among the contestants here."""
    return ("semscale", *(rival for rival in RIVALS if any(rival in name for name in names)))


def _of_features(row: metrics_bench.Row) -> Timing:
    return Timing(row.name, 2 * FEATURES.rows, row.seconds, row.peak_bytes)


def _feature_row(case: str, row: metrics_bench.Row, timing: Timing) -> Row:
    limit = TOLERANCE if row.name == OURS else IN_FLOAT32
    name = row.name if row.version is None else f"{row.name} {row.version}"
    data = f"{FEATURES.dim} features"
    return Row(case, f"{name}, FID", data, "rows", timing, Check("relative to plain NumPy", row.off, limit))


def _pair_row(case: str, row: pairs.Row, timing: Timing) -> Row:
    check = Check("share of semscale's missed", 1.0 - row.recall, MISSED)
    return Row(case, row.name if row.name in OUR_PAIRS.values() else f"{row.name}, {row.job}", f"{VECTORS} embeddings",
               "pairs", timing, check)  # fmt: skip


def _sentence(what: str, rival: str, us: str, ours: Timing, theirs: Timing) -> str:
    ratio = ratio_of(ours, theirs)
    return f"{what}, {rival}: {us} is {ratio.median:.2f} times as fast ({ratio.low:.2f} - {ratio.high:.2f})"
