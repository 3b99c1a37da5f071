"""The GPU as the TensorRT runtime uses it: pinned and device memory, streams, graphs. Narrow, so that tests bring one.

`TorchDevice`, the real one, was never run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch

from semscale.errors import ModelError
from semscale.model import Array

Shape = tuple[int, ...]


class Host(Protocol):
    """Pinned memory of the machine, which a GPU copies from while the program goes on."""

    array: Array  # what lies there, to be read and written


class Memory(Protocol):
    """Memory of the GPU."""

    address: int


class Stream(Protocol):
    """A queue of work on the GPU; what is queued runs in order, and beside other streams' work."""

    handle: int  # a cudaStream_t

    def upload(self, source: Host, target: Memory) -> None:
        """Queue a copy to the GPU."""
        ...

    def download(self, source: Memory, target: Host) -> None:
        """Queue a copy from the GPU."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` queues, running nothing; return what queues all of it at once."""
        ...

    def wait(self) -> None:
        """Return when everything queued is done."""
        ...


class Device(Protocol):
    """A GPU."""

    def pinned(self, shape: Shape, dtype: str) -> Host:
        """Allocate pinned memory. Raises ModelError when there is not enough."""
        ...

    def allocate(self, shape: Shape, dtype: str) -> Memory:
        """Allocate memory of the GPU. Raises ModelError when there is not enough."""
        ...

    def stream(self) -> Stream:
        """Open a stream."""
        ...


class TorchDevice:
    """The first GPU, through torch, whose CUDA build must be installed."""

    def __init__(self) -> None:
        """Raises ModelError when this torch reaches no GPU."""
        if not torch.cuda.is_available():
            raise ModelError(
                f"torch {torch.__version__} reaches no GPU (torch.cuda.is_available() is false); install its CUDA "
                "build for your driver, or choose --backend onnx"
            )
        self._device = torch.device("cuda", 0)
        torch.cuda.synchronize(self._device)  # makes the context, which TensorRT-RTX looks at before it takes kernels

    def pinned(self, shape: Shape, dtype: str) -> _TorchHost:
        """Allocate pinned memory."""
        with _enough_memory(shape, dtype):
            return _TorchHost(torch.empty(shape, dtype=_torch_dtype(dtype), pin_memory=True))

    def allocate(self, shape: Shape, dtype: str) -> _TorchMemory:
        """Allocate memory of the GPU."""
        with _enough_memory(shape, dtype):
            return _TorchMemory(torch.empty(shape, dtype=_torch_dtype(dtype), device=self._device))

    def stream(self) -> _TorchStream:
        """Open a stream."""
        return _TorchStream(torch.cuda.Stream(self._device))


class _TorchHost:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.array = tensor, tensor.numpy()


class _TorchMemory:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.address = tensor, tensor.data_ptr()


class _TorchStream:
    def __init__(self, stream: Any) -> None:
        self._stream, self.handle = stream, stream.cuda_stream

    def upload(self, source: Any, target: Any) -> None:
        with _explained("a copy to it"), torch.cuda.stream(self._stream):
            target.tensor.copy_(source.tensor, non_blocking=True)

    def download(self, source: Any, target: Any) -> None:
        with _explained("a copy from it"), torch.cuda.stream(self._stream):
            target.tensor.copy_(source.tensor, non_blocking=True)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls count: the pipeline's other threads may use the GPU meanwhile.
        mode = "thread_local"
        with _explained("capturing a graph"), torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
            work()

        def replay() -> None:
            with _explained("a graph"), torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def wait(self) -> None:
        with _explained("its work"):
            self._stream.synchronize()


def _torch_dtype(dtype: str) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch raises for every CUDA error
        raise ModelError(f"the GPU failed at {what} ({error}); check it with nvidia-smi") from error


@contextmanager
def _enough_memory(shape: Shape, dtype: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"the GPU has no memory left for {shape} {dtype}; free it, or build engines with a smaller --max-batch"
        ) from error
