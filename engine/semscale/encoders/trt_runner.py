"""One engine at one fixed batch size on one stream: pinned input -> GPU -> pinned output, as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.encoders.trt_device import Device, Stream
from semscale.encoders.trt_driver import Gpu
from semscale.encoders.trt_files import Profile
from semscale.encoders.trt_kernels import Kernels, has_kernels, kernels_file
from semscale.encoders.trt_library import Library, Watch
from semscale.errors import ModelError
from semscale.model import Array, ModelSpec

HINT = "check the GPU with nvidia-smi, or choose --backend onnx"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a batch that are run together, and the profile they are run with, padded to its largest batch."""

    start: int
    stop: int
    profile: int  # index in the engine


def cut(count: int, profiles: Sequence[Profile]) -> list[Chunk]:
    """Cut `count` rows: into full batches of the largest profile, and the rest for the smallest that holds it."""
    largest = max(profile.high for profile in profiles)
    chunks = []
    for start in range(0, count, largest):
        stop = min(start + largest, count)
        fitting = (index for index, profile in enumerate(profiles) if profile.high >= stop - start)
        chunks.append(Chunk(start, stop, min(fitting, key=lambda index: profiles[index].high)))
    return chunks


@dataclass(frozen=True, slots=True)
class Engine:
    """A deserialised engine, and where it came from. The runtime must outlive the engine."""

    library: Library
    runtime: Any
    handle: Any  # the library's ICudaEngine
    file: Path
    profiles: tuple[Profile, ...]
    input: str
    output: str
    kernels: Kernels | None  # where the library compiles them at run time

    def watched(self) -> AbstractContextManager[Watch]:
        """Collect the library's log for an error about this engine."""
        return self.library.watched(str(self.file), HINT)


def load_engine(
    library: Library, data: bytes, file: Path, *, profiles: tuple[Profile, ...], spec: ModelSpec, gpu: Gpu
) -> Engine:
    """Deserialise an engine; `file` names it in errors. Needs a driver: ask for it first.

    Raises ModelError, with the library's log, when it refuses the engine or the engine is not that of `spec`.
    """
    with library.watched(str(file), HINT) as watch:
        runtime = watch.need(library.module.Runtime(library.log), "made no runtime")
        handle = watch.need(runtime.deserialize_cuda_engine(data), "refuses the engine")
        kernels = Kernels(library, handle, kernels_file(file, gpu), watch) if has_kernels(library) else None
    found = _tensors(library, handle)
    wanted = {"INPUT": (spec.input_dtype, spec.input_shape), "OUTPUT": ("float32", (spec.dim,))}
    if {mode: described for mode, (_, described) in found.items()} != wanted:
        raise ModelError(
            f"{file}: has {found}, and the {spec.kind} tower of {spec.name} needs {wanted}; build it again"
        )
    return Engine(library, runtime, handle, file, profiles, found["INPUT"][0], found["OUTPUT"][0], kernels)


def _tensors(library: Library, handle: Any) -> dict[str, tuple[str, tuple[str, tuple[int, ...]]]]:
    """By mode: the tensor's name, and its type and shape without the batch."""
    found = {}
    for name in map(handle.get_tensor_name, range(handle.num_io_tensors)):
        dtype = library.module.nptype(handle.get_tensor_dtype(name)).__name__
        found[handle.get_tensor_mode(name).name] = (name, (dtype, tuple(handle.get_tensor_shape(name))[1:]))
    return found


class Runner:
    """Runs up to `size` rows at a time, always `size` after padding. `start` and `finish` alternate.

    The first batch is run as it is, which lets TensorRT settle; then copies and compute are captured in one CUDA
    graph, unless the library captures by itself.
    """

    def __init__(self, engine: Engine, profile: int, *, device: Device, stream: Stream, spec: ModelSpec) -> None:
        """Allocate buffers and a context. Raises ModelError when memory is short or the library refuses."""
        self.size = engine.profiles[profile].high
        self._engine, self._stream = engine, stream
        shape, out = (self.size, *spec.input_shape), (self.size, spec.dim)
        self._in, self._out = device.pinned(shape, spec.input_dtype), device.pinned(out, "float32")
        self._source, self._target = device.allocate(shape, spec.input_dtype), device.allocate(out, "float32")
        with engine.watched() as watch:
            self._context = _context(engine, watch)
            self._bind(profile, shape, watch)
        self._replay: Callable[[], None] | None = None
        self._rows = 0

    def start(self, rows: Array) -> None:
        """Queue (n, *spec.input_shape), n from 1 to `size`, and return at once. Raises ModelError."""
        self._rows = len(rows)
        self._in.array[: self._rows] = rows
        self._in.array[self._rows :] = rows[-1]  # whatever the model makes of it, it is a valid input
        if self._replay is not None:
            self._replay()
        else:
            self._queue()

    def finish(self) -> Array:
        """Wait for what was started: (n, D) float32, in the runner's own buffer, to be copied before the next start."""
        self._stream.wait()
        if self._replay is None:
            self._replay = self._stream.capture(self._queue) if self._capturable() else self._queue
        return self._out.array[: self._rows]

    def _queue(self) -> None:
        self._stream.upload(self._in, self._source)
        with self._engine.watched() as watch:
            watch.need(self._context.execute_async_v3(self._stream.handle), "did not run the engine")
        self._stream.download(self._target, self._out)

    def _bind(self, profile: int, shape: tuple[int, ...], watch: Watch) -> None:
        context, engine = self._context, self._engine
        watch.need(context.set_optimization_profile_async(profile, self._stream.handle), f"has no profile {profile}")
        watch.need(context.set_input_shape(engine.input, shape), f"does not take {shape}")
        watch.need(context.set_tensor_address(engine.input, self._source.address), "refused the input's address")
        watch.need(context.set_tensor_address(engine.output, self._target.address), "refused the output's address")
        self._stream.wait()  # changing the profile may have queued copies

    def _capturable(self) -> bool:
        # A library that compiles kernels also captures by itself, as `Kernels` asked.
        return self._engine.kernels is None


def _context(engine: Engine, watch: Watch) -> Any:
    if engine.kernels is None:
        return watch.need(engine.handle.create_execution_context(), "made no context")
    return watch.need(engine.handle.create_execution_context(engine.kernels.config), "made no context")
