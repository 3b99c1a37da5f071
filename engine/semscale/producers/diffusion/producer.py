"""A diffusion model as a producer: requests into batches, batches through an adapter, pixels checked."""

from __future__ import annotations

import gc
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from semscale.errors import InputError, UsageError
from semscale.model import Array
from semscale.producers.diffusion import encoders
from semscale.producers.diffusion.noise import only_from_seeds
from semscale.producers.diffusion.quiet import quiet
from semscale.producers.request import Request, Setting


class Adapter(Protocol):
    """One way of making images with one pipeline."""

    pipeline: Any

    def check(self, setting: Setting) -> Setting:
        """Fill in the defaults. Raises UsageError for what this model does not take."""
        ...

    def alike(self, request: Request) -> Hashable:
        """What requests of one batch have in common."""
        ...

    def draw(self, requests: Sequence[Request], setting: Setting) -> Array:
        """Make (B, H, W, 3) float images, 0 to 1, for requests that are alike and a setting that was checked."""
        ...


@dataclass(frozen=True, slots=True)
class Adapters:
    """What a model can do: make images from words, change sources, or both."""

    makes: Adapter | None = None
    edits: Adapter | None = None


class DiffusionProducer:
    """A `Producer` of one loaded model."""

    def __init__(self, name: str, facts: Mapping[str, str], adapters: Adapters, *, batch_size: int) -> None:
        self.name = name
        self.facts = facts
        self.batch_size = batch_size
        self._adapters: Adapters | None = adapters

    def check(self, setting: Setting, *, edits: bool) -> Setting:
        """Return `setting` with the defaults filled in; of edits without a size, that stays None: it is the source's.

        Raises UsageError for what this model cannot do.
        """
        with quiet():
            return self._adapter(edits=edits).check(setting)

    def unread(self, text: str) -> int:
        """How many tokens of `text` are beyond what all of the model's text encoders read."""
        adapters = self._open()
        adapter = adapters.makes or adapters.edits
        assert adapter is not None
        with quiet():
            return encoders.unread(adapter.pipeline, text)

    def generate(self, requests: Sequence[Request], setting: Setting) -> list[Image.Image]:
        """Make one RGB image for each request; requests that cannot share a batch are drawn in several.

        Raises UsageError for what this model cannot do, InputError `not-finite` for an image that overflowed.
        """
        if not requests:
            return []
        sourced = {request.source is not None for request in requests}
        if len(sourced) == 2:
            raise UsageError("requests with and without a source in one call; make them in two")
        adapter = self._adapter(edits=sourced.pop())
        images: dict[int, Image.Image] = {}
        with quiet():
            ready = adapter.check(setting)
            for positions in _alike(requests, adapter):
                drawn = self._draw(adapter, [requests[i] for i in positions], ready)
                images |= dict(zip(positions, drawn, strict=True))
        return [images[i] for i in range(len(requests))]

    def close(self) -> None:
        """Give back memory. A second call does nothing."""
        if self._adapters is None:
            return
        self._adapters = None
        gc.collect()
        torch.cuda.empty_cache()

    def _open(self) -> Adapters:
        if self._adapters is None:
            raise UsageError(f"{self.name} is closed; open it again")
        return self._adapters

    def _adapter(self, *, edits: bool) -> Adapter:
        adapters = self._open()
        adapter = adapters.edits if edits else adapters.makes
        if adapter is None:
            raise UsageError(
                f"{self.name} cannot edit images; leave the sources out, or take a model that can"
                if edits
                else f"{self.name} edits images and makes none without a source; name the images to edit"
            )
        return adapter

    def _draw(self, adapter: Adapter, requests: Sequence[Request], setting: Setting) -> list[Image.Image]:
        """Draw requests that are alike, `batch_size` at a time: fewer from then on where a GPU has no memory for it."""
        images: list[Image.Image] = []
        while len(images) < len(requests):
            batch = requests[len(images) : len(images) + self.batch_size]
            drawn = _attempt(adapter, batch, setting)
            if drawn is not None:
                images += [_image(pixels, request) for pixels, request in zip(drawn, batch, strict=True)]
            elif len(batch) == 1:
                raise UsageError(
                    f"{self.name}: one image of this size does not fit in the GPU's memory; take a smaller size, a "
                    "dtype of 16 bits, or another GPU"
                )
            else:
                self.batch_size = len(batch) // 2
                torch.cuda.empty_cache()
        return images


def _attempt(adapter: Adapter, batch: Sequence[Request], setting: Setting) -> Array | None:
    """Draw one batch, or return None where the GPU's memory is full, with nothing of the attempt left."""
    with only_from_seeds(adapter.pipeline.device, f"scheduler {setting.scheduler}"):
        try:
            return adapter.draw(batch, setting)
        except torch.cuda.OutOfMemoryError:
            return None


def _alike(requests: Sequence[Request], adapter: Adapter) -> list[list[int]]:
    """Positions of requests that can share a batch, ascending."""
    groups: dict[Hashable, list[int]] = {}
    for position, request in enumerate(requests):
        groups.setdefault(adapter.alike(request), []).append(position)
    return list(groups.values())


def _image(pixels: Array, request: Request) -> Image.Image:
    """(H, W, 3) float, 0 to 1 -> RGB, rounded as diffusers does. Raises InputError where a value is not finite."""
    if not np.isfinite(pixels).all():
        raise InputError(
            "not-finite",
            f"{request.prompt!r}, seed {request.seed}: the model's output is not finite, and would be a black image; "
            "take fp32 or bf16 where it was fp16, or a lower guidance",
        )
    return Image.fromarray((pixels * 255).round().astype(np.uint8))
