"""Models compared over the prompts that all of them have: `compare_runs`, which `semscale compare` prints.

    from semscale.study.comparison.comparing import compare_runs
    found = compare_runs("results/sdxl", "results/pixart")  # or one folder, and models=("sdxl", "pixart")
    found.metrics[0].pairs[0].sentence  # "pixart is more consistent than sdxl: +4.5 [3.9, 5.2] scs over 100 prompts …"
    found.metrics[0].pairs[0].statistics.wilcoxon.p

Results are joined by prompt and seed, never by row. All statistics are of prompts: images of one prompt are no
independent samples of what a model does with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from semscale.errors import UsageError
from semscale.model import Array
from semscale.report.names import apart
from semscale.stats.comparison import Comparison, compare
from semscale.stats.multiplicity import holm
from semscale.study.comparison.cautions import cautions
from semscale.study.comparison.common_seeds import common_consistency
from semscale.study.comparison.matching import Images, Prompts, match_images, match_prompts, unmatched, values_of
from semscale.study.comparison.measured import FIRST, Metric, choose, differences
from semscale.study.comparison.results import read_results
from semscale.study.comparison.sides import Side, sides
from semscale.study.comparison.turning import turned
from semscale.study.comparison.words import a_is_ahead, is_shown, sentence


@dataclass(frozen=True, slots=True, eq=False)
class ComparedPair:
    """Two models by one metric. Differences are a - b."""

    a: str
    b: str
    columns: tuple[int, int]  # which of the S models they are
    statistics: Comparison
    p: float  # of the Wilcoxon test; adjusted by Holm over the pairs of models where there are several
    adjusted: bool
    ahead: str | None  # the one that is better, or higher where neither end is better; None where it is not shown
    sentence: str  # what to say of it, in one line


def ahead_first(pair: ComparedPair) -> ComparedPair:
    """The pair as people are shown it: with the one that is ahead as the first, as the sentence has it."""
    if pair.ahead != pair.b:
        return pair
    return replace(pair, a=pair.b, b=pair.a, columns=pair.columns[::-1], statistics=turned(pair.statistics))


@dataclass(frozen=True, slots=True, eq=False)
class ComparedMetric:
    """All models by one metric."""

    metric: Metric
    places: Array  # (n,) which of the joined prompts have a value in all models; the rest are left out
    values: Array  # (n, S) float64
    left_out: tuple[str, ...]  # prompts without a value in some model, as for scs those of fewer than two images
    pairs: tuple[ComparedPair, ...]  # every two of the S models


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Several models compared."""

    sides: tuple[Side, ...]
    prompts: Prompts
    images: Images
    metrics: tuple[ComparedMetric, ...]
    unmatched: pa.Table  # prompts and seeds that only some have: matching.UNMATCHED
    warnings: tuple[str, ...]
    prompt_map: str
    common_seeds: bool  # whether scs is of the images of shared seeds alone
    seed: int  # of everything that is drawn


def compare_runs(
    *folders: str | Path,
    models: Sequence[str] = (),
    metrics: Sequence[str] = (),
    prompt_map: str = "",
    seed: int = 0,
    common_seeds: bool = False,
    force: bool = False,
) -> Study:
    """Compare the results of `semscale score` in several folders, or several `models` of one folder.

    `metrics` are names of scores or columns, by default all that every model has by prompt or by image. `prompt_map`
    is what prompt_maps.map_prompts takes. `common_seeds` computes scs again, from the kept embeddings, of the images
    of seeds that all models have. `force` compares scores of different encoders and presets, with a warning, which
    otherwise raises UsageError, as do a missing folder, model, metric or file, and results that have no prompt in
    common. Raises StoreError for a file that cannot be read.
    """
    if not folders:
        raise UsageError("no results to compare; give one or more folders that `semscale score` wrote")
    read = {path: read_results(path) for path in dict.fromkeys(map(Path, folders))}
    chosen = sides([read[Path(folder)] for folder in folders], models)
    measured = choose(chosen, metrics)
    refused, noted = differences(chosen, measured)
    if refused and not force:
        raise UsageError(
            f"{refused[0]}; score both in the same way, name others with --metric, or take it as it is with --force"
        )
    prompts = match_prompts(chosen, prompt_map)
    images = match_images(chosen, prompts, measured)
    compared = tuple(
        _metric(
            metric,
            [side.label for side in chosen],
            prompts,
            _values(metric, chosen, prompts, images, common_seeds),
            seed,
        )
        for metric in measured
    )
    loose = unmatched(chosen, prompts, images)
    values = {each.metric.name: each.values for each in compared}
    told = (*refused, *noted, *cautions(chosen, prompts, images, loose, values, common_seeds=common_seeds))
    return Study(chosen, prompts, images, compared, loose, told, prompt_map, common_seeds, seed)


def _values(metric: Metric, chosen: Sequence[Side], prompts: Prompts, images: Images, common_seeds: bool) -> Array:
    if common_seeds and metric.name.split("@")[0] == FIRST:
        return common_consistency(metric.name, chosen, prompts)
    return values_of(metric, chosen, prompts, images)


def _metric(metric: Metric, labels: Sequence[str], prompts: Prompts, values: Array, seed: int) -> ComparedMetric:
    whole = np.isfinite(values).all(axis=1)
    left_out = tuple(prompts.joined.keys[row] for row in np.flatnonzero(~whole))
    kept = values[whole]
    return ComparedMetric(metric, np.flatnonzero(whole), kept, left_out, _pairs(metric, labels, kept, seed))


def _pairs(metric: Metric, labels: Sequence[str], values: Array, seed: int) -> tuple[ComparedPair, ...]:
    both = list(combinations(range(len(labels)), 2))
    found = [compare(values[:, a], values[:, b], seed=seed) for a, b in both]
    several = len(both) > 1
    p = np.array([each.wilcoxon.p for each in found])
    p = holm(p) if several else p
    return tuple(
        _pair(metric, labels, columns, each, float(at), adjusted=several)
        for columns, each, at in zip(both, found, p, strict=True)
    )


def _pair(
    metric: Metric, labels: Sequence[str], columns: tuple[int, int], found: Comparison, p: float, *, adjusted: bool
) -> ComparedPair:
    (a, first), (b, second) = (list(zip(labels, apart(labels), strict=True))[n] for n in columns)
    ahead = (a if a_is_ahead(metric, found) else b) if is_shown(found, p) else None
    told = sentence(metric, (first, second), found, p, adjusted=adjusted)
    return ComparedPair(a, b, columns, found, p, adjusted, ahead, told)
