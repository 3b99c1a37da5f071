"""The CLIP package, which imports torchvision for five of its transforms: where there is none, Pillow stands in.

On Pillow's images torchvision calls Pillow too, so that pixels and costs are the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Loaded = tuple[Any, Callable[[Image.Image], torch.Tensor]]  # the model, and what prepares an image for it


def loaded(archive: Path) -> Loaded:
    """What `clip.load` gives, the file being there: its SHA-256, then its tensors into a network built anew."""
    with torchvision():
        import clip  # pyright: ignore[reportMissingImports] - the peer's own

    hashlib.sha256(archive.read_bytes())
    return clip.load(str(archive), device=DEVICE)


@contextmanager
def torchvision() -> Iterator[None]:
    """Let `torchvision.transforms` be the classes below meanwhile, unless there is a torchvision."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    transforms = ModuleType("torchvision.transforms")
    for each in (Compose, Resize, CenterCrop, ToTensor, Normalize):
        setattr(transforms, each.__name__, each)
    modules = {"torchvision": ModuleType("torchvision"), transforms.__name__: transforms}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


class Compose:
    """One after the other."""

    def __init__(self, steps: Sequence[Callable]) -> None:
        self._steps = steps

    def __call__(self, image: Any) -> Any:
        """Through all of them."""
        for step in self._steps:
            image = step(image)
        return image


class Resize:
    """The shorter side to `size`, the longer in proportion, rounded down."""

    def __init__(self, size: int, interpolation: Image.Resampling) -> None:
        self._size, self._interpolation = size, interpolation

    def __call__(self, image: Image.Image) -> Image.Image:
        """Pillow's resize."""
        short = min(image.size)
        width, height = (self._size * side // short for side in image.size)
        return image.resize((width, height), self._interpolation)


class CenterCrop:
    """A square of `size` from the middle."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        """Pillow's crop."""
        left, top = (round((side - self._size) / 2) for side in image.size)
        return image.crop((left, top, left + self._size, top + self._size))


class ToTensor:
    """An image to (3, H, W) float32 of 0 to 1."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Through NumPy."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Normalize:
    """Less the mean of its colour, over its deviation."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(values).reshape(3, 1, 1) for values in (mean, std))

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """(3, H, W) -> the same."""
        return image.clone().sub_(self._mean).div_(self._std)
