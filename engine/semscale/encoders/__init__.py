"""Back ends that run an exported tower: a table of names, each imported only when asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.model import Encoder, ModelSpec

DEFAULT_MODEL = "openai/clip-vit-base-patch32"  # the published study's


class Opener(Protocol):
    """What a back end's class offers besides the Encoder protocol."""

    def open(self, folder: Path, *, threads: int | None) -> Encoder:
        """Return an encoder for the tower in `folder` (class method)."""
        ...


@dataclass(frozen=True, slots=True)
class BackEnd:
    """Where a back end lives, and what must be installed for it."""

    target: str  # "module:Class"
    package: str = ""  # its library, as imported
    extra: str = ""  # the extra of semscale that installs it


BACK_ENDS = {
    "onnx": BackEnd("semscale.encoders.ort:OrtEncoder", "onnxruntime", "cpu"),
    "fake": BackEnd("semscale.encoders.fake:FakeEncoder"),
}


def find_exported(path: Path) -> Path | None:
    """Return `path` when it is a folder that `semscale export` wrote, else None."""
    return path if (path / "image" / "model.json").is_file() else None


def load_spec(folder: Path) -> ModelSpec:
    """Return the specification of the tower in `folder`, one of `image` and `text` in an exported folder.

    Raises ModelError when there is none, or when this version does not understand it.
    """
    path = folder / "model.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); give the folder of one tower, such as MODEL/image"
        ) from error
    return ModelSpec.from_json(text, where=str(path))


def open_encoder(folder: Path, *, backend: str = "onnx", threads: int | None = None) -> Encoder:
    """Open the tower in `folder` with the named back end, on `threads` threads (None: every core it may use).

    Raises UsageError for an unknown back end, MissingDependencyError when its library is not installed, and
    ModelError when the tower cannot be loaded.
    """
    if backend not in BACK_ENDS:
        raise UsageError(f"unknown back end {backend!r}; choose from {sorted(BACK_ENDS)}")
    return _opener(backend).open(folder, threads=threads)


def _opener(name: str) -> Opener:
    back_end = BACK_ENDS[name]
    module, _, attribute = back_end.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != back_end.package:
            raise  # the library is there and broken, or we are: not for us to explain away
        raise MissingDependencyError(f"back end {name!r}", back_end.package, back_end.extra) from error
