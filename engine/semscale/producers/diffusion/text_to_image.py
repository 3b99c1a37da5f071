"""Text to image: Stable Diffusion 1.x, 2.x, XL and 3, PixArt-alpha, PixArt-Sigma and Flux."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch

from semscale.errors import UsageError
from semscale.model import Array
from semscale.producers.diffusion import checks, noise
from semscale.producers.diffusion.schedulers import Schedulers
from semscale.producers.request import Request, Setting

# Arguments that are off: PixArt's own defaults draw another size than asked for and resample it, and clean captions
# only on machines where two more packages are installed.
_OFF = ("use_resolution_binning", "clean_caption")


class TextToImage:
    """Draws prompts. `pipeline` is a text-to-image pipeline, `model` what errors call it."""

    def __init__(self, pipeline: Any, model: str) -> None:
        self.pipeline = pipeline
        self.model = model
        self.schedulers = Schedulers(pipeline.scheduler, model)

    def check(self, setting: Setting) -> Setting:
        """Fill in the defaults. Raises UsageError for what this model does not take."""
        only_edits = "it draws from text, and there is no source to keep"
        checks.refuse(setting, self.model, image_guidance=only_edits, strength=only_edits)
        width, height = native_size(self.pipeline)
        return replace(
            setting,
            steps=checks.steps(setting, self.pipeline),
            guidance=guidance(setting, self.pipeline, self.model),
            scheduler=self.schedulers.checked(setting.scheduler),
            width=self._side(setting.width, width, "width"),
            height=self._side(setting.height, height, "height"),
        )

    def _side(self, asked: int | None, native: int, what: str) -> int:
        """A width or height; `native` where nobody asks."""
        multiple = multiple_of(self.pipeline)
        pixels = checks.side(native if asked is None else asked, multiple, what)
        # Stable Diffusion 3 crops the embeddings of positions from a table of so many patches a side.
        patches = network(self.pipeline).config.get("pos_embed_max_size")
        if patches is not None and pixels > patches * multiple:
            raise UsageError(f"a {what} of {pixels} pixels; {self.model} draws at most {patches * multiple}")
        return pixels

    def alike(self, request: Request) -> Hashable:
        """What requests of one batch have in common: to SDXL a missing negative is not an empty one."""
        return request.negative is None

    def draw(self, requests: Sequence[Request], setting: Setting) -> Array:
        """Make (B, H, W, 3) float32 images, 0 to 1, for requests that are alike and a setting that was checked."""
        assert setting.width and setting.height and setting.scheduler
        self.pipeline.scheduler = self.schedulers.fresh(setting.scheduler)
        drawn_from = noise.generators(requests)
        factor = self.pipeline.vae_scale_factor
        shape = (self.pipeline.vae.config.latent_channels, setting.height // factor, setting.width // factor)
        arguments = {
            **words(requests, setting, self.pipeline, self.model),
            "width": setting.width,
            "height": setting.height,
            "latents": packed(noise.initial(requests, drawn_from, shape), self.pipeline),
            "generator": drawn_from,
        }
        return self.pipeline(**arguments, output_type="np").images


def words(requests: Sequence[Request], setting: Setting, pipeline: Any, model: str) -> dict[str, Any]:
    """The arguments that every pipeline led by text takes. Raises UsageError for negatives without effect."""
    arguments: dict[str, Any] = {
        "prompt": [request.prompt for request in requests],
        "num_inference_steps": setting.steps,
        **dict.fromkeys(fixed(pipeline), False),
    }
    if setting.guidance is not None:
        arguments["guidance_scale"] = setting.guidance
    if requests[0].negative is not None:
        if checks.takes(pipeline, "true_cfg_scale"):
            raise UsageError(
                f"{model} takes no negative prompt: its guidance is an input, not a difference; leave it out"
            )
        if setting.guidance is None or setting.guidance <= 1:
            raise UsageError(f"a negative prompt has no effect at a guidance of {setting.guidance}; take more than 1")
        arguments["negative_prompt"] = [request.negative for request in requests]
    return arguments


def fixed(pipeline: Any) -> list[str]:
    """Names of the arguments that are off, of those the pipeline has."""
    return [name for name in _OFF if checks.takes(pipeline, name)]


def guidance(setting: Setting, pipeline: Any, model: str) -> float | None:
    """The guidance scale; None for a distilled Flux, which has none. Raises UsageError where that is given one."""
    transformer = getattr(pipeline, "transformer", None)
    if transformer is not None and transformer.config.get("guidance_embeds") is False:
        checks.refuse(setting, model, guidance="it was distilled to draw without")
        return None
    return checks.scale(setting.guidance, checks.default(pipeline, "guidance_scale"), "a guidance")


def packed(latents: torch.Tensor, pipeline: Any) -> torch.Tensor:
    """Noise (B, C, h, w) float32 as `pipeline` wants it: its device and dtype, and for Flux in patches of 2 x 2."""
    ready = latents.to(device=pipeline.device, dtype=network(pipeline).dtype)
    if not hasattr(pipeline, "_pack_latents"):
        return ready
    return pipeline._pack_latents(ready, *ready.shape)


def multiple_of(pipeline: Any) -> int:
    """What both sides of an image must be multiples of, in pixels: the factor of the VAE times that of the patches."""
    transformer = getattr(pipeline, "transformer", None)
    if transformer is None:
        return int(pipeline.vae_scale_factor)
    # Flux's configuration says 1: its pipeline makes the patches, not its transformer.
    patch = 2 if hasattr(pipeline, "_pack_latents") else transformer.config.patch_size
    return int(pipeline.vae_scale_factor * patch)


def network(pipeline: Any) -> Any:
    """The network that denoises."""
    return getattr(pipeline, "unet", None) or pipeline.transformer


def native_size(pipeline: Any) -> tuple[int, int]:
    """Width and height the pipeline draws where nobody says, in pixels."""
    cells = getattr(pipeline, "default_sample_size", None) or network(pipeline).config.sample_size
    height, width = (cells, cells) if isinstance(cells, int) else cells
    return int(width * pipeline.vae_scale_factor), int(height * pipeline.vae_scale_factor)
