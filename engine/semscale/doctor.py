"""What this machine can run, what is missing, what cannot be together, and the command that mends it."""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from packaging.requirements import Requirement

from semscale.encoders.trt_driver import driver_problem

MODULES = {  # packages whose module has another name
    "pillow": "PIL",
    "onnxruntime-gpu": "onnxruntime",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "optimum-onnx": "optimum",
    "protobuf": "google.protobuf",
    "tensorrt-cu13": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
    "nvidia-nvimgcodec-cu13": "nvidia.nvimgcodec",
}
ANYWHERE = ("openvino", "export", "generate", "remote")
ON_GPU = ("tensorrt", "tensorrt-rtx", "decode-gpu")
RIVALS = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("faiss-cpu", "faiss-gpu"),
)  # for cpu and gpu; each installs the same files


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about this machine."""

    status: Literal["ok", "missing", "broken"]
    what: str
    detail: str
    mend: str = ""


def examine() -> list[Finding]:
    """Look at everything once."""
    driver = not driver_problem()
    extras = ("gpu", *ON_GPU, *ANYWHERE) if driver else ("cpu", *ANYWHERE)
    told = Finding("ok", "NVIDIA driver", "found") if driver else _NO_DRIVER
    return [*_packages(""), told, *(f for extra in extras for f in _packages(extra)), *_rivals(driver), *_rest()]


_NO_DRIVER = Finding("missing", "NVIDIA driver", "none found; encoders run on the CPU")


def _packages(extra: str) -> Iterator[Finding]:
    """What semscale itself says it needs, for one extra or ("") always."""
    for text in metadata.requires("semscale") or []:
        wanted = Requirement(text)
        always = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if always if not extra else not always and wanted.marker.evaluate({"extra": extra}):  # type: ignore[union-attr]
            yield _package(wanted, extra)


def _package(wanted: Requirement, extra: str) -> Finding:
    version = _version(wanted.name)
    mend = f"pip install 'semscale[{extra}]'" if extra else "pip install semscale"
    if version is None:
        return Finding("missing", wanted.name, "not installed", mend)
    if not wanted.specifier.contains(version, prereleases=True):
        change = f"pip install '{wanted.name}{wanted.specifier}'"
        return Finding("broken", wanted.name, f"{version}; semscale needs {wanted.specifier}", change)
    fault = _import_fault(wanted.name)
    if fault:
        again = f"pip install --force-reinstall {wanted.name}"
        return Finding("broken", wanted.name, f"{version} does not import: {fault}", again)
    return Finding("ok", wanted.name, version)


def _import_fault(package: str) -> str:
    logging.disable(logging.WARNING)  # some libraries log opinions about their neighbours
    try:
        importlib.import_module(MODULES.get(package, package))
    except Exception as error:  # whatever a broken native package raises is what we are here to report
        return repr(error)
    finally:
        logging.disable(logging.NOTSET)
    return ""


def _rivals(driver: bool) -> Iterator[Finding]:
    for pair in RIVALS:
        if all(_version(package) for package in pair):
            detail = "both installed; they overwrite one another's files"
            mend = f"pip uninstall -y {pair[0]} {pair[1]} && pip install {pair[driver]}"
            yield Finding("broken", f"{pair[0]} and {pair[1]}", detail, mend)


def _rest() -> Iterator[Finding]:
    fault = _import_fault("torchvision") if _version("torchvision") else ""
    if fault:
        detail = f"does not match torch ({fault}); transformers and diffusers fail to import beside it"
        yield Finding("broken", "torchvision", detail, "pip uninstall -y torchvision")
    free = shutil.disk_usage(".").free
    full = free < 2e9
    yield Finding("missing" if full else "ok", "disk", f"{free / 1e9:.0f} GB free here", "free some space" * full)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
