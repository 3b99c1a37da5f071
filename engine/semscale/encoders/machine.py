"""What this machine offers the back ends that run on its processor."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal

CPUINFO = Path("/proc/cpuinfo")  # Linux
AMX_FLAG = "amx_bf16"
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


def announces_amx() -> bool:
    """Whether the processor says that it multiplies bfloat16 matrices in tiles (AMX)."""
    try:
        return AMX_FLAG in CPUINFO.read_text(encoding="utf-8").split()
    except OSError:
        return False


@cache
def amx() -> Literal["absent", "works", "broken"]:
    """Try AMX in OpenVINO, in a process of its own, where the processor announces it.

    Some virtual machines announce AMX and hide how its tiles are laid out (CPUID leaf 0x1D). Libraries built on oneDNN
    then end the process with an illegal instruction, which no caller could report.
    """
    if not announces_amx():
        return "absent"
    tried = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, timeout=TRIAL_SECONDS, check=False)
    return "works" if tried.returncode == 0 else "broken"
