"""What a result was made with, so that it can be made again."""

from __future__ import annotations

import datetime
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import semscale

PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
    "simplejpeg",
    "imagecodecs",
    "tokenizers",
    "pyarrow",
)


def provenance(command: str, started: float) -> dict[str, Any]:
    """Versions, machine, command and start time (`started` in seconds since 1970, UTC)."""
    return {
        "semscale": semscale.__version__,
        "command": command,
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "packages": versions(PACKAGES),
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
