"""What a key (a path relative to the source) says about an image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".avifs"}
    | {".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"}
)
MODEL_PROMPT_SEED = re.compile(r"[^/]+/[^/]+/[0-9]{1,18}\.[^./]+", re.DOTALL)


class Layout(Enum):
    """How a folder is arranged; the value is what people see."""

    PARENT = "group/image"
    PUBLISHED = "model/prompt/seed"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of one image beside its bytes."""

    group: str
    text: str | None = None
    model: str | None = None
    seed: int | None = None


def is_image_name(name: str) -> bool:
    """Whether a file name has a known image suffix, in any case."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def detect(keys: Iterable[str]) -> Layout:
    """PUBLISHED when every key is model/prompt/<digits>.<suffix>, the layout of the published study; else PARENT."""
    matches = [MODEL_PROMPT_SEED.fullmatch(key) is not None for key in keys]
    return Layout.PUBLISHED if matches and all(matches) else Layout.PARENT


def describe(key: str, layout: Layout) -> Described:
    """Read model, prompt, seed or parent folder off a key."""
    path = PurePosixPath(key)
    if layout is Layout.PUBLISHED and MODEL_PROMPT_SEED.fullmatch(key):
        model, prompt = path.parts[:2]
        return Described(group=prompt, text=prompt, model=model, seed=int(path.stem))
    return Described(group=str(path.parent))
