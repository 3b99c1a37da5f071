"""The ONNX Runtime back end: float32 on the CPU, the reference every other back end is measured against."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore[reportAttributeAccessIssue]

from semscale.encoders import load_spec
from semscale.encoders.checks import check_inputs
from semscale.errors import ModelError, UsageError
from semscale.model import Array

CPU = "CPUExecutionProvider"
ERRORS_ONLY = 3  # ONNX Runtime's severity
LOAD_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)


class OrtEncoder:
    """An exported tower in ONNX Runtime.

    For one batch size B a row's embedding is the same to the last bit wherever it stands in the batch and whatever
    its neighbours are. Between batch sizes it may differ by rounding, because the matrix products are cut differently.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, provider: str = CPU) -> None:
        """Load `model.onnx` and `model.json` from `folder`.

        Raises UsageError when this ONNX Runtime has no such provider, ModelError when the model does not load or
        would run somewhere else.
        """
        self.spec = load_spec(folder)
        self._session: onnxruntime.InferenceSession | None = _session(folder / "model.onnx", threads, provider)
        self._input = self._session.get_inputs()[0].name

    @classmethod
    def open(cls, folder: Path, *, threads: int | None) -> OrtEncoder:
        """Return an encoder on the CPU."""
        return cls(folder, threads=threads)

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32.

        Raises UsageError for another shape or type, or after `close`. An embedding that is not finite is returned as
        it is: whoever scores it counts it as invalid.
        """
        if self._session is None:
            raise UsageError(f"the {self.spec.kind} tower of {self.spec.name} is closed; open it again")
        check_inputs(inputs, self.spec)
        if len(inputs) == 0:
            return np.empty((0, self.spec.dim), np.float32)
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(inputs)})
        embeddings = cast(Array, outputs[0])
        return embeddings

    def close(self) -> None:
        """Free the session and its memory. May be called again."""
        self._session = None


def _session(path: Path, threads: int | None, provider: str) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise UsageError(f"this ONNX Runtime has no {provider}; it has {available}")
    if not path.is_file():
        raise ModelError(f"{path}: no such file; export the model again")
    try:
        session = onnxruntime.InferenceSession(path, _options(threads), providers=[provider])
    except LOAD_ERRORS as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}); export the model again") from error
    session.disable_fallback()  # a provider that fails must say so, not become another one
    if session.get_providers()[0] != provider:
        raise ModelError(f"{path}: asked for {provider}, and ONNX Runtime chose {session.get_providers()}")
    return session


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # A number, never ONNX Runtime's own default: that one pins threads to cores, which fails with noise in containers.
    options.intra_op_num_threads = threads or _usable_cores()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = ERRORS_ONLY
    return options


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
