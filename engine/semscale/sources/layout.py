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
    BESIDE = "texts beside images"


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


def detect(keys: Iterable[str], count: int) -> tuple[Layout, int]:
    """The layout of a tree of `count` keys without metadata, and how many of them do not fit it.

    PUBLISHED, the layout of the published study, when at least 95 % of the keys are model/prompt/<digits>.<suffix>, so
    that a stray image does not take prompts and models away from all others; else PARENT, which every key fits.
    """
    strays = sum(MODEL_PROMPT_SEED.fullmatch(key) is None for key in keys)
    if strays < count and 20 * strays <= count:
        return Layout.PUBLISHED, strays
    return Layout.PARENT, 0


def describe(key: str, layout: Layout) -> Described:
    """Read model, prompt and seed off a key, or its parent folder where it does not fit the layout."""
    path = PurePosixPath(key)
    if layout is Layout.PUBLISHED and MODEL_PROMPT_SEED.fullmatch(key):
        model, prompt = path.parts[:2]
        return Described(group=prompt, text=prompt, model=model, seed=int(path.stem))
    return Described(group=str(path.parent))


def folder_of(key: str) -> str:
    """The group of an image that a table or a file beside it could have described and did not: `./folder`.

    The dot keeps a folder `dog` apart from the images whose text is `dog`.
    """
    return "/".join((".", *PurePosixPath(key).parent.parts))
