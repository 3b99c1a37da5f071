"""The three trunks of LPIPS up to their last layer that counts, with torchvision's parameter names.

AlexNet in its one-tower form (Krizhevsky 2014, arXiv:1404.5997), VGG16 (Simonyan and Zisserman 2014, arXiv:1409.1556)
and SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360). LPIPS compares what each gives at several depths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with its ReLU, two layers of torchvision's sequence."""

    channels: int  # out
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    tapped: bool = False  # whether LPIPS compares what it gives


@dataclass(frozen=True, slots=True)
class Pool:
    """A maximum over a square of pixels, every second one."""

    kernel: int = 3
    past_border: bool = False  # whether a last square that reaches beyond the image counts


@dataclass(frozen=True, slots=True)
class Squeeze:
    """SqueezeNet's "fire" module: few channels by 1 x 1, then many by 1 x 1 and as many by 3 x 3."""

    few: int
    many: int
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class Architecture:
    """A trunk, layer by layer."""

    steps: Sequence[Conv | Pool | Squeeze]
    smallest_side: int  # pixels; with fewer a pooling has nothing left


ARCHITECTURES: Mapping[str, Architecture] = {
    "alex": Architecture(
        (
            Conv(64, 11, stride=4, padding=2, tapped=True),
            Pool(),
            Conv(192, 5, padding=2, tapped=True),
            Pool(),
            Conv(384, tapped=True),
            Conv(256, tapped=True),
            Conv(256, tapped=True),
        ),
        smallest_side=31,
    ),
    "vgg": Architecture(
        (
            *(Conv(64), Conv(64, tapped=True), Pool(2)),
            *(Conv(128), Conv(128, tapped=True), Pool(2)),
            *(Conv(256), Conv(256), Conv(256, tapped=True), Pool(2)),
            *(Conv(512), Conv(512), Conv(512, tapped=True), Pool(2)),
            *(Conv(512), Conv(512), Conv(512, tapped=True)),
        ),
        smallest_side=16,
    ),
    "squeeze": Architecture(
        (
            Conv(64, stride=2, padding=0, tapped=True),
            *(Pool(past_border=True), Squeeze(16, 64), Squeeze(16, 64, tapped=True)),
            *(Pool(past_border=True), Squeeze(32, 128), Squeeze(32, 128, tapped=True)),
            *(Pool(past_border=True), Squeeze(48, 192, tapped=True), Squeeze(48, 192, tapped=True)),
            *(Squeeze(64, 256, tapped=True), Squeeze(64, 256, tapped=True)),
        ),
        smallest_side=17,
    ),
}


class Fire(nn.Module):
    """(N, C, H, W) -> (N, 2 many, H, W)."""

    def __init__(self, channels: int, step: Squeeze) -> None:
        """Make it for `channels` in, with random weights."""
        super().__init__()
        self.squeeze = nn.Conv2d(channels, step.few, 1)
        self.expand1x1 = nn.Conv2d(step.few, step.many, 1)
        self.expand3x3 = nn.Conv2d(step.few, step.many, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze and expand."""
        few = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(few).relu(), self.expand3x3(few).relu()], dim=1)


class Trunk(nn.Module):
    """RGB (N, 3, H, W), normalised -> for each depth that counts, (N, C, H', W'); `channels` is the C of each."""

    def __init__(self, architecture: Architecture) -> None:
        """Make it with random weights."""
        super().__init__()
        self.features = nn.Sequential()
        self.channels: list[int] = []
        self._taps: set[int] = set()
        width = 3
        for step in architecture.steps:
            width = self._add(step, width)
            if not isinstance(step, Pool) and step.tapped:
                self._taps.add(len(self.features) - 1)
                self.channels.append(width)

    def _add(self, step: Conv | Pool | Squeeze, width: int) -> int:
        """Append the layers of a step that takes `width` channels; return how many it gives."""
        if isinstance(step, Pool):
            self.features.append(nn.MaxPool2d(step.kernel, stride=2, ceil_mode=step.past_border))
            return width
        if isinstance(step, Squeeze):
            self.features.append(Fire(width, step))
            return 2 * step.many
        self.features.append(nn.Conv2d(width, step.channels, step.kernel, step.stride, step.padding))
        self.features.append(nn.ReLU())
        return step.channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what the tapped layers give, shallow ones first."""
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                found.append(x)
        return found
