"""From the name of a model to a producer: what it is, then its weights, then who draws with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from semscale.errors import MissingDependencyError, ModelError
from semscale.producers.diffusion import lora
from semscale.producers.diffusion.checkpoint import Checkpoint, find
from semscale.producers.diffusion.classes import ByClass
from semscale.producers.diffusion.devices import TORCH_DTYPES, device_of, dtype_of
from semscale.producers.diffusion.editing import ImageToImage, Instructed
from semscale.producers.diffusion.kinds import Kind, kind_of
from semscale.producers.diffusion.options import DiffusionOptions
from semscale.producers.diffusion.producer import Adapters, DiffusionProducer
from semscale.producers.diffusion.quiet import loading, quiet
from semscale.producers.diffusion.schedulers import Schedulers
from semscale.producers.diffusion.text_to_image import TextToImage, fixed
from semscale.producers.request import Producer

NEEDED = ("diffusers", "transformers")
BATCH_ON_CPU = 1  # where more take memory and gain nothing
BATCH_ON_GPU = 8  # halved where its memory does not do


def load(model: str, options: DiffusionOptions) -> Producer:
    """Load `model` as `options` say. See `open_producer`."""
    checkpoint = find(model, options.revision)
    kind = kind_of(checkpoint.pipeline, model)
    for package in NEEDED:
        if find_spec(package) is None:
            raise MissingDependencyError("making images with a diffusion model", package, "generate")
    device = device_of(options.device)
    dtype = dtype_of(options.dtype, kind.half, device)
    if options.lora is not None:
        lora.find(options.lora)  # before the weights, which may take minutes
    with quiet():
        import_module("diffusers")  # which warns of its own dependencies
    with loading(model):
        _check_schedulers(checkpoint, kind, options.schedulers)
        pipeline = _pipeline(checkpoint, kind, TORCH_DTYPES[dtype], options.variant)
    with loading(model):
        pipeline.to(device)
        pipeline.set_progress_bar_config(disable=True)
        facts = _facts(checkpoint, kind, pipeline, dtype)
        if options.variant is not None:
            facts["variant"] = options.variant
        if options.lora is not None:
            facts |= lora.apply(pipeline, options.lora, 1.0 if options.lora_scale is None else options.lora_scale)
        adapters = _adapters(kind, pipeline, checkpoint.name)
    batch_size = options.batch_size or (BATCH_ON_CPU if device.type == "cpu" else BATCH_ON_GPU)
    return DiffusionProducer(checkpoint.name, facts, adapters, batch_size=batch_size)


def _check_schedulers(checkpoint: Checkpoint, kind: Kind, names: Sequence[str]) -> None:
    """Raise UsageError for a scheduler that the model cannot run with, from the configuration of its own."""
    if names:
        own = _loaded(checkpoint, checkpoint.scheduler, subfolder="scheduler")
        schedulers = Schedulers(own, checkpoint.name, unscaled=kind.task == "class")
        for name in names:
            schedulers.checked(name)


def _pipeline(checkpoint: Checkpoint, kind: Kind, dtype: torch.dtype, variant: str | None) -> Any:
    """The pipeline with its weights, from safetensors and without code of its own. Raises ModelError."""
    automatic = {"text": "AutoPipelineForText2Image", "image": "AutoPipelineForImage2Image"}
    loader = automatic.get(kind.task, checkpoint.pipeline)
    return _loaded(checkpoint, loader, torch_dtype=dtype, variant=variant, use_safetensors=True, **dict(kind.without))


def _loaded(checkpoint: Checkpoint, loader: str, **options: Any) -> Any:
    """What a class of diffusers makes of a checkpoint. Raises ModelError."""
    import diffusers
    from safetensors import SafetensorError

    try:
        return getattr(diffusers, loader).from_pretrained(checkpoint.where, revision=checkpoint.commit, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise ModelError(f"{checkpoint.where}: cannot be loaded as {checkpoint.pipeline} ({said[:300]})") from error


def _adapters(kind: Kind, pipeline: Any, name: str) -> Adapters:
    """Who draws with a pipeline."""
    if kind.task == "class":
        return Adapters(makes=ByClass(pipeline, name))
    if kind.task == "instruction":
        return Adapters(edits=Instructed(pipeline, name))
    if kind.task == "image":
        return Adapters(edits=ImageToImage(pipeline, name))
    edits = ImageToImage(_counterpart(pipeline), name) if kind.redraws else None
    return Adapters(makes=TextToImage(pipeline, name), edits=edits)


def _counterpart(pipeline: Any) -> Any:
    """The image-to-image pipeline of the same weights, which are not copied."""
    from diffusers.pipelines.auto_pipeline import AutoPipelineForImage2Image

    counterpart = AutoPipelineForImage2Image.from_pipe(pipeline)
    counterpart.set_progress_bar_config(disable=True)
    return counterpart


def _facts(checkpoint: Checkpoint, kind: Kind, pipeline: Any, dtype: str) -> dict[str, str]:
    """What a record of an image says of its model."""
    facts = {
        "model": checkpoint.shown,
        "revision": checkpoint.revision(),
        "pipeline": type(pipeline).__name__,
        "scheduler": type(pipeline.scheduler).__name__,
        "dtype": dtype,
        "device": str(pipeline.device),
    }
    left_out = [name for name, _ in kind.without if not name.startswith("requires")]
    facts |= dict.fromkeys([*left_out, *fixed(pipeline)], "off")
    versions = ", ".join(f"{name} {import_module(name).__version__}" for name in (*NEEDED, "torch"))
    return facts | {"versions": versions}
