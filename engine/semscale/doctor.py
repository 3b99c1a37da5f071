"""What this machine can run, what is missing, what cannot be together, and the command that mends it."""

from __future__ import annotations

import ctypes
import importlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

PURPOSES = {
    "cpu": ("onnxruntime", "faiss-cpu"),
    "gpu": ("onnxruntime-gpu", "faiss-gpu"),
    "export": ("optimum-onnx", "transformers", "onnx"),
    "generate": ("diffusers", "accelerate"),
}
MODULES = {  # packages whose module has another name
    "pillow": "PIL",
    "onnxruntime-gpu": "onnxruntime",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "optimum-onnx": "optimum",
}
RIVALS = (("onnxruntime", "onnxruntime-gpu"), ("faiss-cpu", "faiss-gpu"))  # each pair installs the same files


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about this machine."""

    status: Literal["ok", "missing", "broken"]
    what: str
    detail: str
    mend: str = ""


def examine() -> list[Finding]:
    """Look at everything once."""
    return [*_core(), _driver(), *_extras(), *_rivals(), *_torchvision(), *_disk()]


def _core() -> Iterator[Finding]:
    for package in ("torch", "numpy", "pillow", "simplejpeg", "tokenizers", "pyarrow"):
        yield _package(package, "pip install semscale")


def _driver() -> Finding:
    """Ask the driver itself; never build a TensorRT object to find out, that crashes without one."""
    try:
        found = ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        found = False
    detail = "found" if found else "none found; encoders run on the CPU"
    return Finding("ok" if found else "missing", "NVIDIA driver", detail)


def _extras() -> Iterator[Finding]:
    driver = _driver().status == "ok"
    for extra, packages in PURPOSES.items():
        if extra == ("cpu" if driver else "gpu"):
            continue
        for package in packages:
            yield _package(package, f"pip install 'semscale[{extra}]'")


def _package(package: str, mend: str) -> Finding:
    version = _version(package)
    if version is None:
        return Finding("missing", package, "not installed", mend)
    fault = _import_fault(package)
    if fault:
        mend = f"pip install --force-reinstall {package}"
        return Finding("broken", package, f"{version} does not import: {fault}", mend)
    return Finding("ok", package, version)


def _import_fault(package: str) -> str:
    logging.disable(logging.WARNING)  # some libraries log opinions about their neighbours
    try:
        importlib.import_module(MODULES.get(package, package))
    except Exception as error:  # whatever a broken native package raises is what we are here to report
        return repr(error)
    finally:
        logging.disable(logging.NOTSET)
    return ""


def _rivals() -> Iterator[Finding]:
    for one, other in RIVALS:
        if _version(one) and _version(other):
            yield Finding(
                "broken",
                f"{one} and {other}",
                "both installed; they overwrite one another's files",
                f"pip uninstall -y {one} {other} && pip install {other}",
            )


def _torchvision() -> Iterator[Finding]:
    fault = _import_fault("torchvision") if _version("torchvision") else ""
    if fault:
        detail = f"does not match torch ({fault}); transformers and diffusers fail to import beside it"
        yield Finding("broken", "torchvision", detail, "pip uninstall -y torchvision")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free
    status: Literal["ok", "missing"] = "ok" if free > 2e9 else "missing"
    yield Finding(status, "disk", f"{free / 1e9:.0f} GB free here", "" if status == "ok" else "free some space")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
