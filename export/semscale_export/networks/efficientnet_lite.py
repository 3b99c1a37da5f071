"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, and with ReLU6.

Tan and Le 2019, "EfficientNet", arXiv:1905.11946, and the Lite release of 2020 in tensorflow/tpu
(models/official/efficientnet/lite/efficientnet_lite_builder.py), whose table of stages this is. Up to the pooled
features; layers are called as in the PyTorch port of the release.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

SIDE = 224  # pixels
STEM, DIM = 32, 1280  # channels
CLASSES = 1000  # of the classifier that the release has after the features


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width; the first of them strides."""

    blocks: int
    kernel: int
    stride: int
    expansion: int  # of the channels inside a block
    channels: int  # out


STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)

NORMS = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: (N, C, H, W) -> (N, C', H / stride, W / stride).

    Its stride of 2 halves even sides only, as all are at 224 pixels. SAME then has one pixel less above and to the left
    than below and to the right. torch pads all sides alike: here by a step too many, and the surplus output is dropped.
    """

    def __init__(self, before: int, after: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else (kernel - 2) // 2 + stride
        super().__init__(before, after, kernel, stride, padding, groups=groups)
        self.surplus = stride - 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, self.surplus :, self.surplus :]


class _Block(nn.Module):
    """An inverted bottleneck: (N, C, H, W) -> (N, C', H', W'); Sandler et al. 2018, arXiv:1801.04381."""

    def __init__(self, before: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = before * stage.expansion
        self.expands = stage.expansion > 1
        self.adds = stride == 1 and before == stage.channels
        if self.expands:
            self._expand_conv = _Conv(before, inner)
        self._depthwise_conv = _Conv(inner, inner, stage.kernel, stride=stride, groups=inner)
        self._project_conv = _Conv(inner, stage.channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu6(self._expand_conv(x)) if self.expands else x
        projected = self._project_conv(functional.relu6(self._depthwise_conv(inner)))
        return x + projected if self.adds else projected


class EfficientNetLite0(nn.Module):
    """RGB (N, 3, 224, 224), (x - 127) / 128 of 0..255 -> (N, 1280), the average over the last 7 x 7 positions."""

    def __init__(self) -> None:
        """Make it with random weights."""
        super().__init__()
        self._conv_stem = _Conv(3, STEM, kernel=3, stride=2)
        self._blocks = nn.Sequential(*_blocks())
        self._conv_head = _Conv(STAGES[-1].channels, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        blocks = self._blocks(functional.relu6(self._conv_stem(x)))
        return functional.relu6(self._conv_head(blocks)).mean(dim=(2, 3))

    def norms(self) -> dict[str, str]:
        """Return for each convolution the name of the batch normalisation after it, which it has taken in."""
        names = [name for name, module in self.named_modules() if isinstance(module, _Conv)]
        return {name: name.replace(last, NORMS[last]) for name in names for last in [name.split(".")[-1]]}


def _blocks() -> list[_Block]:
    widths = [STEM, *(stage.channels for stage in STAGES)]
    made = []
    for before, stage in zip(widths, STAGES, strict=False):
        made.append(_Block(before, stage, stage.stride))
        made += [_Block(stage.channels, stage, stride=1) for _ in range(stage.blocks - 1)]
    return made
