"""The TensorRT back end: engines that `semscale export --tensorrt` built, run by TensorRT or TensorRT-RTX.

Binding, padding, cutting and the order of work are tested against a small fake. It was never run on a GPU.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np

from semscale.encoders import graph_sha256, load_spec
from semscale.encoders.checks import check_inputs, closed
from semscale.encoders.trt_device import Device, TorchDevice
from semscale.encoders.trt_driver import ANY_GPU, Gpu, find_gpu
from semscale.encoders.trt_files import (
    PRECISIONS,
    REBUILD,
    RECIPE,
    EngineKey,
    EngineRecord,
    graph_file,
    precision_folder,
    read_engine,
    read_record,
    record_file,
)
from semscale.encoders.trt_library import FLAVOURS, Library, installed, load_library
from semscale.encoders.trt_runner import Engine, Runner, cut, load_engine
from semscale.errors import MissingDependencyError, ModelError
from semscale.model import Array, ModelSpec

LANES = 2  # while one batch computes, the next is copied


class TrtEncoder:
    """An exported tower in TensorRT.

    Every run has one of a few fixed batch sizes, the largest of each profile of the engine; fewer rows are padded.
    What exceeds the largest is cut, and the pieces take turns on two streams with pinned buffers of their own, so
    that one is copied while the other computes. Give several times the largest batch to `encode` to profit.
    """

    def __init__(self, engine: Engine, spec: ModelSpec, device: Device) -> None:
        """Wrap a loaded engine. Buffers and contexts are made when first needed."""
        self.spec = spec
        self._engine: Engine | None = engine
        self._device = device
        self._streams = [device.stream() for _ in range(LANES)]
        self._runners: dict[tuple[int, int], Runner] = {}  # by profile and lane

    @classmethod
    def open(cls, folder: Path, *, threads: int | None, precision: str | None = None) -> TrtEncoder:
        """Return an encoder for the tower in `folder`, in "fp16" (None) or "fp32"; starts no threads.

        Raises MissingDependencyError without TensorRT, UsageError without a driver or GPU and for another precision,
        and ModelError, naming the file, when there is no engine, or it is damaged or made for something else.
        """
        del threads
        precision = precision or PRECISIONS[0]
        spec = replace(load_spec(folder), precision=precision)
        place = precision_folder(folder, precision)
        names = installed()
        if not names:
            extra = FLAVOURS["tensorrt"].extra
            raise MissingDependencyError("back end 'tensorrt'", "tensorrt (or tensorrt-rtx)", extra)
        gpu = find_gpu()  # before any object of the library is made: without a driver that can end the process
        library, path, record = _choose(place, names, gpu)
        check_key(path, record, library, gpu)
        device, data = TorchDevice(), read_engine(path, record)
        file = path.with_name(record.file)
        return cls(load_engine(library, data, file, profiles=record.key.profiles, spec=spec, gpu=gpu), spec, device)

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32, for any B.

        Raises UsageError for another shape or type, or after `close`; ModelError, with TensorRT's log, when the
        engine does not run.
        """
        if self._engine is None:
            raise closed(self.spec)
        check_inputs(inputs, self.spec)
        try:
            return self._encode(self._engine, inputs)
        except ModelError:
            self._settle()  # or the next call would write into buffers that are still being read
            raise

    def close(self) -> None:
        """Free the engine and its memory, and keep the kernels it compiled. May be called again."""
        self._settle()
        if self._engine is not None and self._engine.kernels is not None:
            self._engine.kernels.keep()
        self._runners.clear()  # the contexts before their engine
        self._engine = None

    def _encode(self, engine: Engine, inputs: Array) -> Array:
        out = np.empty((len(inputs), self.spec.dim), np.float32)
        running: deque[tuple[slice, Runner]] = deque()
        for turn, chunk in enumerate(cut(len(inputs), engine.profiles)):
            if len(running) == LANES:
                _collect(out, running)
            runner = self._runner(engine, chunk.profile, turn % LANES)
            rows = slice(chunk.start, chunk.stop)
            runner.start(inputs[rows])
            running.append((rows, runner))
        while running:
            _collect(out, running)
        return out

    def _settle(self) -> None:
        for stream in self._streams:
            stream.wait()

    def _runner(self, engine: Engine, profile: int, lane: int) -> Runner:
        if (profile, lane) not in self._runners:
            stream = self._streams[lane]
            self._runners[profile, lane] = Runner(engine, profile, device=self._device, stream=stream, spec=self.spec)
        return self._runners[profile, lane]


def check_key(path: Path, record: EngineRecord, library: Library, gpu: Gpu) -> None:
    """Raise ModelError, naming what changed, unless the engine recorded at `path` fits machine and graph."""
    here = replace(
        record.key,
        onnx=_onnx(path.parent, record.key),
        flavour=library.flavour,
        version=library.version,
        gpu=ANY_GPU if library.portable else gpu,
        recipe=RECIPE,
    )
    if changed := here.differences(record.key):
        raise ModelError(f"{path}: the engine does not fit, because {changed}; {REBUILD}")


def _onnx(folder: Path, key: EngineKey) -> str:
    return graph_sha256(graph_file(folder)) or key.onnx  # an engine may travel without its graph


def _choose(folder: Path, names: list[str], gpu: Gpu) -> tuple[Library, Path, EngineRecord]:
    """The preferred installed library for which there is an engine."""
    for name in names:
        path = record_file(folder, name, ANY_GPU if FLAVOURS[name].portable else gpu)
        record = read_record(path)
        if record is not None:
            return load_library(name), path, record
    raise ModelError(f"{folder}: no engine of {' or '.join(names)} for {gpu.name}; {REBUILD}")


def _collect(out: Array, running: deque[tuple[slice, Runner]]) -> None:
    rows, runner = running.popleft()
    out[rows] = runner.finish()
