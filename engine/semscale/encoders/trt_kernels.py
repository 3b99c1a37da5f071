"""Kernels that TensorRT-RTX compiled on a GPU, kept beside the engine, so that the next run need not wait for them.

    tensorrt_rtx-0f3a.engine.NVIDIA-H200.kernels

The library validates what it reads: kernels of another GPU, driver or version are refused by it, and compiled anew.
`tensorrt`, whose engines hold their kernels, has none of this. Never run on a GPU.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from semscale import files
from semscale.encoders.trt_driver import Gpu
from semscale.encoders.trt_library import Library, Watch
from semscale.errors import StoreError


class Kernels:
    """The runtime configuration of one engine, shared by its contexts, with the kernels it knew and those it learns."""

    def __init__(self, library: Library, handle: Any, path: Path, watch: Watch) -> None:
        """Configure CUDA graphs, and read what lies at `path`. Raises ModelError when the library refuses."""
        self.config = watch.need(handle.create_runtime_config(), "made no runtime configuration")
        self.config.cuda_graph_strategy = library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._path, self._library = path, library
        self._cache = watch.need(self.config.create_runtime_cache(), "made no runtime cache")
        self._known = self._read()
        watch.need(self.config.set_runtime_cache(self._cache), "refused the runtime cache")

    def keep(self) -> None:
        """Write the kernels when there are new ones; where the folder may not be written, every run compiles them."""
        found = self._cache.serialize()
        if found is not None and bytes(found) != self._known:
            self._known = bytes(found)
            with suppress(StoreError):
                files.replace(self._path, self._known)

    def _read(self) -> bytes:
        try:
            data = self._path.read_bytes()
        except OSError:  # none yet, or not to be read: the library compiles them
            return b""
        taken = self._cache.deserialize(data)
        self._library.log.lines.clear()  # that it refuses them is no fault of what comes next
        return data if taken else b""


def kernels_file(engine: Path, gpu: Gpu) -> Path:
    """Where the kernels of an engine for one GPU lie."""
    return engine.with_name(f"{engine.name}.{re.sub(r'[^A-Za-z0-9_.]+', '-', gpu.name)}.kernels")


def has_kernels(library: Library) -> bool:
    """Whether the library compiles kernels at run time and lets them be kept."""
    return hasattr(library.module, "CudaGraphStrategy")
