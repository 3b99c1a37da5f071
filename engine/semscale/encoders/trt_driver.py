"""The NVIDIA driver, asked before TensorRT is: without one, constructing TensorRT's runtime can end the process."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from semscale.errors import UsageError

DRIVER = "libcuda.so.1"
NAME_BYTES = 256
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as an engine depends on it."""

    name: str
    capability: str  # "9.0"
    driver: str  # the CUDA version of the driver, "13.0"; every branch of the driver has one of its own


ANY_GPU = Gpu("any", "any", "any")  # what a portable engine depends on


def driver_problem() -> str:
    """Say why no GPU can be used here, or "" when one can. Never raises, and starts no CUDA context."""
    library = _library()
    if library is None:
        return f"there is no NVIDIA driver here ({DRIVER} is not found)"
    if code := library.cuInit(0):
        return f"the NVIDIA driver finds no GPU it can use (cuInit answers {code})"
    return ""


def find_gpu() -> Gpu:
    """The first GPU that this process may use (CUDA_VISIBLE_DEVICES chooses). Raises UsageError when there is none."""
    if problem := driver_problem():
        raise UsageError(f"{problem}; run this on a machine with an NVIDIA GPU, or choose --backend onnx")
    library, name = _library(), ctypes.create_string_buffer(NAME_BYTES)
    major, minor = (_number(library.cuDeviceGetAttribute, which, 0) for which in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
    version = _number(library.cuDriverGetVersion)
    _ask(library.cuDeviceGetName, name, NAME_BYTES, 0)
    return Gpu(name.value.decode(errors="replace"), f"{major}.{minor}", f"{version // 1000}.{version % 1000 // 10}")


def _library() -> Any:
    try:
        return ctypes.CDLL(DRIVER)
    except OSError:
        return None


def _number(function: Any, *arguments: int) -> int:
    answer = ctypes.c_int()
    _ask(function, ctypes.byref(answer), *arguments)
    return answer.value


def _ask(function: Any, *arguments: Any) -> None:
    if code := function(*arguments):
        raise UsageError(f"the NVIDIA driver answers {code} to {function.__name__}; check it with nvidia-smi")
