"""What this machine offers the back ends that run on its processor."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

from semscale.errors import StoreError
from semscale.files import cache_folder, replace

CPUINFO = Path("/proc/cpuinfo")  # Linux
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux: another at every start of every machine
AMX_FLAG = "amx_bf16"
AVX512_FLAGS = {"AuthenticAMD", "avx512_bf16"}  # of a processor on which these products are twice as fast as float32's
FAST_BF16 = {"amx", "avx512"}  # of what `bf16` says
LIBRARY = "openvino"
SETTINGS = ("ONEDNN_", "DNNL_", "OPENVINO_", "OV_")  # begin variables that may choose other instructions
RECORD = "amx.json"  # in the user's cache: {"key", "amx"}
TRIAL_SECONDS = 120.0
TRIAL = """
import numpy, openvino
from openvino import opset13, properties
ones = numpy.ones((64, 64), numpy.float32)
rows = opset13.parameter([64, 64], numpy.float32)
model = openvino.Model([opset13.matmul(rows, opset13.constant(ones), False, False)], [rows])
bf16 = {properties.hint.inference_precision: openvino.Type.bf16}
assert openvino.Core().compile_model(model, "CPU", bf16)([ones])[0][0, 0] == 64
"""
PROVEN = {0: "works", -signal.SIGILL: "broken"}  # status of the trial -> what it says; any other may be of the moment


def announces_amx() -> bool:
    """Whether the processor says that it multiplies bfloat16 matrices in tiles (AMX)."""
    return AMX_FLAG in _cpuinfo()


def bf16() -> Literal["amx", "avx512", "absent", "broken"]:
    """What makes products in bfloat16 faster here than in float32; "broken" where trying them would end the process.

    Without AMX they are, measured in OpenVINO, 2.2 times as fast on AMD's processors from Zen 4 on, and no faster on
    Intel's (docs/backends.md).
    """
    tiles = amx()
    if tiles == "absent":
        return "avx512" if _cpuinfo() >= AVX512_FLAGS else "absent"
    return "amx" if tiles == "works" else "broken"


def _cpuinfo() -> set[str]:
    try:
        return set(CPUINFO.read_text(encoding="utf-8").split())
    except OSError:
        return set()


@cache
def amx() -> Literal["absent", "works", "broken"]:
    """Try AMX in OpenVINO, in a process of its own, where the processor announces it; once a start of the machine.

    Some virtual machines announce AMX and hide how its tiles are laid out (CPUID leaf 0x1D). Libraries built on oneDNN
    then end the process with an illegal instruction, which no caller could report. What was proven stays in the user's
    cache, for this start of the system, processor, version and settings of OpenVINO.
    """
    if not announces_amx():
        return "absent"
    key = _key()
    known = _recorded(key) if key else None
    return known or _tried(key)


def _tried(key: str) -> Literal["works", "broken"]:
    tried = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, timeout=TRIAL_SECONDS, check=False)
    if key and tried.returncode in PROVEN:
        record = {"key": key, "amx": PROVEN[tried.returncode]}
        with suppress(StoreError, RuntimeError):  # a cache that cannot be written costs the next run a trial, no more
            replace(cache_folder() / RECORD, (json.dumps(record) + "\n").encode())
    return "works" if tried.returncode == 0 else "broken"


def _key() -> str:
    """A digest of all that the outcome depends on; "" where some of it cannot be told."""
    from importlib import metadata  # slow to import, and help needs none

    try:
        first_core = CPUINFO.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
        parts = [TRIAL, metadata.version(LIBRARY), BOOT_ID.read_text(encoding="ascii")]
    except (OSError, metadata.PackageNotFoundError):
        return ""
    parts += [line for line in first_core if not line.startswith("cpu MHz")]  # which changes from second to second
    parts += sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(SETTINGS))
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def _recorded(key: str) -> Literal["works", "broken"] | None:
    try:
        record = json.loads((cache_folder() / RECORD).read_text(encoding="utf-8"))
        return record["amx"] if record["key"] == key and record["amx"] in PROVEN.values() else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None  # whatever is wrong with it, another trial mends it
