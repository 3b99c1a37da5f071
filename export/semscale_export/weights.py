"""A checkpoint's weights as tensors, read so that no file can run code."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semscale.errors import ModelError
from semscale_export.checkpoint import Checkpoint

SAFETENSORS = ".safetensors"
NESTED = ("state_dict", "model", "module")  # under which training scripts keep the weights


def load_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return every tensor of the checkpoint by name, on the CPU.

    Safetensors, or what `torch.load` reads with `weights_only`, which refuses everything but plain data. Raises
    ModelError, naming the file, when one cannot be read, or is not a table of tensors.
    """
    found: dict[str, Tensor] = {}
    for path in checkpoint.weights():
        found.update(_safetensors(path) if path.suffix == SAFETENSORS else _pickled(path))
    return found


def check_numbers(checkpoint: Checkpoint, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raise ModelError for the first of some tensors, by name, that holds a complex number, NaN or infinity."""
    for name, tensor in tensors:
        if tensor.is_complex() or (tensor.is_floating_point() and not _finite(tensor)):
            raise ModelError(
                f"{checkpoint.name}: {name} holds numbers that are complex, infinite or none at all; fetch the weights "
                "again, or train again from an earlier checkpoint"
            )


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers are; those of one byte cannot be asked."""
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: the weights cannot be loaded ({error}); fetch or save the file again") from error


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about the file, the error says
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling garbage raises anything at all, and advises to run what it refused
        raise ModelError(
            f"{path}: the weights cannot be loaded as plain tensors (torch says {type(error).__name__}): damaged, or "
            "something that would run code. Give a file that torch.load reads with weights_only=True"
        ) from error
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[name] for name in NESTED if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds something other than a table of tensors; save the model's state_dict() alone")
    return {str(name).removeprefix("module."): value for name, value in content.items()}
