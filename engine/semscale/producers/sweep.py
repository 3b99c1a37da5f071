"""Settings to generate with: every combination of what lists name, each with the label of its own group."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from semscale.errors import UsageError
from semscale.producers.request import Setting
from semscale.producers.slugs import model_folder

T = TypeVar("T")
Size = tuple[int, int]  # width and height, pixels


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a sweep, and the name that its images go under."""

    label: str  # the model of these images, as scores and reports call it
    setting: Setting

    @property
    def folder(self) -> str:
        """The label as the name of a folder."""
        return model_folder(self.label)


def product(
    *,
    steps: Sequence[int] = (),
    guidance: Sequence[float] = (),
    image_guidance: Sequence[float] = (),
    strength: Sequence[float] = (),
    scheduler: Sequence[str] = (),
    size: Sequence[Size] = (),
) -> list[Setting]:
    """Every combination of the values, the last name changing fastest. Without values the choice is the producer's."""
    lists: list[Sequence[Any]] = [steps, guidance, image_guidance, strength, scheduler, size]
    combined = itertools.product(*(values or (None,) for values in lists))
    return [Setting(a, b, c, d, e, *(pixels or (None, None))) for a, b, c, d, e, pixels in combined]


def labelled(name: str, settings: Sequence[Setting]) -> list[Point]:
    """Settings with labels: `name`, and behind it whatever is not the same in all of them, as `steps=10 guidance=5`.

    Raises UsageError where there are none, or one is there twice.
    """
    if not settings:
        raise UsageError("no settings; give at least one, Setting() for the model's own")
    told = [said(setting) for setting in settings]
    swept = [field for field in told[0] if len({each[field] for each in told}) > 1]
    labels = [" ".join([name, *(f"{field.replace('_', '-')}={each[field]}" for field in swept)]) for each in told]
    repeated = next((label for label in labels if labels.count(label) > 1), None)
    if repeated is not None:
        raise UsageError(f"{repeated!r}: the same setting twice; keep one")
    return [Point(label, setting) for label, setting in zip(labels, settings, strict=True)]


def said(setting: Setting) -> dict[str, str]:
    """What a setting says, in words; width and height are one size, and of a square its side."""
    values = dataclasses.asdict(setting)
    width, height = values.pop("width"), values.pop("height")
    values["size"] = width if width == height else f"{width or 'default'}x{height or 'default'}"
    return {field: "default" if value is None else _written(value) for field, value in values.items()}


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def whole_numbers(text: str, option: str) -> list[int]:
    """Read "10,20,50": whole numbers from 1 on. Raises UsageError, which names the `option`."""
    return _listed(text, option, _whole, "a whole number from 1 on, such as 20, or a list of them, such as 10,20,50")


def numbers(text: str, option: str) -> list[float]:
    """Read "5,7.5": numbers from 0 on. Raises UsageError, which names the `option`."""
    return _listed(text, option, _number, "a number from 0 on, such as 7.5, or a list of them, such as 5,7.5")


def names(text: str, option: str) -> list[str]:
    """Read "DDIMScheduler,EulerDiscreteScheduler". Raises UsageError, which names the `option`."""
    return _listed(text, option, lambda each: each if each.isidentifier() else None, "a name, or a list of names")


def sizes(text: str, option: str) -> list[Size]:
    """Read "512,768x512": squares, or width x height. Raises UsageError, which names the `option`."""
    return _listed(text, option, _size, "a side in pixels, such as 512, or width x height, such as 768x512")


def _listed(text: str, option: str, read: Callable[[str], T | None], wanted: str) -> list[T]:
    found: list[T] = []
    for cell in map(str.strip, text.split(",")):
        value = read(cell)
        if value is None:
            raise UsageError(f"{option} {text}: {cell!r} is not {wanted}")
        if value in found:
            raise UsageError(f"{option} {text}: {cell!r} is there twice; keep one")
        found.append(value)
    return found


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"0*[1-9][0-9]{0,8}", text, re.ASCII) else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _size(text: str) -> Size | None:
    width, found, height = text.partition("x")
    sides = _whole(width), _whole(height if found else width)
    return None if None in sides else sides  # type: ignore[return-value]
