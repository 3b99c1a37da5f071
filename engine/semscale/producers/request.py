"""What a producer is asked for, and what it is: the contract between `generate` and whatever makes images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of a sweep. None leaves the choice to the producer's own default, which it then reports."""

    steps: int | None = None
    guidance: float | None = None
    image_guidance: float | None = None  # of editing models that have it: how closely the source is kept
    strength: float | None = None  # of image-to-image: the share of the noise schedule that is run, 0 to 1
    scheduler: str | None = None  # the name of a diffusers scheduler class
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Blend:
    """Noise between that of two seeds: the request's own at `share` 0, that of `seed` at 1, along the sphere."""

    seed: int
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One image to make. Its noise comes from `seed` alone: not from its batch, nor from what was made before."""

    prompt: str  # text, instruction of an edit, or the name of a class
    seed: int  # 0 to 2**63 - 1
    negative: str | None = None
    source: Image.Image | None = None  # RGB, what to edit
    blend: Blend | None = None


class Producer(Protocol):
    """Makes images. Called by one thread at a time."""

    name: str  # label of the model, and of its folder
    facts: Mapping[str, str]  # for the metadata: model, revision, pipeline, dtype, device, versions of the packages
    batch_size: int  # requests it likes to be given at once; its images do not depend on it

    def check(self, setting: Setting, *, edits: bool) -> Setting:
        """Return `setting` with the defaults filled in. Raises UsageError for what this model cannot do."""
        ...

    def unread(self, text: str) -> int:
        """How many tokens at the end of a prompt the model never sees, as it is longer than it reads; 0 for most."""
        ...

    def generate(self, requests: Sequence[Request], setting: Setting) -> list[Image.Image]:
        """Make one RGB image for each request."""
        ...

    def close(self) -> None:
        """Give back memory."""
        ...
