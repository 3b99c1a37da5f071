"""What `--backend auto` chooses, and why, in one line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from semscale.encoders import BACK_ENDS
from semscale.encoders.machine import bf16
from semscale.encoders.trt_driver import driver_problem
from semscale.encoders.trt_files import precision_folder
from semscale.errors import MissingDependencyError, UsageError

ORDER = ("tensorrt", "cuda", "openvino", "onnx", "torch")  # the fastest first
NEEDED = {  # any one of these modules; what a back end needs beyond them, `_obstacle` says
    "tensorrt": ("tensorrt", "tensorrt_rtx"),
    "cuda": ("onnxruntime",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime",),
    "torch": ("transformers",),
}
ON_GPU = ("tensorrt", "cuda")
CUDA_PROVIDER = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choice depends on."""

    modules: Collection[str]  # of those in NEEDED, the installed ones
    gpu_problem: str  # why no GPU can be used; "" when one can
    cuda_provider: bool  # whether the installed ONNX Runtime has one
    engine: bool  # whether TensorRT engines were built for the model
    bf16: str  # what `machine.bf16` says; "absent" where OpenVINO is not installed


@dataclass(frozen=True, slots=True)
class Choice:
    """A back end with its precision, and the line that says why."""

    backend: str
    precision: str
    why: str


def facts(model: Path, precision: str | None = None) -> Facts:
    """Look at what is installed and present, for the exported folder `model`, and an engine of that precision.

    Takes a second, the first time, where OpenVINO and a processor with AMX meet.
    """
    modules = {name for names in NEEDED.values() for name in names if find_spec(name) is not None}
    problem = driver_problem()
    ort = import_module("onnxruntime") if "onnxruntime" in modules and not problem else None
    return Facts(
        modules=modules,
        gpu_problem=problem,
        cuda_provider=ort is not None and CUDA_PROVIDER in ort.get_available_providers(),
        engine=_has_engine(model, precision or BACK_ENDS["tensorrt"].precisions[0]),
        bf16=bf16() if "openvino" in modules else "absent",
    )


def _has_engine(model: Path, precision: str) -> bool:
    known = precision in BACK_ENDS["tensorrt"].precisions
    return known and any(precision_folder(model / "image", precision).glob("*.json"))


def choose(found: Facts, candidates: Sequence[str] = ORDER, precision: str | None = None) -> Choice:
    """Return the first of `candidates` that can run, with why, and why none before it can.

    `precision` is the one that was asked for, which all of them have; None is each one's own.

    Raises MissingDependencyError when not even the usual one can, UsageError when none of few can.
    """
    passed: list[str] = []
    for backend in candidates:
        obstacle = _obstacle(backend, found)
        if not obstacle:
            own = "bf16" if backend == "openvino" else BACK_ENDS[backend].precisions[0]
            reasons = [_reason(backend, found), *dict.fromkeys(passed)]
            return Choice(backend, precision or own, f"{backend} ({precision or own}): {'; '.join(reasons)}")
        passed.append(obstacle)
    if "onnx" in candidates:
        raise MissingDependencyError("every back end", "onnxruntime", "cpu")
    raise UsageError(f"of {' and '.join(candidates)}, which could run this, none can here: {'; '.join(passed)}")


def _obstacle(backend: str, found: Facts) -> str:
    """Why a back end cannot run, or should not; "" when it can."""
    needed = NEEDED[backend]
    if backend in ON_GPU and found.gpu_problem:
        return found.gpu_problem
    if not set(needed) & set(found.modules):
        return f"{' or '.join(needed)} not installed"
    if backend == "tensorrt" and not found.engine:
        return "no TensorRT engine of this model"
    if backend == "cuda" and not found.cuda_provider:
        return "this onnxruntime has no CUDA provider"
    if backend == "openvino" and found.bf16 != "amx":
        told = {
            "avx512": "its bf16 is less exact and only twice as fast here; --backend openvino takes it",
            "absent": "this processor has no AMX",
            "broken": "the AMX that this processor announces does not work",
        }
        return f"openvino passed over, {told[found.bf16]}"
    return ""


def _reason(backend: str, found: Facts) -> str:
    if backend == "openvino":
        return "installed, and this processor has AMX"
    return "installed, and there is an NVIDIA GPU" if backend in ON_GPU else "installed"
