"""From the name of a model to a producer: what it is, then its weights, then who draws with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from semscale.errors import MissingDependencyError, ModelError, SemscaleError, UsageError
from semscale.producers.diffusion import lora
from semscale.producers.diffusion.checkpoint import Checkpoint, find
from semscale.producers.diffusion.classes import ByClass
from semscale.producers.diffusion.devices import TORCH_DTYPES, device_of, dtype_of
from semscale.producers.diffusion.editing import ImageToImage, Instructed
from semscale.producers.diffusion.kinds import Kind, kind_of
from semscale.producers.diffusion.options import DiffusionOptions
from semscale.producers.diffusion.outline import outline, with_network
from semscale.producers.diffusion.producer import Adapters, DiffusionProducer
from semscale.producers.diffusion.quiet import loading, quiet
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
        lora.find(options.lora)
    with quiet():
        import_module("diffusers")  # which warns of its own dependencies
    with loading(model):
        _check(checkpoint, kind, options)
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


def _check(checkpoint: Checkpoint, kind: Kind, options: DiffusionOptions) -> None:
    """Refuse what the model cannot do, from its configurations alone. Raises UsageError and ModelError."""
    with _explained(checkpoint):
        scheduler = _from_pretrained(checkpoint, checkpoint.scheduler, subfolder="scheduler")
        pipeline = outline(checkpoint, kind, scheduler)
        if options.lora is not None:
            lora.check(pipeline, options.lora)
            lora.check_fit(with_network(outline(checkpoint, kind, scheduler), checkpoint), options.lora)
        adapters = _adapters(kind, pipeline, checkpoint.name)
    if options.variant is not None and not checkpoint.has_variant(options.variant):
        raise UsageError(f"{checkpoint.where}: has no weights of a variant {options.variant!r}; leave the variant out")
    unloaded = DiffusionProducer(checkpoint.name, {}, adapters, batch_size=1)
    for setting in options.settings:
        unloaded.check(setting, edits=options.edits)


def _pipeline(checkpoint: Checkpoint, kind: Kind, dtype: torch.dtype, variant: str | None) -> Any:
    """The pipeline with its weights, from safetensors and without code of its own. Raises ModelError."""
    automatic = {"text": "AutoPipelineForText2Image", "image": "AutoPipelineForImage2Image"}
    loader = automatic.get(kind.task, checkpoint.pipeline)
    options = {"torch_dtype": dtype, "variant": variant, "use_safetensors": True, **dict(kind.without)}
    with _explained(checkpoint):
        return _from_pretrained(checkpoint, loader, **options)


def _from_pretrained(checkpoint: Checkpoint, loader: str, **options: Any) -> Any:
    """What a class of diffusers makes of a checkpoint."""
    import diffusers

    return getattr(diffusers, loader).from_pretrained(checkpoint.where, revision=checkpoint.commit, **options)


@contextmanager
def _explained(checkpoint: Checkpoint) -> Iterator[None]:
    """Raise what diffusers raises for a checkpoint that it cannot read as a ModelError; our own errors pass."""
    from safetensors import SafetensorError

    try:
        yield
    except SemscaleError:
        raise
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
