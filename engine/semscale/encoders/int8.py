"""`model.int8.2.onnx`: an exported tower whose products are in 8-bit integers, made at its first use."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from semscale.errors import MissingDependencyError, ModelError, UsageError

NAME = "model.int8.2.onnx"  # the number is of the way it is made


def quantised(folder: Path) -> Path:
    """Return the quantised model of the tower in `folder`; makes it, whole or not at all, where there is none.

    The weights become 8-bit integers; activations are scaled to 8 bits row by row, as they come, without calibration
    (`int8_graph`). Raises MissingDependencyError without the package onnx, UsageError for a model that has no product
    to quantise, and ModelError when the model cannot be read or the folder not be written.
    """
    made, model = folder / NAME, folder / "model.onnx"
    if not model.is_file():
        raise ModelError(f"{model}: no such file; export the model again")
    if made.is_file() and made.stat().st_mtime_ns >= model.stat().st_mtime_ns:
        return made
    if (folder / "model.onnx_data").exists():
        raise ModelError(f"{model}: above 2 GB, which int8 does not support; use another --precision or --backend")
    try:
        with TemporaryDirectory(prefix=f".{NAME}-", dir=folder) as temporary:
            _quantise(model, Path(temporary) / NAME)
            os.replace(Path(temporary) / NAME, made)
    except OSError as error:
        raise ModelError(
            f"{made}: cannot be written ({error.strerror}); quantise a copy of the folder that you may write to"
        ) from error
    return made


def _quantise(model: Path, out: Path) -> None:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise MissingDependencyError("quantising to int8", "onnx", "export") from error
    from semscale.encoders.int8_graph import in_integers
    from semscale.encoders.int8_patches import patches_in_integers

    try:
        graph = onnx.load(model)
        count = in_integers(graph)
        if count:
            patches_in_integers(graph)
    except (DecodeError, ValueError) as error:  # the second where a tensor is not what it says
        raise ModelError(f"{model}: semscale cannot quantise it ({error}); export the model again") from error
    if not count:
        raise UsageError(
            f"{model}: has no matrix product with constant weights, so int8 would be float32 under another name; "
            "choose --precision fp32"
        )
    onnx.save(graph, out)
