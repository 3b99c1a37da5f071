"""Items on which raters and a metric differ, with pictures: of agreement.html, and of a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semscale.report.format import as_float, number, shorten, tail
from semscale.report.images import Member
from semscale.report.thumbs import Thumb, thumbnail


@dataclass(frozen=True, slots=True)
class Picture:
    """One image that raters saw."""

    thumb: Thumb
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class OneSide:
    """One model's images of an item."""

    model: str
    votes: int
    value: str
    raters_choose: bool
    metric_chooses: bool
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Apart:
    """An item on which raters and metric differ."""

    prompt: str
    sides: tuple[OneSide, ...]


def apart(told: Mapping[str, Any]) -> Apart:
    """Return one of the `disagreements` of agreement.json as it is shown.

    Raises KeyError, TypeError, ValueError and AttributeError where it is none.
    """
    return Apart(shorten(str(told["prompt"]), 300), tuple(_side(told, str(model)) for model in told["votes"]))


def _side(told: Mapping[str, Any], model: str) -> OneSide:
    images = (told.get("images") or {}).get(model) or ()
    return OneSide(
        model=model,
        votes=int(told["votes"][model]),
        value=number(as_float(told["values"][model])),
        raters_choose=told["majority"] == model,
        metric_chooses=told["choice"] == model,
        pictures=tuple(_picture(model, Member(str(i["key"]), str(i["uri"]), i["sha256"], None)) for i in images),
    )


def _picture(model: str, image: Member) -> Picture:
    return Picture(thumbnail(image), tail(image.key, 24), f"{shorten(model, 40)}: {tail(image.key, 60)}")
