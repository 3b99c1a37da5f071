"""From Hugging Face's settings to a ModelSpec, or to the reason why the engine cannot express them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from semscale.errors import ModelError
from semscale.model import MAX_SIDE, ModelSpec, Preprocess, Tokens
from semscale.preprocess import UNROUNDED
from semscale_export.checkpoint import Checkpoint

FILTERS = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers, which preprocessor_config.json uses
NOTE_KEY = "semscale_note"


def image_spec(checkpoint: Checkpoint, preprocess: Preprocess, *, dim: int, normalized: bool = True) -> ModelSpec:
    """Return the specification of an image tower that takes (crop, crop, 3) and gives (D,).

    `normalized` is whether it divides by the L2 norm. Raises ModelError when the checkpoint has no weights.
    """
    return ModelSpec(
        name=checkpoint.name,
        sha256=checkpoint.weights_sha256,
        kind="image",
        input_shape=(preprocess.crop, preprocess.crop, 3),
        input_dtype="float32" if preprocess.filter in UNROUNDED else "uint8",
        dim=dim,
        normalized=normalized,
        precision="fp32",
        preprocess=preprocess,
        note=str(checkpoint.config.get(NOTE_KEY, "")),
    )


def text_spec(checkpoint: Checkpoint, tokens: Tokens, *, dim: int) -> ModelSpec:
    """Return the specification of a text tower that takes (T,) int64 and gives (D,).

    Raises ModelError when the checkpoint has no weights.
    """
    return ModelSpec(
        name=checkpoint.name,
        sha256=checkpoint.weights_sha256,
        kind="text",
        input_shape=(tokens.length,),
        input_dtype="int64",
        dim=dim,
        normalized=True,
        precision="fp32",
        tokens=tokens,
        note=str(checkpoint.config.get(NOTE_KEY, "")),
    )


def preprocess_of(checkpoint: Checkpoint, processor: Any, image_size: int) -> Preprocess:
    """Return how the engine must prepare pixels to do what `processor` does.

    The engine resizes the shortest side and cuts a centred square (padded with black where the image is smaller), or
    resizes both sides to one length; then it scales to 0..1 and normalises. Raises ModelError, naming the setting, when
    the processor does anything else.
    """
    _require(checkpoint, processor, do_resize=True, do_rescale=True, do_normalize=True)
    size, geometry = _geometry(checkpoint, processor, {"height": image_size, "width": image_size})
    if processor.resample not in FILTERS:
        raise _cannot(checkpoint, "resample", processor.resample, f"one of {FILTERS}")
    if abs(processor.rescale_factor * 255 - 1) > 1e-6:
        raise _cannot(checkpoint, "rescale_factor", processor.rescale_factor, "1/255")
    return Preprocess(
        size=size,
        crop=image_size,
        filter=FILTERS[processor.resample],
        mean=_rgb(checkpoint, "image_mean", processor.image_mean),
        std=_rgb(checkpoint, "image_std", processor.image_std),
        geometry=geometry,
    )


def _geometry(checkpoint: Checkpoint, processor: Any, square: dict[str, int]) -> tuple[int, Literal["crop", "stretch"]]:
    """The size to resize to, in pixels, and what that means; `square` is what the model takes."""
    if not isinstance(processor.size, Mapping):
        raise _cannot(checkpoint, "size", processor.size, "a height and width, or a shortest_edge")
    size, takes = dict(processor.size), f"the {square['height']} x {square['width']} that the model takes"
    if "height" in size and not getattr(processor, "do_center_crop", False):
        if size != square:
            raise _cannot(checkpoint, "size", size, takes)
        return square["height"], "stretch"
    _require(checkpoint, processor, do_center_crop=True)
    side = size.get("shortest_edge")
    if not isinstance(side, int) or not 1 <= side <= MAX_SIDE:
        raise _cannot(checkpoint, "size", size, f"a shortest_edge from 1 to {MAX_SIDE}")
    if dict(processor.crop_size) != square:
        raise _cannot(checkpoint, "crop_size", dict(processor.crop_size), takes)
    return side, "crop"


def _require(checkpoint: Checkpoint, processor: Any, **wanted: bool) -> None:
    for setting, value in wanted.items():
        if getattr(processor, setting, None) != value:
            raise _cannot(checkpoint, setting, getattr(processor, setting, None), value)


def _rgb(checkpoint: Checkpoint, setting: str, values: Any) -> tuple[float, float, float]:
    channels = tuple(values) if isinstance(values, list | tuple) else (values,) * 3
    numbers = [float(value) for value in channels if isinstance(value, int | float) and math.isfinite(value)]
    if len(channels) != 3 or len(numbers) != 3 or (setting == "image_std" and 0 in numbers):
        raise _cannot(checkpoint, setting, values, "three finite numbers, of which a deviation is not zero")
    return numbers[0], numbers[1], numbers[2]


def _cannot(checkpoint: Checkpoint, setting: str, value: Any, wanted: Any) -> ModelError:
    return ModelError(
        f"{checkpoint.name}: preprocessor_config.json has {setting} = {value!r}, and semscale needs {wanted}; "
        "a model that prepares images in another way cannot be exported faithfully"
    )
