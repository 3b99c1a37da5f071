"""The pipelines that can be asked for images, by the class that a checkpoint's `model_index.json` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semscale.errors import ModelError

Task = Literal["text", "instruction", "image", "class"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a pipeline class is, and how it is loaded."""

    title: str  # as people call the models
    task: Task  # what images are made from; "instruction" and "image" change a source
    redraws: bool = False  # whether diffusers can also redraw sources with the weights of a text-to-image model
    half: str = "fp16"  # the dtype on a GPU where nobody chooses: the one it was published and trained for
    without: tuple[tuple[str, object], ...] = ()  # parts that would change the images that are to be judged


# The checker of Stable Diffusion 1.x returns black images where it suspects nudity, and black images would be scored.
_UNCHECKED = (("safety_checker", None), ("requires_safety_checker", False))
# SDXL's pipelines add a watermark to the pixels on machines where one more package happens to be installed.
_UNMARKED = (("add_watermarker", False),)

KINDS = {
    "StableDiffusionPipeline": Kind("Stable Diffusion 1.x and 2.x", "text", redraws=True, without=_UNCHECKED),
    "StableDiffusionXLPipeline": Kind("Stable Diffusion XL", "text", redraws=True, without=_UNMARKED),
    "StableDiffusion3Pipeline": Kind("Stable Diffusion 3", "text", redraws=True),
    "PixArtAlphaPipeline": Kind("PixArt-alpha", "text"),
    "PixArtSigmaPipeline": Kind("PixArt-Sigma", "text"),
    "FluxPipeline": Kind("Flux", "text", redraws=True, half="bf16"),
    "StableDiffusionInstructPix2PixPipeline": Kind("InstructPix2Pix", "instruction", without=_UNCHECKED),
    "StableDiffusionXLInstructPix2PixPipeline": Kind("InstructPix2Pix of XL", "instruction", without=_UNMARKED),
    "StableDiffusionImg2ImgPipeline": Kind("image to image of Stable Diffusion", "image", without=_UNCHECKED),
    "StableDiffusionXLImg2ImgPipeline": Kind("image to image of XL", "image", without=_UNMARKED),
    "StableDiffusion3Img2ImgPipeline": Kind("image to image of Stable Diffusion 3", "image"),
    "FluxImg2ImgPipeline": Kind("image to image of Flux", "image", half="bf16"),
    "DiTPipeline": Kind("DiT", "class"),
}


def kind_of(pipeline: str, where: str) -> Kind:
    """The kind of a pipeline class; `where` names the model in errors. Raises ModelError for a class not in KINDS."""
    if pipeline not in KINDS:
        known = ", ".join(f"{name} ({kind.title})" for name, kind in KINDS.items())
        raise ModelError(f"{where}: a {pipeline!r}, which is not supported; choose a checkpoint of one of: {known}")
    return KINDS[pipeline]
