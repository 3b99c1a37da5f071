"""Images from diffusers pipelines: text to image, editing, and by class.

`open_producer` reads what a checkpoint is before it loads any weights, and loads only safetensors: no pickles, no code
that came with the checkpoint. Every image has a generator of its own, made from its own seed (`noise`), so that it
depends neither on its batch nor on what was made before. Runs on whatever device PyTorch has; written and tested on a
CPU, and never yet run on a GPU.
"""

from __future__ import annotations

from semscale.producers.diffusion.options import DTYPES, DiffusionOptions
from semscale.producers.request import Producer

__all__ = ["DTYPES", "DiffusionOptions", "open_producer"]


def open_producer(model: str, options: DiffusionOptions | None = None) -> Producer:
    """Load `model`, a folder that diffusers saved or the id of one on the Hugging Face hub, and make images with it.

    Raises ModelError where there is none, its kind is not known or its weights cannot be loaded, UsageError for options
    it cannot take, and MissingDependencyError where diffusers or what it needs is not installed.
    """
    from semscale.producers.diffusion.loading import load

    return load(model, options or DiffusionOptions())
