"""Matrix products on the processor, by ONNX Runtime: exact ones of 8-bit integers, and ones in float32.

Each call runs on the thread that makes it; a join makes several at once. ONNX Runtime multiplies unsigned by signed
8-bit integers with the widest instructions there are (AMX, VNNI), and does not mind virtual machines that announce AMX
and hide its layout, where oneDNN ends the process. Without ONNX Runtime, NumPy multiplies in float32.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from semscale.model import Array

OFFSET = 128  # of integers as they are stored unsigned; in multiply_integers.onnx


def unsigned(codes: Array) -> Array:
    """(n, D) int8 -> (n, D) uint8, the left factors of `multiply_integers`, in the same memory."""
    same = codes.view(np.uint8)
    return np.bitwise_xor(same, np.uint8(OFFSET), out=same)


def multiply_integers(left: Array, right: Array, out: Array) -> None:
    """(n, D) uint8 of `unsigned`, (D, m) int8 -> `out`, (n, m) int32: their products, exactly."""
    _run("multiply_integers", left, right, out)


def multiply_floats(left: Array, right: Array, out: Array) -> None:
    """(n, D), (m, D) float32 -> `out`, (n, m) float32: the products of their rows, summed in some order in float32."""
    if has_onnxruntime():
        _run("multiply_floats", left, right, out)
    else:
        np.matmul(left, right.T, out=out)


@cache
def has_onnxruntime() -> bool:
    """Whether each product runs on the thread that asks for it; otherwise it takes all cores, one at a time."""
    return importlib.util.find_spec("onnxruntime") is not None


@cache
def integers_are_exact() -> bool:
    """Whether integer products can be had and are exact: older instructions cut off sums of two at 16 bits."""
    if not has_onnxruntime():
        return False
    left, right = np.full((64, 512), 255, np.uint8), np.full((512, 64), 127, np.int8)
    out = np.empty((64, 64), np.int32)
    multiply_integers(left, right, out)
    return bool((out == (255 - OFFSET) * 127 * 512).all())


@cache
def _session(name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = (resources.files("semscale.search") / f"{name}.onnx").read_bytes()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _run(name: str, left: Array, right: Array, out: Array) -> None:
    session = _session(name)
    bound = session.io_binding()
    bound.bind_cpu_input("left", left)
    bound.bind_cpu_input("right", right)
    bound.bind_output("out", "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)
    session.run_with_iobinding(bound)
