"""semscale scores images made by generative models, at the scale of millions.

import semscale
run = semscale.score("my-images", model="demo")
run.scores["scs"].value
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Run",
    "Score",
    "Settings",
    "embed",
    "encode_images",
    "encode_texts",
    "metrics",
    "open_source",
    "open_store",
    "score",
]

if TYPE_CHECKING:
    from semscale import metrics
    from semscale.arrays import encode_images, encode_texts
    from semscale.model import Score
    from semscale.run import Run, embed, score
    from semscale.settings import Settings
    from semscale.sources import open_source
    from semscale.store import open_store

_HOMES = {
    "Run": "semscale.run",
    "Score": "semscale.model",
    "Settings": "semscale.pipeline",
    "embed": "semscale.run",
    "encode_images": "semscale.arrays",
    "encode_texts": "semscale.arrays",
    "open_source": "semscale.sources",
    "open_store": "semscale.store",
    "score": "semscale.run",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `semscale --help` should not wait for torch."""
    if name == "metrics":
        return importlib.import_module("semscale.metrics")
    if name not in _HOMES:
        raise AttributeError(f"module 'semscale' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
