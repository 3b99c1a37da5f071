"""Noise: of every image from its own seed alone.

An image has one generator, a CPU one whatever the device, so that the numbers are the same everywhere. Its first draw
is the initial noise, made here in float32 and given to the pipeline, which would otherwise draw it in the dtype of the
model: float16 and bfloat16 draw other numbers. So one seed gives one noise in every model of that latent shape, in any
dtype and batch. What a stochastic scheduler adds later comes from the same generators, in the dtype of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from semscale.errors import UsageError
from semscale.producers.request import Request

Shape = tuple[int, int, int]  # of one image's latents: channels, height, width


def generators(requests: Sequence[Request]) -> list[torch.Generator]:
    """A generator for each request, of its own seed."""
    return [torch.Generator("cpu").manual_seed(request.seed) for request in requests]


def initial(requests: Sequence[Request], drawn_from: Sequence[torch.Generator], shape: Shape) -> torch.Tensor:
    """The initial noise of each request, the first that its generator draws: (B, *shape) float32, on the CPU."""
    noise = [torch.randn(shape, generator=generator) for generator in drawn_from]
    for i, request in enumerate(requests):
        if request.blend is not None:
            other = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(request.blend.seed))
            noise[i] = along_sphere(noise[i], other, request.blend.share)
    return torch.stack(noise)


def along_sphere(one: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    """Spherical interpolation: `one` at share 0, `other` at 1, and between them at lengths as noise has them.

    Shoemake, Animating rotation with quaternion curves (1985); a mean of noises would be shorter than noise.
    """
    a, b = one.double(), other.double()
    angle = torch.arccos(torch.clamp((a * b).sum() / (a.norm() * b.norm()), -1, 1))
    if share == 0 or angle == 0:
        return one
    if share == 1:
        return other
    mixed = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
    return mixed.to(one.dtype)


@contextmanager
def only_from_seeds(device: torch.device, what: str) -> Iterator[None]:
    """Raise UsageError where the block draws from PyTorch's global generators; `what` names what would be to blame."""
    before = _global_states(device)
    yield
    if any(not torch.equal(a, b) for a, b in zip(before, _global_states(device), strict=True)):
        raise UsageError(
            f"{what} draws noise that no seed decides, so its images could not be made again; choose another scheduler"
        )


def _global_states(device: torch.device) -> list[torch.Tensor]:
    on_gpu = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_gpu]
