"""From Hugging Face's settings to a ModelSpec, or to the reason why the engine cannot express them."""

from __future__ import annotations

from typing import Any

from semscale.errors import ModelError
from semscale.model import ModelSpec, Preprocess, Tokens
from semscale_export.checkpoint import Checkpoint

FILTERS = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers, which preprocessor_config.json uses
NOTE_KEY = "semscale_note"


def image_spec(checkpoint: Checkpoint, processor: Any, *, image_size: int, dim: int, sha256: str) -> ModelSpec:
    """Return the specification of an image tower that takes (image_size, image_size, 3) uint8 and gives (D,).

    `processor` is the checkpoint's Hugging Face image processor. Raises ModelError as `preprocess_of` does.
    """
    preprocess = preprocess_of(checkpoint, processor, image_size)
    return ModelSpec(
        name=checkpoint.name,
        sha256=sha256,
        kind="image",
        input_shape=(image_size, image_size, 3),
        input_dtype="uint8",
        dim=dim,
        normalized=True,
        precision="fp32",
        preprocess=preprocess,
        note=str(checkpoint.config.get(NOTE_KEY, "")),
    )


def text_spec(checkpoint: Checkpoint, tokens: Tokens, *, dim: int, sha256: str) -> ModelSpec:
    """Return the specification of a text tower that takes (T,) int64 and gives (D,)."""
    return ModelSpec(
        name=checkpoint.name,
        sha256=sha256,
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

    The engine resizes the shortest side, cuts a centred square (padded with black where the image is smaller), scales
    to 0..1 and normalises. Raises ModelError, naming the setting, when the processor does anything else.
    """
    crop, size = processor.crop_size, processor.size
    _require(checkpoint, processor, do_resize=True, do_center_crop=True, do_rescale=True, do_normalize=True)
    side = size.get("shortest_edge")
    if side is None:
        raise _cannot(checkpoint, "size", dict(size), "a shortest_edge")
    if crop["height"] != image_size or crop["width"] != image_size:
        raise _cannot(checkpoint, "crop_size", dict(crop), f"the {image_size} x {image_size} that the model takes")
    if processor.resample not in FILTERS:
        raise _cannot(checkpoint, "resample", processor.resample, f"one of {FILTERS}")
    if abs(processor.rescale_factor * 255 - 1) > 1e-6:
        raise _cannot(checkpoint, "rescale_factor", processor.rescale_factor, "1/255")
    return Preprocess(
        size=side,
        crop=image_size,
        filter=FILTERS[processor.resample],
        mean=_rgb(checkpoint, "image_mean", processor.image_mean),
        std=_rgb(checkpoint, "image_std", processor.image_std),
    )


def _require(checkpoint: Checkpoint, processor: Any, **wanted: bool) -> None:
    for setting, value in wanted.items():
        if getattr(processor, setting) != value:
            raise _cannot(checkpoint, setting, getattr(processor, setting), value)


def _rgb(checkpoint: Checkpoint, setting: str, values: Any) -> tuple[float, float, float]:
    channels = tuple(float(value) for value in values) if isinstance(values, list | tuple) else (float(values),) * 3
    if len(channels) != 3 or (setting == "image_std" and 0 in channels):
        raise _cannot(checkpoint, setting, values, "three numbers, of which a deviation is not zero")
    return channels


def _cannot(checkpoint: Checkpoint, setting: str, value: Any, wanted: Any) -> ModelError:
    return ModelError(
        f"{checkpoint.name}: preprocessor_config.json has {setting} = {value!r}, and semscale needs {wanted}; "
        "a model that prepares images in another way cannot be exported faithfully"
    )
