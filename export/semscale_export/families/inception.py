"""Inception v3 as the Fréchet inception distance takes it (`model_type` "fid-inception"): its 2048 features, raw.

The weights come with a package, as TorchScript, or from a file that is named: a state dict, or safetensors, with the
names of torchvision and pytorch-fid (`pt_inception-2015-12-05-6726825d.pth`). TorchScript holds code, and is read only
when its hash is the package's, out of the same bytes that were hashed. Its own module is then the reference. For a
named file there is none that is independent: its reference is the network here, and the export is compared with that.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PretrainedConfig

from semscale.errors import ModelError
from semscale.model import Array, Preprocess
from semscale_export.checkpoint import Checkpoint
from semscale_export.networks.folding import load_folded
from semscale_export.networks.inception import DIM, SIDE, InceptionV3
from semscale_export.packaged import PACKAGED
from semscale_export.spec import image_spec
from semscale_export.towers import ImageTower, Tower, UnroundedImageTowerOnnxConfig
from semscale_export.weights import load_weights

ARCHIVE_SHA256 = PACKAGED["fid-inception"].sha256
CLASSIFIER, HEAD = "fc.", "head.safetensors"  # in a file of weights, and beside the tower
ARCHIVED = ("weight", "beta", "mean", "var")  # of a layer in the archive; its normalisation has no gain

Network = Callable[[Tensor], Tensor]  # (N, 3, 299, 299) normalised -> (N, 2048)


def towers(checkpoint: Checkpoint) -> list[Tower]:
    """Load the weights in float32 and return the image tower, the only one.

    Raises ModelError when they cannot be read, or are not this network's.
    """
    network, original = load_network(checkpoint)
    head = load_head(checkpoint)
    preprocess = _preprocess(checkpoint)
    spec = image_spec(checkpoint, preprocess, dim=DIM, normalized=False)
    module = ImageTower(network, PretrainedConfig(image_size=SIDE, num_channels=3), spec)

    def reference(images: Sequence[Array]) -> Array:
        scaled = np.stack(images).astype(np.float32) / 255
        mean, std = (np.asarray(values, np.float32) for values in (preprocess.mean, preprocess.std))
        normalised = torch.from_numpy((scaled - mean) / std)
        with torch.inference_mode():
            return original(normalised.permute(0, 3, 1, 2)).numpy()

    def write_head(folder: Path) -> None:
        if head is not None:
            save_file({"weight": head}, folder / HEAD)

    return [Tower(spec, module, UnroundedImageTowerOnnxConfig, reference, write_head)]


def load_network(checkpoint: Checkpoint) -> tuple[InceptionV3, Network]:
    """Return the network with the checkpoint's weights, and what it must agree with. Raises ModelError."""
    network = InceptionV3().eval()
    archive = load_archive(checkpoint)
    tensors = _state_dict(checkpoint) if archive is None else _from_archive(archive, network)
    load_folded(network, tensors, network.norms(), where=str(checkpoint.weights()[0]))
    return network, network if archive is None else archive


def load_head(checkpoint: Checkpoint) -> Tensor | None:
    """Return the classifier's weight (1008, 2048), None where the file has none, as the package's.

    Without its bias: the Inception Score is of logits without, since the graph of 2015 was read before it was added.
    """
    if sha256(checkpoint.weights()[0].read_bytes()).hexdigest() == ARCHIVE_SHA256:
        return None
    weight = load_weights(checkpoint).get(f"{CLASSIFIER}weight")
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != DIM):
        raise ModelError(
            f"{checkpoint.weights()[0]}: its classifier is {tuple(weight.shape)}, not classes by {DIM}; give the "
            "weights of the FID's Inception"
        )
    return None if weight is None else weight.float().contiguous()


def load_archive(checkpoint: Checkpoint) -> torch.jit.ScriptModule | None:
    """Return the package's TorchScript; None where the weights are any other file, which is then not run."""
    content = checkpoint.weights()[0].read_bytes()
    if sha256(content).hexdigest() != ARCHIVE_SHA256:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`torch\.jit\.load` is deprecated"
        )  # its successor reads no such file
        return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()


def _from_archive(archive: torch.jit.ScriptModule, network: InceptionV3) -> dict[str, Tensor]:
    """The archive's tensors by torchvision's names. It has the same layers in the same order, called as in the graph.

    Two that were exchanged would show in the comparison with the archive itself, which every export makes.
    """
    stored = archive.state_dict()
    layers = [name.removesuffix(".beta") for name in stored if name.endswith(".beta")]
    found = {}
    for (ours, norm), theirs in zip(network.norms().items(), layers, strict=True):
        found[f"{ours}.weight"], shift, mean, variance = (stored[f"{theirs}.{part}"] for part in ARCHIVED)
        found |= {f"{norm}.weight": torch.ones_like(shift), f"{norm}.bias": shift}
        found |= {f"{norm}.running_mean": mean, f"{norm}.running_var": variance}
    return found


def _state_dict(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The file's tensors, without the classifier and the counters of training."""
    tensors = load_weights(checkpoint)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(CLASSIFIER) and not name.endswith(".num_batches_tracked")
    }


def _preprocess(checkpoint: Checkpoint) -> Preprocess:
    mean, std = (float(checkpoint.config[key]) for key in ("mean", "std"))
    filter_name = str(checkpoint.config["filter"])
    return Preprocess(SIDE, SIDE, filter_name, (mean, mean, mean), (std, std, std), "stretch")
