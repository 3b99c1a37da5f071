"""A setting against a pipeline: defaults filled in, what it cannot do refused. Checking twice changes nothing."""

from __future__ import annotations

import inspect
import math
from typing import Any

from semscale.errors import UsageError
from semscale.producers.request import Setting


def takes(pipeline: Any, name: str) -> bool:
    """Whether the pipeline can be called with an argument `name`."""
    return accepts(pipeline.__call__, name)


def default(pipeline: Any, name: str) -> Any:
    """What an argument of the pipeline's call is where nobody says."""
    return inspect.signature(pipeline.__call__).parameters[name].default


def refuse(setting: Setting, model: str, **why: str) -> None:
    """Raise UsageError where a field named in `why` is set."""
    for name, reason in why.items():
        if getattr(setting, name) is not None:
            raise UsageError(f"{model} takes no {name.replace('_', ' ')}: {reason}; leave it out")


def steps(setting: Setting, pipeline: Any) -> int:
    """The number of denoising steps. Raises UsageError for more than the model was trained with, or none."""
    most = int(pipeline.scheduler.config.get("num_train_timesteps", 1000))
    chosen = default(pipeline, "num_inference_steps") if setting.steps is None else setting.steps
    if not 1 <= chosen <= most:
        raise UsageError(f"{chosen} steps; this model takes from 1 to {most}")
    return int(chosen)


def scale(value: float | None, fallback: float, what: str, *, least: float = 0.0) -> float:
    """A guidance scale, `fallback` where it is None. Raises UsageError unless it is finite and at least `least`."""
    chosen = fallback if value is None else value
    if not (math.isfinite(chosen) and chosen >= least):
        raise UsageError(f"{what} of {chosen:g}; it must be at least {least:g}, and finite")
    return float(chosen)


def strength(setting: Setting, pipeline: Any, n_steps: int) -> float:
    """The share of the noise schedule that is run. Raises UsageError outside (0, 1], and where it leaves no step."""
    chosen = default(pipeline, "strength") if setting.strength is None else setting.strength
    if not 0 < chosen <= 1:
        raise UsageError(f"a strength of {chosen:g}; it must be above 0 and at most 1")
    if int(n_steps * chosen) < 1:
        raise UsageError(
            f"a strength of {chosen:g} leaves none of {n_steps} steps; take at least {math.ceil(1 / chosen)}"
        )
    return float(chosen)


def side(pixels: int, multiple: int, what: str) -> int:
    """A width or height. Raises UsageError with the nearest that the model can draw unless it is a `multiple`."""
    if pixels < 1 or pixels % multiple:
        nearest = max(1, round(pixels / multiple)) * multiple
        raise UsageError(
            f"a {what} of {pixels} pixels; this model draws multiples of {multiple}, the nearest is {nearest}"
        )
    return pixels


def accepts(function: Any, name: str) -> bool:
    """Whether a function has a parameter `name`."""
    return name in inspect.signature(function).parameters
