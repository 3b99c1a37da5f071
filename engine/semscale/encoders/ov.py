"""The OpenVINO back end: bfloat16 on processors that are faster in it, else float32; always set, and read back."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
from openvino import properties

from semscale.cores import usable_cores
from semscale.encoders import load_spec
from semscale.encoders.batches import fixed
from semscale.encoders.checks import check_inputs, closed
from semscale.encoders.machine import bf16
from semscale.errors import ModelError, UsageError
from semscale.model import Array

DEVICE = "CPU"
BATCH = 8  # rows; as fast as 32 here, and little is wasted on the last batch
REQUESTS = 2  # batches in work at once, each on its share of the threads
TYPES = {"bf16": openvino.Type.bf16, "fp32": openvino.Type.f32}


class OvEncoder:
    """An exported tower in OpenVINO.

    Every batch that OpenVINO sees has BATCH rows, padded where fewer came, so that a row's embedding is the same to
    the last bit for every batch size and position.
    """

    def __init__(self, folder: Path, *, precision: str, threads: int | None = None) -> None:
        """Load `model.onnx` and `model.json` from `folder`.

        Raises UsageError when this machine does not run `precision`, ModelError when the model does not load.
        """
        self.spec = replace(load_spec(folder), precision=precision)
        if precision == "bf16" and bf16() == "broken":
            raise UsageError(
                "OpenVINO's bf16 would end the process here: the processor announces AMX, and a trial of it failed "
                "(some virtual machines hide how its tiles are laid out). Use --precision fp32"
            )
        shape = [BATCH, *self.spec.input_shape]
        compiled = _compiled(folder / "model.onnx", shape, precision, threads or usable_cores())
        self._requests = [compiled.create_infer_request() for _ in range(REQUESTS)]

    @classmethod
    def open(cls, folder: Path, *, threads: int | None, precision: str) -> OvEncoder:
        """Return an encoder on the CPU."""
        return cls(folder, threads=threads, precision=precision)

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32.

        Raises UsageError for another shape or type, or after `close`.
        """
        if not self._requests:
            raise closed(self.spec)
        check_inputs(inputs, self.spec)
        embeddings = np.empty((len(inputs), self.spec.dim), np.float32)
        running: deque[tuple[slice, openvino.InferRequest]] = deque()
        for turn, (rows, batch) in enumerate(fixed(inputs, BATCH)):
            if len(running) == REQUESTS:
                _collect(embeddings, running)
            request = self._requests[turn % REQUESTS]
            request.set_input_tensor(openvino.Tensor(batch))
            request.start_async()
            running.append((rows, request))
        while running:
            _collect(embeddings, running)
        return embeddings

    def close(self) -> None:
        """Free the model and its memory. May be called again."""
        self._requests = []


def _collect(embeddings: Array, running: deque[tuple[slice, openvino.InferRequest]]) -> None:
    rows, request = running.popleft()
    request.wait()
    embeddings[rows] = request.get_output_tensor().data[: rows.stop - rows.start]


def _compiled(path: Path, shape: list[int], precision: str, threads: int) -> openvino.CompiledModel:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; export the model again")
    options = {
        properties.hint.inference_precision: TYPES[precision],
        properties.inference_num_threads: threads,
        properties.num_streams: min(REQUESTS, threads),
        properties.hint.enable_cpu_pinning: False,  # containers often forbid it
    }
    core = openvino.Core()
    try:
        model = core.read_model(path)
        model.reshape(shape)
        compiled = core.compile_model(model, DEVICE, options)
    except RuntimeError as error:  # the only type it raises
        raise ModelError(f"{path}: OpenVINO cannot load it ({error}); export the model again") from error
    taken = compiled.get_property(properties.hint.inference_precision)
    if taken != TYPES[precision]:
        raise UsageError(f"OpenVINO does not run {precision} on this processor (it would take {taken}); choose fp32")
    return compiled
