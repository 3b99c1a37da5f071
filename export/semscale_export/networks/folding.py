"""Convolutions that have taken the batch normalisation after them into their weights.

At inference both are linear (Ioffe and Szegedy 2015, arXiv:1502.03167), so that a network needs one of them. Folded in
float32 it also loses nothing in half precision, where a variance may fall below the smallest number.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semscale.errors import ModelError

EPSILON = 1e-3  # TensorFlow's, and so that of every network that was trained there
NORM = ("weight", "bias", "running_mean", "running_var")


def load_folded(network: nn.Module, tensors: Mapping[str, Tensor], norms: Mapping[str, str], *, where: str) -> None:
    """Fill the convolutions of `network`, which all have a bias, from `tensors`; `where` names these in errors.

    `norms` gives for each convolution, by its name in both, the name of the batch normalisation after it. Raises
    ModelError, naming a tensor, when one is missing, unknown or of another shape.
    """
    wanted = {f"{name}.weight" for name in norms} | {f"{norm}.{part}" for norm in norms.values() for part in NORM}
    missing, unknown = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing or unknown:
        problem = f"lack {missing[0]}" if missing else f"hold {unknown[0]}, which it does not have"
        raise ModelError(
            f"{where}: {len(missing)} tensors of {type(network).__name__} are missing and {len(unknown)} unknown: "
            f"they {problem}; give the weights of this network"
        )
    with torch.no_grad():
        for name, norm in norms.items():
            _fill(network.get_submodule(name), tensors, name, norm, where)


def _fill(convolution: nn.Module, tensors: Mapping[str, Tensor], name: str, norm: str, where: str) -> None:
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    weight, *parts = (tensors[key].double() for key in (f"{name}.weight", *(f"{norm}.{part}" for part in NORM)))
    if weight.shape != convolution.weight.shape or any(part.shape != convolution.bias.shape for part in parts):
        raise ModelError(
            f"{where}: {name}.weight is {tuple(weight.shape)}, and the network needs "
            f"{tuple(convolution.weight.shape)}, with as many numbers in {norm}; give the weights of this network"
        )
    gain, shift, mean, variance = parts
    scale = gain / (variance + EPSILON).sqrt()
    convolution.weight.copy_(weight * scale[:, None, None, None])
    convolution.bias.copy_(shift - mean * scale)
