"""FAISS, imported in this one place, at its best.

FAISS multiplies with the OpenBLAS in its wheel, which takes a processor that it does not know for one without AVX and
then runs five times slower. Where the processor has AVX-512 it is told so, unless OPENBLAS_CORETYPE is set already.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from semscale.errors import MissingDependencyError

CPUINFO = Path("/proc/cpuinfo")  # Linux
DRIVER = Path("/proc/driver/nvidia/version")


def is_installed() -> bool:
    """Whether there is a FAISS to import."""
    return importlib.util.find_spec("faiss") is not None


def library(what: str) -> Any:
    """The module `faiss`. Raises MissingDependencyError, saying `what` needs it, where it is not installed."""
    if not is_installed():
        raise MissingDependencyError(what, "faiss", extra())
    if _has_avx512():
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    import faiss

    return faiss


def extra() -> str:
    """The extra of semscale that installs FAISS for this machine."""
    return "gpu" if DRIVER.exists() else "cpu"


def _has_avx512() -> bool:
    return CPUINFO.is_file() and "avx512f" in CPUINFO.read_text(encoding="utf-8").split()
