"""The items on which raters and a metric differ, as agreement.json has them: with the images that raters saw."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from semscale.study.agreement.agreeing import Agreement
from semscale.study.agreement.of_metric import MetricAgreement

LISTED = 100  # items that agreement.json names; items.parquet has all
MAX_PICTURED = 24  # of them with images
MAX_IMAGES = 8  # of one model and item


def disagreements(found: Agreement) -> list[dict[str, Any]]:
    """The first items on which majority and metric differ, those on which raters are most of one mind first."""
    metric, task = found.metric, found.ratings.task
    if metric is None:
        return []
    return [
        {
            "item": task.items[n].item,
            "prompt": writable(task.items[n].prompt),
            "votes": dict(zip(task.models, found.counts[n].tolist(), strict=True)),
            "majority": task.models[found.majority[n]],
            "values": dict(zip(task.models, metric.values[n].tolist(), strict=True)),
            "choice": task.models[metric.choice[n]],
        }
        for n in found.disagreements[:LISTED]
    ]


def pictured(found: Agreement) -> list[dict[str, Any]]:
    """The same, the first of them with `images`: key, uri and sha256 of what raters saw, by model."""
    told, metric = disagreements(found), found.metric
    places = found.disagreements[:MAX_PICTURED]
    if metric is None or not places:
        return told
    images = [_images(found, metric, places, side) for side in (0, 1)]
    models = found.ratings.task.models
    return [
        {**each, "images": {model: of_side.get(n, []) for model, of_side in zip(models, images, strict=True)}}
        for each, n in zip(told, places, strict=False)
    ] + told[len(places) :]


def _images(found: Agreement, metric: MetricAgreement, places: list[int], side: int) -> dict[int, list[dict[str, Any]]]:
    """The images of one model that raters saw of some items, by rising seed; all, where no seeds are known."""
    place_of = {names[side]: n for n in places if (names := metric.names[n]) is not None}
    chosen = metric.sides[side]
    table = chosen.results.images_of(chosen.model, ["key", "uri", "sha256"])
    table = table.filter(pc.is_in(table["group"], value_set=pa.array(list(place_of), pa.string())))
    found_of: dict[int, list[dict[str, Any]]] = {}
    for row in table.sort_by([("seed", "ascending"), ("key", "ascending")]).to_pylist():
        n = place_of[row["group"]]
        shown, mine = found.ratings.task.items[n].seeds, found_of.setdefault(n, [])
        if len(mine) < MAX_IMAGES and (not shown or row["seed"] is None or row["seed"] in shown):
            mine.append({name: row[name] for name in ("key", "uri", "sha256")})
    return found_of


def writable(text: str) -> str:
    """Text that a table can hold: lone surrogates, of file names that are not UTF-8, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
