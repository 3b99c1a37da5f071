"""Linear heads from files: one layer that rates, with a weight of (1, D), or one that tells K classes apart."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semscale.errors import MissingDependencyError, ModelError, SemscaleError, UsageError
from semscale.metrics.quality import LinearHead
from semscale.model import Array

CLASSIFIER = "head.safetensors"  # beside the tower


def read_linear_head(path: str | Path) -> LinearHead:
    """Read a linear head from a .pth, .pt, .safetensors or .npz file; nothing in it is executed.

    The file holds exactly one name that ends in `weight` and one in `bias`. Raises ModelError for a file that is
    missing, damaged or of another shape, and MissingDependencyError for .safetensors without that package.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the file of a linear head")
    if path.suffix not in READERS:
        raise ModelError(f"{path}: a head is read from {', '.join(READERS)}; got {path.suffix or 'no suffix'!r}")
    try:
        content = path.read_bytes()
        tensors = READERS[path.suffix](content)
    except SemscaleError:
        raise
    except Exception as error:  # whatever the readers of three formats make of damaged bytes
        raise ModelError(f"{path}: not a file of plain tensors ({type(error).__name__}); download it again") from error
    weight, bias = _layer(tensors, path)
    return LinearHead(weight, bias, path.name, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """The last layer of a classifier, over the features of the tower it lies beside."""

    weight: Array  # (K, D) float64
    bias: Array  # (K,) float64; zeros where it is left out on purpose
    sha256: str  # of the file

    def logits(self, features: Array) -> Array:
        """(N, D) -> (N, K) float64."""
        return np.asarray(features, np.float64) @ self.weight.T + self.bias


def read_classifier(tower: Path) -> Classifier:
    """Read the classifier beside an exported tower. Raises UsageError where there is none, ModelError when damaged."""
    path = tower / CLASSIFIER
    if not path.is_file():
        raise UsageError(
            f"{tower}: has no classifier ({CLASSIFIER}), so it gives no logits; take efficientnet-lite0, or export the "
            "FID's Inception from a file of weights that holds its last layer (docs/models.md)"
        )
    content = path.read_bytes()
    try:
        tensors = {name: array.astype(np.float64) for name, array in READERS[path.suffix](content).items()}
        weight = tensors["weight"]
        bias = tensors.get("bias", np.zeros(len(weight)))
    except SemscaleError:
        raise
    except Exception as error:  # whatever the reader makes of damaged bytes
        raise ModelError(f"{path}: not a classifier ({error!r}); export the model again") from error
    finite = np.isfinite(weight).all() and np.isfinite(bias).all()
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or not finite:
        raise ModelError(f"{path}: a weight of {weight.shape} and a bias of {bias.shape}; export the model again")
    return Classifier(weight, bias, hashlib.sha256(content).hexdigest())


def _layer(tensors: Mapping[str, Array], path: Path) -> tuple[Array, float]:
    shapes = ", ".join(f"{name} {array.shape}" for name, array in tensors.items()) or "nothing"
    weights = [array for name, array in tensors.items() if name.split(".")[-1] == "weight"]
    biases = [array for name, array in tensors.items() if name.split(".")[-1] == "bias"]
    if not (len(tensors) == 2 and len(weights) == len(biases) == 1):
        raise ModelError(f"{path}: need one layer, a weight and a bias; it holds {shapes}")
    if not all(np.issubdtype(array.dtype, np.floating) for array in (weights[0], biases[0])):
        raise ModelError(f"{path}: a head is of real numbers; it holds {weights[0].dtype} and {biases[0].dtype}")
    weight, bias = weights[0].astype(np.float64), biases[0].astype(np.float64)
    if weight.size == 0 or weight.shape not in ((weight.size,), (1, weight.size)) or bias.size != 1:
        raise ModelError(f"{path}: need a weight of (1, D) and a bias of (1,); it holds {shapes}")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelError(f"{path}: the weights are not finite; download it again")
    return weight.ravel(), float(bias.ravel()[0])


def _from_torch(content: bytes) -> Mapping[str, Array]:
    import torch  # takes a second, and only this format needs it

    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping) or not all(isinstance(one, torch.Tensor) for one in loaded.values()):
        raise ValueError("not a mapping of names to tensors")
    return {str(name): tensor.double().numpy() for name, tensor in loaded.items()}


def _from_safetensors(content: bytes) -> Mapping[str, Array]:
    try:
        from safetensors.numpy import load
    except ModuleNotFoundError as error:
        raise MissingDependencyError("reading .safetensors", "safetensors", "export") from error
    return load(content)


def _from_npz(content: bytes) -> Mapping[str, Array]:
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


READERS: Mapping[str, Callable[[bytes], Mapping[str, Array]]] = {
    ".pth": _from_torch,
    ".pt": _from_torch,
    ".safetensors": _from_safetensors,
    ".npz": _from_npz,
}
