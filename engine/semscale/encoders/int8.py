"""`model.int8.onnx`: an exported tower with 8-bit weights, made by ONNX Runtime at its first use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from semscale.errors import MissingDependencyError, ModelError, UsageError

NAME = "model.int8.onnx"
QUANTISED = "MatMulInteger"  # what a product becomes
OPERATORS = ["MatMul", "Gemm"]  # those with constant weights; attention's own products stay in float32


def quantised(folder: Path) -> Path:
    """Return the quantised model of the tower in `folder`; makes it, whole or not at all, where there is none.

    The weights become 8-bit integers; activations are scaled to 8 bits as they come (ONNX Runtime's dynamic
    quantisation, without calibration). Raises MissingDependencyError without the package onnx, and ModelError when
    the model cannot be read or the folder not be written.
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
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingDependencyError("quantising to int8", "onnx", "export") from error
    try:
        with _silent():
            quantize_dynamic(model, out, weight_type=QuantType.QInt8, op_types_to_quantize=OPERATORS)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise ModelError(f"{model}: ONNX Runtime cannot quantise it ({error}); export the model again") from error
    if not any(node.op_type == QUANTISED for node in onnx.load(out, load_external_data=False).graph.node):
        raise UsageError(
            f"{model}: has no matrix product with constant weights, so int8 would be float32 under another name; "
            "choose --precision fp32"
        )


@contextmanager
def _silent() -> Iterator[None]:
    before = logging.root.manager.disable  # it logs each tensor on the root logger
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
