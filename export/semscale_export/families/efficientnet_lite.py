"""EfficientNet-Lite0 for ImageNet (`model_type` "efficientnet-lite0"): its 1280 features, raw.

The weights are those of Google's release, as its PyTorch port converted them; they come with a package, or from a file
with the same names. There is no independent network to compare with: the reference is the one here, in torch. What it
predicts on photographs is tested.

Beside the tower lies its classifier, `head.safetensors`: `weight` (1000, 1280) and `bias` (1000,), which turn features
into logits over ImageNet's classes in their usual order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PretrainedConfig

from semscale.errors import ModelError
from semscale.model import Array, Preprocess
from semscale_export.checkpoint import Checkpoint
from semscale_export.networks.efficientnet_lite import CLASSES, DIM, SIDE, EfficientNetLite0
from semscale_export.networks.folding import load_folded
from semscale_export.spec import image_spec
from semscale_export.towers import ImageTower, ImageTowerOnnxConfig, Tower
from semscale_export.weights import load_weights

HEAD = "head.safetensors"
# Mean and deviation are the release's (efficientnet_lite_builder.py), and so is the crop, 0.875 of the shorter side
# (preprocessing.py): 224 of 256. It crops before it resizes, which is the same up to rounding, and its bicubic is not
# antialiased; Pillow's is, as in timm's settings for the same weights.
MEAN, STD = 127 / 255, 128 / 255
PREPROCESS = Preprocess(256, SIDE, "bicubic", mean=(MEAN, MEAN, MEAN), std=(STD, STD, STD))


def towers(checkpoint: Checkpoint) -> list[Tower]:
    """Load the weights in float32 and return the image tower, the only one.

    Raises ModelError when they cannot be read, or are not this network's.
    """
    where = str(checkpoint.weights()[0])
    tensors = {name: tensor for name, tensor in load_weights(checkpoint).items() if "num_batches_tracked" not in name}
    head = _take_head(tensors, where)
    network = EfficientNetLite0().eval()
    load_folded(network, tensors, network.norms(), where=where)
    spec = image_spec(checkpoint, PREPROCESS, dim=DIM, normalized=False)
    module = ImageTower(network, PretrainedConfig(image_size=SIDE, num_channels=3), spec)

    def reference(images: Sequence[Array]) -> Array:
        normalised = torch.from_numpy((np.stack(images).astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        with torch.inference_mode():
            return network(normalised).numpy()

    def write_head(folder: Path) -> None:
        save_file(head, folder / HEAD)

    return [Tower(spec, module, ImageTowerOnnxConfig, reference, write_head)]


def _take_head(tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Take the classifier out of the tensors. Raises ModelError when it is not there, or of another shape."""
    weight, bias = tensors.pop("_fc.weight", None), tensors.pop("_fc.bias", None)
    if weight is None or bias is None or weight.shape != (CLASSES, DIM) or bias.shape != (CLASSES,):
        raise ModelError(
            f"{where}: no classifier _fc.weight of {(CLASSES, DIM)} with its _fc.bias; give the weights of an "
            "EfficientNet-Lite0 for ImageNet"
        )
    return {"weight": weight.float().contiguous(), "bias": bias.float().contiguous()}
