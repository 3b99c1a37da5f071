"""Where a model runs, and in what dtype."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import torch

from semscale.errors import UsageError

TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TRIAL_SECONDS = 120.0
TRIAL = "import torch; a = torch.ones(64, 64, dtype=torch.bfloat16); assert (a @ a)[0, 0] == 64"


def device_of(name: str | None) -> torch.device:
    """The device called `name`, or the best there is. Raises UsageError where there is none of that name."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        name = next(kind for kind, there in present.items() if there)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; choose from cpu, cuda, cuda:N and mps") from error
    beyond = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if beyond or not present.get(device.type, False):
        raise UsageError(f"device {name!r}: PyTorch finds none here; take 'cpu', or leave the device out")
    return device


def dtype_of(name: str | None, half: str, device: torch.device) -> str:
    """The dtype `name`, or the usual one: `half` on a GPU, else fp32. Raises UsageError where it cannot be computed."""
    chosen = name or (half if device.type == "cuda" else "fp32")
    if chosen == "bf16" and device.type == "cpu" and not bfloat16_works():
        raise UsageError("dtype 'bf16': this machine announces instructions for it that it does not have; take fp32")
    return chosen


@cache
def bfloat16_works() -> bool:
    """Try a bfloat16 product on the processor, in a process of its own.

    Some virtual machines announce AMX and hide how its tiles are laid out (CPUID leaf 0x1D); PyTorch then ends the
    process with an illegal instruction, which no caller could report.
    """
    tried = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, timeout=TRIAL_SECONDS, check=False)
    return tried.returncode == 0
