"""The patches of a vision transformer in integers: pixels are integers already, so that nothing of them is rounded.

An exported image tower begins with uint8 pixels (B, H, W, 3), turns them to (B, 3, H, W), scales and shifts them colour
by colour, and cuts them into patches by a convolution whose stride is its kernel. Scale and shift go into the weights
and the bias, and the convolution becomes a matrix product of (B * patches, size * size * 3) uint8. Its weights are the
sum of two 8-bit parts, 16 bits in all: pixels have a mean far from 0, which makes much of what 8 bits leave over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from semscale.encoders.int8_graph import CONTRIB, PREFIX, Rewriting, by_column
from semscale.model import Array

COLOURS = 3
TO_PLANES = [0, 3, 1, 2]  # (B, H, W, 3) to (B, 3, H, W)


@dataclass(frozen=True, slots=True, eq=False)
class _Front:
    """What comes before the network: pixels to patches."""

    planes: str  # (B, 3, H, W) uint8, of the shape that later nodes ask for
    between: set[str]  # outputs from there to the convolution; nothing else but shapes reads them
    scale: Array  # (3,) float64: a colour's value is scale * pixel + shift
    shift: Array
    convolution: onnx.NodeProto


def patches_in_integers(model: onnx.ModelProto) -> bool:
    """Rewrite the front of an image tower in place; False, and nothing done, where it begins in another way."""
    work = Rewriting(model)
    front = _front(work)
    weights = None if front is None else _weights(front, work)
    if front is None or weights is None:
        return False
    for node in model.graph.node:
        if node.output[0] == front.convolution.output[0]:
            _product(work, front, weights)
        elif node.output[0] not in front.between:
            work.nodes.append(node)
            if node.op_type == "Shape" and node.input[0] in front.between:
                node.input[0] = front.planes
    work.done()
    return True


def _front(work: Rewriting) -> _Front | None:
    """Follow the pixels to the convolution; None where something else is on the way."""
    at, planes, between = work.graph.input[0].name, "", set()
    scale, shift = np.ones(COLOURS), np.zeros(COLOURS)
    while len(readers := [n for n in work.graph.node if at in n.input and n.op_type != "Shape"]) == 1:
        node, at = readers[0], readers[0].output[0]
        if node.op_type == "Conv" and planes:
            return _Front(planes, between, scale, shift, node)
        if node.op_type == "Transpose" and not planes and list(node.attribute[0].ints) == TO_PLANES:
            planes = at
            continue
        step = _step(node, work) if planes else None
        if step is None:
            return None
        scale, shift = scale * step[0], shift * step[0] + step[1]
        between.add(at)
    return None


def _step(node: onnx.NodeProto, work: Rewriting) -> tuple[Array, Array] | None:
    """The (3,) factor and summand of a node that computes colour by colour; None for any other."""
    one, zero = np.ones(COLOURS), np.zeros(COLOURS)
    if node.op_type == "Cast":
        return one, zero
    value = work.value(node.input[-1]) if node.op_type in ("Mul", "Div", "Sub", "Add") else None
    if value is None or (value.size != 1 and value.shape not in ((1, COLOURS, 1, 1), (COLOURS, 1, 1))):
        return None
    each = np.broadcast_to(value.astype(np.float64).reshape(-1), COLOURS)
    return {"Mul": (each, zero), "Div": (1 / each, zero), "Sub": (one, -each), "Add": (one, each)}[node.op_type]


def _weights(front: _Front, work: Rewriting) -> Array | None:
    """The convolution's (D, 3, size, size); None unless it cuts the image into square patches and takes each once."""
    given = {each.name: helper.get_attribute_value(each) for each in front.convolution.attribute}
    weights = work.value(front.convolution.input[1])
    if weights is None or weights.ndim != 4 or weights.shape[1] != COLOURS:
        return None
    square = [weights.shape[3]] * 2
    cutting = {"group": 1, "pads": [0] * 4, "dilations": [1, 1], "kernel_shape": square, "strides": square}
    sides = [each.dim_value for each in work.graph.input[0].type.tensor_type.shape.dim[1:3]]
    whole = all(side and side % square[0] == 0 for side in sides)
    return weights if whole and {**cutting, "strides": [1, 1], **given} == cutting else None


def _product(work: Rewriting, front: _Front, weights: Array) -> None:
    """Add what the convolution becomes; its output keeps its name and shape."""
    out, name, size = front.convolution.output[0], f"{PREFIX}patches", weights.shape[3]
    down, across = (each.dim_value // size for each in work.graph.input[0].type.tensor_type.shape.dim[1:3])
    cut = work.constant("patches/cut", np.array([-1, down, size, across, size * COLOURS]))
    rows = work.constant("patches/rows", np.array([-1, size * size * COLOURS]))
    split = work.add("Reshape", (work.graph.input[0].name, cut), f"{name}/split")
    turned = work.add("Transpose", (split,), f"{name}/turned", perm=[0, 1, 3, 2, 4])
    pixels = work.add("Reshape", (turned, rows), f"{name}/pixels")
    total = work.add("Add", _halves(work, front, weights, pixels), f"{name}/sum")
    shape = work.constant("patches/shape", np.array([-1, down, across, len(weights)]))
    work.add("Transpose", (work.add("Reshape", (total, shape), f"{name}/grid"),), out, perm=TO_PLANES)


def _halves(work: Rewriting, front: _Front, weights: Array, pixels: str) -> list[str]:
    """Add the products of (R, K) pixels with the upper and lower 8 bits of the weights, one of them with the bias."""
    whole = (weights * front.scale.reshape(COLOURS, 1, 1)).transpose(2, 3, 1, 0).reshape(-1, len(weights))
    upper, scale = by_column(whole)
    bias = (weights * front.shift.reshape(COLOURS, 1, 1)).sum(axis=(1, 2, 3))
    if len(front.convolution.input) > 2:
        bias = bias + work.value(front.convolution.input[2])
    made = []
    for part, (quantised, scales), extra in (
        ("upper", (upper, scale), [work.constant("patches/bias", bias.astype(np.float32))]),
        ("lower", by_column(whole - upper * scale.astype(np.float64)), []),
    ):
        parts = (
            pixels, work.constant(f"patches/{part}", quantised), work.constant("one", np.float32(1)),
            work.constant(f"patches/{part} scales", scales), work.constant("pixel zero", np.uint8(0)),
            work.constant("weight zero", np.int8(0)), *extra,
        )  # fmt: skip
        made.append(work.add("MatMulIntegerToFloat", parts, f"{PREFIX}patches/{part} product", domain=CONTRIB))
    return made
