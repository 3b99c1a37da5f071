"""What a measurement was made on."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from semscale.cores import usable_cores
from semscale.encoders import trt_library
from semscale.encoders.trt_driver import driver_problem, find_gpu
from semscale.provenance import PACKAGES, cpu_name, versions

BACK_END_PACKAGES = ("openvino", "tensorrt-cu13", "tensorrt-rtx", "transformers")
KERNEL_MODULE = Path("/proc/driver/nvidia/version")  # Linux


def machine() -> dict[str, Any]:
    """Processor, GPU, usable cores, memory in bytes, versions, and the commit where there is one."""
    return {
        "cpu": cpu_name(),
        "gpu": gpu(),
        "cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": versions(PACKAGES + BACK_END_PACKAGES),
        "commit": _commit(),
    }


def hardware(found: dict[str, Any]) -> str:
    """A machine's processor, or its GPU, as a part of a file's name: `found` has `cpu` and `cores`, perhaps `gpu`."""
    if found.get("gpu"):
        return _slug(found["gpu"]["name"])
    return f"{found['cores']}core-{_slug(found['cpu'])}"


def _slug(name: str) -> str:
    """Without who made it and what everybody says of theirs."""
    makers = r"\((R|TM)\)|\b(Intel|AMD|NVIDIA|CPU|Processor|with|Graphics)\b|@.*"
    return "-".join(re.findall(r"[a-z0-9-]+", re.sub(makers, " ", name, flags=re.IGNORECASE).lower()))


def gpu() -> dict[str, Any] | None:
    """The GPU's name and compute capability, its driver, and the TensorRT libraries by flavour; None without a GPU."""
    if driver_problem():
        return None
    lines = KERNEL_MODULE.read_text(encoding="utf-8").splitlines() if KERNEL_MODULE.is_file() else []
    return {
        **dataclasses.asdict(find_gpu()),  # `driver` is the newest CUDA that it runs
        "kernel_module": lines[0] if lines else None,
        "tensorrt": {name: trt_library.load_library(name).version for name in trt_library.installed()},
    }


def _commit() -> str | None:
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
