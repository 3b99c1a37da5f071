"""LPIPS written from the formulas of the paper, and random weights for its trunks and heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

CHANNELS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}
CONVS = {  # name -> (out, in, kernel), by torchvision's names
    "alex": {
        "features.0": (64, 3, 11),
        "features.3": (192, 64, 5),
        "features.6": (384, 192, 3),
        "features.8": (256, 384, 3),
        "features.10": (256, 256, 3),
    },
    "vgg": {
        f"features.{at}": (after, before, 3)
        for at, before, after in [
            *((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256)),
            *((17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512)),
        ]
    },
    "squeeze": {
        "features.0": (64, 3, 3),
        **{
            f"features.{at}.{part}": shape
            for at, before, few, many in [
                *((3, 64, 16, 64), (4, 128, 16, 64), (6, 128, 32, 128), (7, 256, 32, 128)),
                *((9, 256, 48, 192), (10, 384, 48, 192), (11, 384, 64, 256), (12, 512, 64, 256)),
            ]
            for part, shape in [
                ("squeeze", (few, before, 1)),
                ("expand1x1", (many, few, 1)),
                ("expand3x3", (many, few, 3)),
            ]
        },
    },
}
SQUEEZE_TAPS = {4, 7, 9, 10, 11, 12}  # and the first convolution


def trunk_weights(net: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Of the spread that keeps features alive (He et al. 2015), with a classifier's tensor as torchvision's files."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, (after, before, kernel) in CONVS[net].items():
        weight = torch.randn(after, before, kernel, kernel, generator=generator)
        found[f"{name}.weight"] = weight * (2 / (before * kernel**2)) ** 0.5
        found[f"{name}.bias"] = torch.randn(after, generator=generator) / 10
    return found | {"classifier.6.weight": torch.zeros(2, 2)}


def head_weights(net: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random, 0 or more, named as in the package lpips."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"lin{i}.model.1.weight": torch.rand(1, channels, 1, 1, generator=generator)
        for i, channels in enumerate(CHANNELS[net])
    }


def write_weights(net: str, folder: Path) -> tuple[Path, Path]:
    """Write both as state dicts; return the trunk's file and the heads'."""
    folder.mkdir(parents=True, exist_ok=True)
    trunk, heads = folder / f"{net}-trunk.pth", folder / f"{net}-heads.pth"
    torch.save(trunk_weights(net), trunk)
    torch.save(head_weights(net), heads)
    return trunk, heads


def reference(net: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B, H, W, 3) levels from 0 to 255, twice -> (B,) distances in float64."""
    weights = {name: tensor.double() for name, tensor in trunk_weights(net).items()}
    heads = [tensor.double() for tensor in head_weights(net).values()]
    first, second = ({"alex": alex, "vgg": vgg, "squeeze": squeeze}[net](normalised(x), weights) for x in (a, b))
    total = torch.zeros(len(a), dtype=torch.float64)
    for head, u, v in zip(heads, first, second, strict=True):
        apart = (u / (u.norm(dim=1, keepdim=True) + 1e-10) - v / (v.norm(dim=1, keepdim=True) + 1e-10)) ** 2
        total += torch.einsum("c,bchw->b", head.flatten(), apart) / (u.shape[2] * u.shape[3])
    return total.numpy()


def normalised(levels: np.ndarray) -> torch.Tensor:
    """-1 to 1, then ImageNet's mean and deviation on that scale, as the released code rounds them."""
    x = torch.from_numpy(np.asarray(levels, np.float64)).permute(0, 3, 1, 2) * 2 / 255 - 1
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    return (x - shift.double().view(3, 1, 1)) / scale.double().view(3, 1, 1)


def conv(x, weights, name, **options):
    return F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options))


def alex(x, weights):
    one = conv(x, weights, "features.0", stride=4, padding=2)
    two = conv(F.max_pool2d(one, 3, 2), weights, "features.3", padding=2)
    three = conv(F.max_pool2d(two, 3, 2), weights, "features.6", padding=1)
    four = conv(three, weights, "features.8", padding=1)
    return [one, two, three, four, conv(four, weights, "features.10", padding=1)]


def vgg(x, weights):
    found = []
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        x = F.max_pool2d(x, 2, 2) if found else x
        for at in block:
            x = conv(x, weights, f"features.{at}", padding=1)
        found.append(x)
    return found


def squeeze(x, weights):
    x = conv(x, weights, "features.0", stride=2)
    found = [x]
    for at in (3, 4, 6, 7, 9, 10, 11, 12):
        x = F.max_pool2d(x, 3, 2, ceil_mode=True) if at in (3, 6, 9) else x
        few = conv(x, weights, f"features.{at}.squeeze")
        wide = conv(few, weights, f"features.{at}.expand3x3", padding=1)
        x = torch.cat([conv(few, weights, f"features.{at}.expand1x1"), wide], dim=1)
        found += [x] if at in SQUEEZE_TAPS else []
    return found
