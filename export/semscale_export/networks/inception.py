"""Inception v3 as in the graph of 2015-12-05, on which the Fréchet inception distance is defined.

Szegedy et al. 2015, "Rethinking the Inception Architecture", arXiv:1512.00567; up to the features of the last pooling.
That graph is not the network that torchvision has, although the layers are called the same: at the border its average
pooling divides by the pixels that there are, and the pooling of the last block is a maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 299  # pixels
DIM = 2048


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with its ReLU, by torchvision's name."""

    name: str
    channels: int  # out
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padded: bool = True  # to the size that came in


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the network with a name of its own."""

    name: str
    steps: Steps


# A list runs one after the other; a tuple side by side, and its channels are put together.
Steps: TypeAlias = "Conv | Block | Callable[[Tensor], Tensor] | list[Steps] | tuple[Steps, ...]"


def average(x: Tensor) -> Tensor:
    """Average 3 x 3 pixels, (N, C, H, W) -> (N, C, H, W); beyond the border there is nothing to count."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def maximum(x: Tensor) -> Tensor:
    """Take the maximum of 3 x 3 pixels, (N, C, H, W) -> (N, C, H, W)."""
    return functional.max_pool2d(x, 3, stride=1, padding=1)


def shrink(x: Tensor) -> Tensor:
    """Take the maximum of 3 x 3 pixels at every second one, (N, C, H, W) -> (N, C, (H - 1) // 2, (W - 1) // 2)."""
    return functional.max_pool2d(x, 3, stride=2)


def _block_35(name: str, pooled: int) -> Block:
    """At 35 x 35 pixels: figure 5 of the paper."""
    return Block(
        name,
        (
            Conv("branch1x1", 64),
            [Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, 5)],
            [Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, 3), Conv("branch3x3dbl_3", 96, 3)],
            [average, Conv("branch_pool", pooled)],
        ),
    )


def _block_17(name: str, inner: int) -> Block:
    """At 17 x 17 pixels, with 7 x 7 in two steps: figure 6."""
    across, down = (1, 7), (7, 1)
    twice = [Conv("branch7x7dbl_1", inner), Conv("branch7x7dbl_2", inner, down), Conv("branch7x7dbl_3", inner, across)]
    return Block(
        name,
        (
            Conv("branch1x1", 192),
            [Conv("branch7x7_1", inner), Conv("branch7x7_2", inner, across), Conv("branch7x7_3", 192, down)],
            [*twice, Conv("branch7x7dbl_4", inner, down), Conv("branch7x7dbl_5", 192, across)],
            [average, Conv("branch_pool", 192)],
        ),
    )


def _block_8(name: str, pool: Callable[[Tensor], Tensor]) -> Block:
    """At 8 x 8 pixels, where branches end in two: figure 7."""
    across, down = (1, 3), (3, 1)
    double = [Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, 3)]
    return Block(
        name,
        (
            Conv("branch1x1", 320),
            [Conv("branch3x3_1", 384), (Conv("branch3x3_2a", 384, across), Conv("branch3x3_2b", 384, down))],
            [*double, (Conv("branch3x3dbl_3a", 384, across), Conv("branch3x3dbl_3b", 384, down))],
            [pool, Conv("branch_pool", 192)],
        ),
    )


def _from_35_to_17(name: str) -> Block:
    last = Conv("branch3x3dbl_3", 96, 3, stride=2, padded=False)
    return Block(
        name,
        (
            Conv("branch3x3", 384, 3, stride=2, padded=False),
            [Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, 3), last],
            shrink,
        ),
    )


def _from_17_to_8(name: str) -> Block:
    seven = [Conv("branch7x7x3_1", 192), Conv("branch7x7x3_2", 192, (1, 7)), Conv("branch7x7x3_3", 192, (7, 1))]
    return Block(
        name,
        (
            [Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, 3, stride=2, padded=False)],
            [*seven, Conv("branch7x7x3_4", 192, 3, stride=2, padded=False)],
            shrink,
        ),
    )


LAYERS: Steps = [
    Conv("Conv2d_1a_3x3", 32, 3, stride=2, padded=False),
    Conv("Conv2d_2a_3x3", 32, 3, padded=False),
    Conv("Conv2d_2b_3x3", 64, 3),
    shrink,
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, 3, padded=False),
    shrink,
    _block_35("Mixed_5b", 32),
    _block_35("Mixed_5c", 64),
    _block_35("Mixed_5d", 64),
    _from_35_to_17("Mixed_6a"),
    _block_17("Mixed_6b", 128),
    _block_17("Mixed_6c", 160),
    _block_17("Mixed_6d", 160),
    _block_17("Mixed_6e", 192),
    _from_17_to_8("Mixed_7a"),
    _block_8("Mixed_7b", average),
    _block_8("Mixed_7c", maximum),
]


class _Layers(nn.Module):
    """Steps as a module: (N, C, H, W) -> (N, C', H', W'); `channels` is first C and then C'."""

    def __init__(self, channels: int, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        self.channels = self._add(steps, channels)

    def _add(self, step: Steps, channels: int) -> int:
        """Make the modules of a step that takes `channels`; return how many it gives."""
        if isinstance(step, list):
            for part in step:
                channels = self._add(part, channels)
            return channels
        if isinstance(step, tuple):
            return sum(self._add(part, channels) for part in step)
        if isinstance(step, Conv | Block):
            made = _Unit(channels, step) if isinstance(step, Conv) else _Layers(channels, step.steps)
            self.add_module(step.name, made)
            return made.channels
        return channels

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self.steps, x)

    def _run(self, step: Steps, x: Tensor) -> Tensor:
        if isinstance(step, list):
            for part in step:
                x = self._run(part, x)
            return x
        if isinstance(step, tuple):
            return torch.cat([self._run(part, x) for part in step], dim=1)
        return self.get_submodule(step.name)(x) if isinstance(step, Conv | Block) else step(x)


class _Unit(nn.Module):
    """A convolution with its ReLU: (N, C, H, W) -> (N, C', H', W')."""

    def __init__(self, channels: int, layer: Conv) -> None:
        super().__init__()
        down, across = (layer.kernel, layer.kernel) if isinstance(layer.kernel, int) else layer.kernel
        padding = (down // 2, across // 2) if layer.padded else (0, 0)
        self.channels = layer.channels
        self.conv = nn.Conv2d(channels, layer.channels, (down, across), layer.stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv(x))


class InceptionV3(_Layers):
    """RGB (N, 3, 299, 299), (x - 128) / 128 of 0..255 -> (N, 2048), the average over the last 8 x 8 positions."""

    def __init__(self) -> None:
        """Make it with random weights."""
        super().__init__(3, LAYERS)

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        return super().forward(x).mean(dim=(2, 3))

    def norms(self) -> dict[str, str]:
        """Return for each convolution, in the graph's order, the name of the batch normalisation it has taken in."""
        names = [name for name, module in self.named_modules() if isinstance(module, nn.Conv2d)]
        return {name: f"{name.removesuffix('.conv')}.bn" for name in names}
