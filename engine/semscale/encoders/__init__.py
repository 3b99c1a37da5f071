"""Back ends that run an exported tower: a table of names, each imported only when asked for."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from semscale import files
from semscale.cores import usable_cores
from semscale.encoders.machine import FAST_BF16, bf16
from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.model import Encoder, ModelSpec

DEFAULT_MODEL = "openai/clip-vit-base-patch32"  # the published study's


class Opener(Protocol):
    """What a back end's class offers besides the Encoder protocol."""

    def open(self, folder: Path, *, threads: int | None, precision: str) -> Encoder:
        """Return an encoder for the tower in `folder` (class method); its `spec.precision` is what really runs."""
        ...


@dataclass(frozen=True, slots=True)
class BackEnd:
    """Where a back end lives, what must be installed for it, and what it can compute in."""

    target: str  # "module:Class"
    package: str = ""  # its library, as imported; "" where there is none, or where the back end itself looks for one
    extra: str = ""  # the extra of semscale that installs it
    precisions: tuple[str, ...] = ("fp32",)  # the default first, but see `precision_of`
    batch_size: int = 32  # images a call that keep it busy, where nobody says


ROWS_PER_BATCH = max(32, 4 * usable_cores())  # where each core takes some rows
BACK_ENDS = {
    "onnx": BackEnd("semscale.encoders.ort:OrtEncoder", "onnxruntime", "cpu", ("fp32", "int8"), ROWS_PER_BATCH),
    "openvino": BackEnd("semscale.encoders.ov:OvEncoder", "openvino", "openvino", ("bf16", "fp32")),
    "cuda": BackEnd("semscale.encoders.ort_cuda:CudaEncoder", "onnxruntime", "gpu", ("fp32", "tf32"), 256),
    "tensorrt": BackEnd("semscale.encoders.trt:TrtEncoder", "", "tensorrt", ("fp16", "fp32"), 512),
    "torch": BackEnd("semscale_export.reference:TorchEncoder", "torch", "export", ("fp32", "fp16", "bf16")),
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
    spec = ModelSpec.from_json(text, where=str(path))
    if folder.name in {"image", "text"} and spec.kind != folder.name:
        raise ModelError(f"{path}: is of the {spec.kind} tower; put the folders image and text back in their places")
    return spec


def precision_of(backend: str, precision: str | None = None) -> str:
    """Return the precision that the named back end runs: the given one, or its default on this machine.

    The default is the first of its table, but OpenVINO's is bf16 only where that is faster. Raises UsageError for an
    unknown back end, or a precision that it does not have.
    """
    if backend not in BACK_ENDS:
        raise UsageError(f"unknown back end {backend!r}; choose from {sorted(BACK_ENDS)}")
    known = BACK_ENDS[backend].precisions
    if precision is None:
        return "fp32" if backend == "openvino" and bf16() not in FAST_BF16 else known[0]
    if precision not in known:
        raise UsageError(f"back end {backend!r} has no precision {precision!r}; choose from {', '.join(known)}")
    return precision


def open_encoder(
    folder: Path, *, backend: str = "onnx", precision: str | None = None, threads: int | None = None
) -> Encoder:
    """Open the tower in `folder` with the named back end, on `threads` threads (None: every core it may use).

    `precision` None is the back end's default on this machine (`precision_of`). Raises UsageError for an unknown back
    end or precision and for one that this machine cannot run, MissingDependencyError when its library is not
    installed, and ModelError when the tower cannot be loaded.
    """
    chosen = precision_of(backend, precision)
    opener = _opener(backend)
    check_graph(folder)
    return opener.open(folder, threads=threads, precision=chosen)


def graph_sha256(graph: Path) -> str:
    """Return the SHA-256, hexadecimal, of a graph and of the weights beside it; "" when there is none."""
    parts = sorted(path for path in graph.parent.glob(f"{graph.name}*") if path.is_file())
    digests = [_sha256(path, path.stat().st_mtime_ns, path.stat().st_size) for path in parts]
    if graph not in parts:
        return ""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def check_graph(folder: Path) -> None:
    """Raise ModelError unless `model.onnx` in `folder` is the one that its specification was written for."""
    wanted, graph = load_spec(folder).graph, folder / "model.onnx"
    if wanted and graph_sha256(graph) not in {wanted, ""}:  # without it, the back end says what is missing
        raise ModelError(f"{graph}: not the file that was exported with model.json; export the model again")


@cache
def _sha256(path: Path, modified: int, size: int) -> str:
    """A file's, found once while it stays as it is: its weights may be gigabytes."""
    del modified, size
    return files.sha256(path)


def _opener(name: str) -> Opener:
    back_end = BACK_ENDS[name]
    module, _, attribute = back_end.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != back_end.package:
            raise  # the library is there and broken, or we are: not for us to explain away
        raise MissingDependencyError(f"back end {name!r}", back_end.package, back_end.extra) from error
