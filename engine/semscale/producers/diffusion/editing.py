"""Editing a source: by an instruction (InstructPix2Pix), or by redrawing it from partial noise (image to image).

An edit by instruction starts from the initial noise of its seed as text to image does; the latents of the source are
the mode of what the VAE encodes, so nothing else is random. Image to image draws its noise inside the pipeline, in the
dtype of the model and after the sample of the source's latents, each from the image's own generator.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from semscale.errors import UsageError
from semscale.model import Array
from semscale.producers.diffusion import checks, noise
from semscale.producers.diffusion.schedulers import Schedulers
from semscale.producers.diffusion.text_to_image import guidance, multiple_of, packed, words
from semscale.producers.request import Request, Setting


class Instructed:
    """Edits sources as an instruction says. `pipeline` is an InstructPix2Pix pipeline, `model` what errors call it."""

    def __init__(self, pipeline: Any, model: str) -> None:
        self.pipeline = pipeline
        self.model = model
        self.schedulers = Schedulers(pipeline.scheduler, model)

    def check(self, setting: Setting) -> Setting:
        """Fill in the defaults. Raises UsageError for what this model does not take."""
        checks.refuse(setting, self.model, strength="an edit by instruction starts from noise alone")
        scale = guidance(setting, self.pipeline, self.model)
        keep: float | None = None
        if scale is not None and scale > 1:  # the pipeline guides by both or by neither
            usual = checks.default(self.pipeline, "image_guidance_scale")
            keep = checks.scale(setting.image_guidance, usual, "an image guidance", least=1.0)
        else:
            checks.refuse(setting, self.model, image_guidance="it has no effect at a guidance of 1 or less")
        return replace(_checked(setting, self), guidance=scale, image_guidance=keep)

    def alike(self, request: Request) -> Hashable:
        """What requests of one batch have in common."""
        return request.negative is None, _source(request).size

    def draw(self, requests: Sequence[Request], setting: Setting) -> Array:
        """Make (B, H, W, 3) float32 images, 0 to 1, for requests that are alike and a setting that was checked."""
        assert setting.scheduler
        self.pipeline.scheduler = self.schedulers.fresh(setting.scheduler)
        drawn_from = noise.generators(requests)
        sources = [fitted(request, setting, multiple_of(self.pipeline)) for request in requests]
        factor = self.pipeline.vae_scale_factor
        shape = (self.pipeline.vae.config.latent_channels, sources[0].height // factor, sources[0].width // factor)
        arguments = {
            **words(requests, setting, self.pipeline, self.model),
            **_sized(self.pipeline, sources),
            "latents": packed(noise.initial(requests, drawn_from, shape), self.pipeline),
            "generator": drawn_from,
        }
        if setting.image_guidance is not None:
            arguments["image_guidance_scale"] = setting.image_guidance
        return self.pipeline(**arguments, output_type="np").images


class ImageToImage:
    """Redraws sources. `pipeline` is an image-to-image pipeline, `model` what errors call it."""

    def __init__(self, pipeline: Any, model: str) -> None:
        self.pipeline = pipeline
        self.model = model
        self.schedulers = Schedulers(pipeline.scheduler, model)

    def check(self, setting: Setting) -> Setting:
        """Fill in the defaults. Raises UsageError for what this model does not take."""
        checks.refuse(setting, self.model, image_guidance="only InstructPix2Pix has it")
        ready = _checked(setting, self)
        assert ready.steps
        scale = guidance(setting, self.pipeline, self.model)
        return replace(ready, guidance=scale, strength=checks.strength(setting, self.pipeline, ready.steps))

    def alike(self, request: Request) -> Hashable:
        """What requests of one batch have in common."""
        return request.negative is None, _source(request).size

    def draw(self, requests: Sequence[Request], setting: Setting) -> Array:
        """Make (B, H, W, 3) float32 images, 0 to 1, for requests that are alike and a setting that was checked."""
        assert setting.scheduler
        if any(request.blend is not None for request in requests):
            raise UsageError(
                f"{self.model}: image to image draws its noise itself, which cannot be blended; leave it out"
            )
        self.pipeline.scheduler = self.schedulers.fresh(setting.scheduler)
        sources = [fitted(request, setting, multiple_of(self.pipeline)) for request in requests]
        arguments = {
            **words(requests, setting, self.pipeline, self.model),
            **_sized(self.pipeline, sources),
            "strength": setting.strength,
            "generator": noise.generators(requests),
        }
        return self.pipeline(**arguments, output_type="np").images


def fitted(request: Request, setting: Setting, multiple: int) -> Image.Image:
    """The source at the setting's size, or else at its own, each side rounded down to a `multiple` of pixels.

    Lanczos; proportions are kept only as far as the size keeps them. Raises UsageError for a source too small.
    """
    source = _source(request)
    wanted = (
        setting.width or source.width // multiple * multiple,
        setting.height or source.height // multiple * multiple,
    )
    if 0 in wanted:
        raise UsageError(
            f"a source of {source.width} x {source.height} pixels; this model edits {multiple} or more a side"
        )
    rgb = source.convert("RGB")
    return rgb if rgb.size == wanted else rgb.resize(wanted, Image.Resampling.LANCZOS)


def _checked(setting: Setting, editor: Instructed | ImageToImage) -> Setting:
    """What both ways of editing have in common; a size that nobody chose stays None, for that of each source."""
    if (setting.width is None) != (setting.height is None):
        raise UsageError("an edit takes both sides of a size, or neither, which keeps that of its source")
    multiple = multiple_of(editor.pipeline)
    return replace(
        setting,
        steps=checks.steps(setting, editor.pipeline),
        scheduler=editor.schedulers.checked(setting.scheduler),
        width=None if setting.width is None else checks.side(setting.width, multiple, "width"),
        height=None if setting.height is None else checks.side(setting.height, multiple, "height"),
    )


def _source(request: Request) -> Image.Image:
    assert request.source is not None  # the producer sends edits here, and nothing else
    return request.source


def _sized(pipeline: Any, sources: list[Image.Image]) -> dict[str, Any]:
    """The sources, and their size for pipelines that would else resize them to one of their own."""
    size = {"width": sources[0].width, "height": sources[0].height} if checks.takes(pipeline, "height") else {}
    return {"image": sources, **size}
