"""LPIPS as one ONNX graph: the trunk and the heads of Zhang et al. 2018, arXiv 1801.03924, version 0.1.

The trunk's weights are torchvision's, from a file that is named: alexnet-owt-*.pth, vgg16-*.pth or squeezenet1_1-*.pth
as it releases them, or safetensors with its names. The heads come with the package lpips, which is looked for and never
imported, or from a file. Neither can run code. The graph is compared with torch, which runs the same module; that the
module is LPIPS, the tests show on random weights, against the formulas of the paper. It was never run on a GPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from semscale.encoders import graph_sha256
from semscale.errors import ModelError, ParityError, UsageError
from semscale.files import sha256
from semscale.model import Array
from semscale.perceptual import GRAPH, SPEC, DistanceSpec, open_distance
from semscale_export.checkpoint import Checkpoint
from semscale_export.networks.lpips_trunks import ARCHITECTURES, Trunk
from semscale_export.new_folder import new_folder
from semscale_export.quiet import quiet
from semscale_export.weights import check_numbers, load_weights

VERSION = "0.1"
OPSET = 18
EPSILON = 1e-10  # added to a length, outside the root
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images from -1 to 1
CLASSIFIERS = ("classifier.", "pre_logits.", "head.")  # torchvision's, and what timm makes of VGG's
TOLERANCE = 1e-4  # relative, of a distance; float32 rounding gives about 1e-6
HEADS_SHA256 = {  # of the files in lpips 0.1.4
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "squeeze": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
}


class Lpips(nn.Module):
    """RGB (B, H, W, 3) float32 from 0 to 255, twice -> (B,) float32 distances."""

    def __init__(self, trunk: Trunk) -> None:
        """Put heads with random weights on `trunk`."""
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(nn.Conv2d(channels, 1, 1, bias=False) for channels in trunk.channels)
        self.shift = nn.Buffer(torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.scale = nn.Buffer(torch.tensor(SCALE).view(1, 3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare image i with image i."""
        both = torch.cat([a, b]).permute(0, 3, 1, 2) / 127.5 - 1
        depths = self.trunk((both - self.shift) / self.scale)
        parts = [self._at_depth(head, features, a.shape[0]) for head, features in zip(self.heads, depths, strict=True)]
        return torch.stack(parts).sum(dim=0)

    @staticmethod
    def _at_depth(head: nn.Module, features: Tensor, n: int) -> Tensor:
        """(2 B, C, H', W') -> (B,): the head's sum over channels of squared differences, averaged over positions."""
        unit = features / ((features * features).sum(dim=1, keepdim=True).sqrt() + EPSILON)
        difference = unit[:n] - unit[n:]
        return head(difference * difference).mean(dim=(1, 2, 3))


def export_lpips(net: str, out: Path, *, weights: Path, heads: Path | None = None) -> DistanceSpec:
    """Write LPIPS with the trunk `net` ("alex", "vgg" or "squeeze") into the new folder `out`; return what it is.

        out/model.onnx     inputs a and b, (B, H, W, 3) float32 from 0 to 255; output distance, (B,) float32
        out/distance.json  a DistanceSpec

    `weights` is the file of the trunk, `heads` that of the heads, None for the installed package's. `out` appears whole
    or not at all. Raises UsageError for an unknown net and when `out` holds something, ModelError for files that cannot
    be read or are of another network, and ParityError when the graph gives other distances than torch.
    """
    if net not in ARCHITECTURES:
        raise UsageError(f"unknown LPIPS net {net!r}; choose from {', '.join(ARCHITECTURES)}")
    with new_folder(out) as folder, quiet():
        heads = find_heads(net) if heads is None else heads
        module = load_lpips(net, weights=weights, heads=heads)
        _write_graph(module, folder / GRAPH)
        spec = DistanceSpec(
            net=net,
            version=VERSION,
            trunk_sha256=sha256(weights),
            heads_sha256=sha256(heads),
            graph=graph_sha256(folder / GRAPH),
            smallest_side=ARCHITECTURES[net].smallest_side,
        )
        (folder / SPEC).write_text(spec.to_json(), encoding="utf-8")
        _compare(module, folder)
    return spec


def find_heads(net: str) -> Path:
    """Return the file of the heads for `net` in the installed package lpips, which is not imported.

    Raises ModelError when it is not installed, or holds another file than version 0.1.4.
    """
    found = importlib.util.find_spec("lpips")
    if found is None or not found.submodule_search_locations:
        raise ModelError(
            "the heads of LPIPS come with a package that is not installed: pip install --no-deps lpips==0.1.4; or give "
            "the file of the heads"
        )
    path = Path(next(iter(found.submodule_search_locations))) / "weights" / f"v{VERSION}" / f"{net}.pth"
    if not path.is_file() or sha256(path) != HEADS_SHA256[net]:
        raise ModelError(f"{path}: not the heads of lpips 0.1.4, by their hash; pip install --no-deps lpips==0.1.4")
    return path


def load_lpips(net: str, *, weights: Path, heads: Path) -> Lpips:
    """Return LPIPS with the trunk `net` and the weights of two files. Raises ModelError, naming a tensor."""
    module = Lpips(Trunk(ARCHITECTURES[net])).eval().requires_grad_(False)
    tensors = _tensors(weights, "the trunk's weights")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(CLASSIFIERS)}
    _fill(dict(module.trunk.named_parameters()), kept, where=f"{weights}: of the trunk {net}")
    parameters = {f"lin{i}.model.1.weight": head for i, head in enumerate(module.heads.parameters())}
    tensors = _tensors(heads, "the heads")
    _fill(parameters, tensors, where=f"{heads}: of the heads for {net}")
    negative = [name for name, parameter in parameters.items() if (parameter < 0).any()]
    if negative:
        raise ModelError(f"{heads}: {negative[0]} holds numbers below 0, and LPIPS's heads do not; give its heads")
    return module


def _tensors(path: Path, what: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the file of {what}")
    checkpoint = Checkpoint(path.name, path.parent, {}, path)
    tensors = load_weights(checkpoint)
    check_numbers(checkpoint, tensors.items())
    return tensors


def _fill(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy tensors into the parameters of the same names. Raises ModelError unless each fits one."""
    missing, unknown = sorted(set(parameters) - set(tensors)), sorted(set(tensors) - set(parameters))
    if missing or unknown:
        problem = f"{missing[0]} is missing" if missing else f"{unknown[0]} does not belong to it"
        raise ModelError(
            f"{where}, {len(missing)} tensors are missing and {len(unknown)} unknown: {problem}; give the file of this "
            "network"
        )
    for name, parameter in parameters.items():
        if tensors[name].shape != parameter.shape:
            raise ModelError(
                f"{where}, {name} is {tuple(tensors[name].shape)}, and the network needs {tuple(parameter.shape)}; "
                "give the file of this network"
            )
        parameter.copy_(tensors[name])


def _write_graph(module: Lpips, path: Path) -> None:
    example = torch.rand(2, 64, 64, 3) * 255
    images = {0: "batch", 1: "height", 2: "width"}
    torch.onnx.export(
        module,
        (example, example.flip(0)),
        path,
        input_names=["a", "b"],
        output_names=["distance"],
        dynamic_axes={"a": images, "b": images, "distance": {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )


def _compare(module: Lpips, folder: Path) -> None:
    """Raise ParityError unless the graph gives the distances of torch, on images of two sizes."""
    distance = open_distance(folder)
    side = distance.spec.smallest_side
    for height, width in ((side, side), (2 * side + 1, 3 * side)):
        a, b = _probes(height, width)
        with torch.inference_mode():
            expected = module(*(torch.from_numpy(images.astype(np.float32)) for images in (a, b))).double().numpy()
        found = distance(a, b)
        if not (np.isfinite(expected) & (expected > 0)).all():
            raise ParityError(
                f"LPIPS with these weights gives distances that are zero or not finite for different images of "
                f"{height} x {width} pixels; the trunk's weights cannot be right. Nothing was kept"
            )
        apart = float(np.abs(found / expected - 1).max())
        if not apart <= TOLERANCE:
            raise ParityError(
                f"the exported LPIPS differs from torch on images of {height} x {width} pixels by {apart:.3g} of the "
                f"distance, allowed {TOLERANCE:g}. Nothing was kept; report this with the versions of torch and "
                "onnxruntime"
            )


def _probes(height: int, width: int) -> tuple[Array, Array]:
    """(3, height, width, 3) uint8 twice: noise and other noise, noise and nearly the same, black and white."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, height, width, 3), np.uint8)
    b = rng.integers(0, 256, (3, height, width, 3), np.uint8)
    b[1] = np.clip(a[1].astype(int) + rng.integers(-8, 9, a[1].shape), 0, 255)
    a[2], b[2] = 0, 255
    return a, b
