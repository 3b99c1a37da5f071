"""The CUDA back end: ONNX Runtime's CUDA provider, tensors bound in device memory, a CUDA graph for the fixed batch.

The binding is tested against a fake of ONNX Runtime. It was never run on a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from semscale.encoders import load_spec
from semscale.encoders.batches import fixed
from semscale.encoders.checks import check_inputs, closed
from semscale.encoders.ort import new_session, options_for
from semscale.encoders.trt_driver import driver_problem
from semscale.errors import UsageError
from semscale.model import Array, ModelSpec

CUDA = "CUDAExecutionProvider"
DEVICE, DEVICE_ID = "cuda", 0  # CUDA_VISIBLE_DEVICES chooses which
BATCHES = {"image": 32, "text": 8}  # rows of the one shape that is captured


class CudaEncoder:
    """An exported tower in ONNX Runtime on an NVIDIA GPU.

    Every run has the same shape and the same device memory, so that it can be captured once as a CUDA graph; fewer
    rows are padded, more are cut.
    """

    def __init__(self, folder: Path, *, precision: str = "fp32", threads: int | None = None) -> None:
        """Load `model.onnx` and `model.json` from `folder`; precision "tf32" allows the GPU to round its factors.

        Raises UsageError when there is no driver, GPU or CUDA provider, ModelError when the model does not load or
        would run somewhere else.
        """
        _check_machine()
        self.spec = replace(load_spec(folder), precision=precision)
        self._batch = BATCHES[self.spec.kind]
        options = options_for(threads)
        options.add_free_dimension_override_by_name("batch", self._batch)  # as the export names the axis
        provider = {"device_id": DEVICE_ID, "enable_cuda_graph": 1, "use_tf32": int(precision == "tf32")}
        session = new_session(folder / "model.onnx", options, CUDA, provider)
        self._bound: _Bound | None = _Bound(session, self.spec, self._batch)

    @classmethod
    def open(cls, folder: Path, *, threads: int | None, precision: str) -> CudaEncoder:
        """Return an encoder on the first GPU."""
        return cls(folder, threads=threads, precision=precision)

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32.

        Raises UsageError for another shape or type, or after `close`.
        """
        if self._bound is None:
            raise closed(self.spec)
        check_inputs(inputs, self.spec)
        embeddings = np.empty((len(inputs), self.spec.dim), np.float32)
        for rows, batch in fixed(inputs, self._batch):
            embeddings[rows] = self._bound.run(batch)[: rows.stop - rows.start]
        return embeddings

    def close(self) -> None:
        """Free the session and its device memory. May be called again."""
        self._bound = None


class _Bound:
    """A session with its input and output at fixed addresses in device memory."""

    def __init__(self, session: onnxruntime.InferenceSession, spec: ModelSpec, batch: int) -> None:
        self._session = session
        self._input = _device_memory((batch, *spec.input_shape), np.dtype(spec.input_dtype))
        self._output = _device_memory((batch, spec.dim), np.dtype(np.float32))
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._input)
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._output)

    def run(self, batch: Array) -> Array:
        """Copy in, run or replay, copy out."""
        self._input.update_inplace(batch)
        self._session.run_with_iobinding(self._binding)
        return self._output.numpy()


def _device_memory(shape: tuple[int, ...], dtype: np.dtype) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype.type, DEVICE, DEVICE_ID)


def _check_machine() -> None:
    if CUDA not in onnxruntime.get_available_providers():
        raise UsageError(
            f"back end 'cuda': the ONNX Runtime installed here has no {CUDA}; "
            "pip uninstall -y onnxruntime && pip install 'semscale[gpu]'"
        )
    if problem := driver_problem():
        raise UsageError(f"back end 'cuda': {problem}; run this on a machine with an NVIDIA GPU, or choose onnx")
