"""A pipeline without its weights: what can be known of it from the configurations of a checkpoint alone.

Settings are checked against it before weights, gigabytes of them, are fetched or read. It is the real class of
diffusers around parts that have a configuration and nothing else, so that it says of itself what the loaded one would.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from semscale.producers.diffusion.checkpoint import Checkpoint
from semscale.producers.diffusion.kinds import Kind

NETWORKS = ("unet", "transformer")  # names of the part that denoises


class Part:
    """A model of a pipeline by its configuration."""

    def __init__(self, config: Any) -> None:
        self.config = config


def outline(checkpoint: Checkpoint, kind: Kind, scheduler: Any) -> Any:
    """The pipeline of a checkpoint around its `scheduler`; it cannot draw, and has no tokenizers or text encoders.

    Fetches a few small JSON files where the checkpoint is on the hub. Raises ModelError where one is missing or
    damaged, and whatever diffusers raises for configurations that do not fit.
    """
    import diffusers

    cls = getattr(diffusers, checkpoint.pipeline)
    parts: dict[str, Any] = {"scheduler": scheduler, **dict(kind.without)}
    for name in ("vae", *NETWORKS):
        if name in checkpoint.parts:
            parts[name] = Part(_config(checkpoint, name, getattr(diffusers, checkpoint.parts[name])))
    accepted = {name: parameter.default for name, parameter in inspect.signature(cls.__init__).parameters.items()}
    asked = {name for name, default in accepted.items() if default is inspect.Parameter.empty} - {"self"}
    return cls(**{name: parts.get(name) for name in asked | (parts.keys() & accepted.keys())})


def with_network(pipeline: Any, checkpoint: Checkpoint) -> Any:
    """The same outline with the layers of the network that denoises, all of their shapes and none of their weights."""
    import diffusers

    for name in NETWORKS:
        if name in checkpoint.parts:
            with torch.device("meta"):
                network = getattr(diffusers, checkpoint.parts[name]).from_config(checkpoint.config(name))
            pipeline.register_modules(**{name: network})
    return pipeline


def _config(checkpoint: Checkpoint, part: str, cls: type) -> Any:
    """A part's configuration as the loaded part has it: with the defaults of its class where the file is silent."""
    from diffusers.configuration_utils import FrozenDict

    parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return FrozenDict(defaults | checkpoint.config(part))
