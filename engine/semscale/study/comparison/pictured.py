"""The images of a comparison that its page shows: the prompts on which models are furthest apart, seed by seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from semscale.report.side_by_side import COLUMNS, ends, lined_up, lowest_seeds
from semscale.study.comparison.comparing import ComparedMetric, Study, ahead_first
from semscale.study.comparison.sides import Side

EACH_END = 3  # prompts from either end of the differences of two models; of more models, twice as many in all


def pictured(study: Study) -> list[dict[str, Any]]:
    """What comparison.json says of the pictures: prompts by the first metric, with the images of every model shown.

    None where a run does not say where its images are. Raises StoreError when a table of images cannot be read.
    """
    if not all(_tells_where(side) for side in study.sides):
        return []
    compared = study.metrics[0]
    rows = furthest(compared)
    shown = {row: _models(compared, row) for row in rows}
    found = [_images(study, compared, side, [row for row in rows if side in shown[row]])
             for side in range(len(study.sides))]  # fmt: skip
    return [_prompt(study, compared, row, [(side, found[side][row]) for side in shown[row]]) for row in rows]


def furthest(compared: ComparedMetric) -> list[int]:
    """Rows of the values: of two models those at both ends of the differences, of more those furthest apart."""
    if compared.values.shape[1] > 2:
        return np.argsort(-np.ptp(compared.values, axis=1), kind="stable")[: 2 * EACH_END].tolist()
    a, b = ahead_first(compared.pairs[0]).columns
    order = np.argsort(compared.values[:, b] - compared.values[:, a], kind="stable").tolist()
    n_first = min(EACH_END, len(order))
    return [*order[:n_first], *order[max(n_first, len(order) - EACH_END) :]]


def _models(compared: ComparedMetric, row: int) -> list[int]:
    """The models that are shown, two as they are, of more the highest first."""
    n = compared.values.shape[1]
    order = np.argsort(-compared.values[row], kind="stable").tolist()
    return list(range(n)) if n == 2 else ends(order)


def _tells_where(side: Side) -> bool:
    return set(COLUMNS) <= set(pq.read_schema(side.results.folder / "images.parquet").names)


def _images(study: Study, compared: ComparedMetric, number: int, rows: list[int]) -> dict[int, list[dict[str, Any]]]:
    """The images of one model, by row of the metric's values."""
    side, joined = study.sides[number], study.prompts.joined
    names = side.groups["group"]
    groups = {row: names[int(joined.rows[compared.places[row], number])].as_py() for row in rows}
    places = [(side.model, group) for group in groups.values()]
    found = lowest_seeds(side.results.folder / "images.parquet", places)
    return {row: found[side.model, group] for row, group in groups.items()}


def _prompt(
    study: Study, compared: ComparedMetric, row: int, models: list[tuple[int, list[dict[str, Any]]]]
) -> dict[str, Any]:
    lined = lined_up([images for _, images in models])
    return {
        "prompt": study.prompts.joined.keys[compared.places[row]],
        "columns": list(lined.columns),
        "paired": lined.paired,
        "models": [
            {"model": study.sides[side].label, "value": float(compared.values[row, side]), "images": images}
            for (side, _), images in zip(models, lined.images, strict=True)
        ],
    }
