"""Images by class: DiT, asked for by the names of its labels."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch

from semscale.errors import UsageError
from semscale.model import Array
from semscale.producers.diffusion import checks, noise
from semscale.producers.diffusion.schedulers import Schedulers
from semscale.producers.diffusion.text_to_image import native_size
from semscale.producers.request import Request, Setting


class ByClass:
    """Draws classes. `pipeline` is a DiT pipeline, `model` what errors call it.

    The pipeline has three faults that are mended by way of its scheduler: it draws its noise in the dtype of the model,
    gives the scheduler no generators, and does not scale what it gives it, for which reason only schedulers that want
    nothing scaled are taken.
    """

    def __init__(self, pipeline: Any, model: str) -> None:
        self.pipeline = pipeline
        self.pipeline.vae_scale_factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        self.model = model
        self.schedulers = Schedulers(pipeline.scheduler, model, unscaled=True)

    def check(self, setting: Setting) -> Setting:
        """Fill in the defaults. Raises UsageError for what this model does not take."""
        no_source = "it draws classes, and there is no source to keep"
        checks.refuse(setting, self.model, image_guidance=no_source, strength=no_source)
        width, height = native_size(self.pipeline)
        if setting.width not in (None, width) or setting.height not in (None, height):
            raise UsageError(f"{self.model} draws {width} x {height} pixels and no other size; leave the size out")
        usual = checks.default(self.pipeline, "guidance_scale")
        return replace(
            setting,
            steps=checks.steps(setting, self.pipeline),
            guidance=checks.scale(setting.guidance, usual, "a guidance"),
            scheduler=self.schedulers.checked(setting.scheduler),
            width=width,
            height=height,
        )

    def alike(self, request: Request) -> Hashable:
        """What requests of one batch have in common: nothing need be."""
        return None

    def draw(self, requests: Sequence[Request], setting: Setting) -> Array:
        """Make (B, H, W, 3) float32 images, 0 to 1, for a setting that was checked. Raises UsageError."""
        assert setting.scheduler and setting.guidance is not None
        if any(request.negative is not None for request in requests):
            raise UsageError(f"{self.model} takes no negative prompt: it draws classes; leave it out")
        scheduler = self.schedulers.fresh(setting.scheduler)
        labels = self.pipeline.get_label_ids([self.label(request.prompt) for request in requests])
        self._seed(scheduler, requests, doubled=setting.guidance > 1)
        self.pipeline.scheduler = scheduler
        drawn = self.pipeline(
            class_labels=labels,
            guidance_scale=setting.guidance,
            num_inference_steps=setting.steps,
            generator=noise.generators(requests),  # of noise that is not used, but must not be the global one's
            output_type="np",
        )
        return drawn.images

    def label(self, name: str) -> str:
        """Return a label's name. Raises UsageError that suggests what was meant."""
        labels = self.pipeline.labels
        if name in labels:
            return name
        if not labels:
            raise UsageError(
                f"{self.model} has no names of classes in its model_index.json (id2label), which are needed"
            )
        close = difflib.get_close_matches(name, labels, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"one of them is {next(iter(labels))!r}"
        raise UsageError(f"{self.model} has no class {name!r} among its {len(labels)}; {hint}")

    def _seed(self, scheduler: Any, requests: Sequence[Request], *, doubled: bool) -> None:
        """Let the pipeline start from our noise, and its scheduler draw from our generators.

        With guidance the pipeline steps each image twice, and reads only the first half.
        """
        drawn_from = noise.generators(requests)
        cells = self.pipeline.transformer.config.sample_size
        latents = noise.initial(requests, drawn_from, (self.pipeline.vae.config.latent_channels, cells, cells))
        given = [latents.to(device=self.pipeline.device, dtype=self.pipeline.transformer.dtype)]
        scale, step = scheduler.scale_model_input, scheduler.step

        @functools.wraps(scale)
        def first_ours(sample: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
            if given:
                start = given.pop()
                sample = torch.cat([start, start]) if doubled else start
            return scale(sample, *rest, **named)

        scheduler.scale_model_input = first_ours
        if checks.accepts(step, "generator"):
            unread = noise.generators(requests) if doubled else []
            scheduler.step = functools.partial(step, generator=[*drawn_from, *unread])
