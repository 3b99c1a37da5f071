"""A graph's matrix products in 8-bit integers, activations scaled row by row.

Each product of activations (..., K) and constant weights (K, N) becomes

    scale = max |row| / 127                          one for each row of activations: a token, or an image
    y = scale * weight_scale * (round(row / scale) @ weights)        sums of integers, exact; a weight_scale a column

so that what a row becomes depends on nothing but that row: neither on its neighbours nor on how many there are. The
nodes are standard ONNX but for ONNX Runtime's `MatMulIntegerToFloat`. Products of two activations, those of attention,
stay in float32. Scaling by row and by column is the vector-wise quantization of LLM.int8() (Dettmers et al., 2022).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from semscale.model import Array

LARGEST = 127  # of a signed weight or activation
ZERO = np.uint8(128)  # what 0 becomes: ONNX Runtime is fast where activations have no sign
SMALLEST = np.float32(1e-30)  # what a row of zeros is scaled by
PREFIX = "int8/"  # begins every name made here
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators


class Rewriting:
    """A graph in work: its constants by name, and the nodes it will have. Nothing is in the model before `done`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self.nodes: list[onnx.NodeProto] = []
        self.made: Counter[str] = Counter()  # names of the outputs that `add` made
        self._constants = {each.name: each for each in self.graph.initializer}
        self._same = {n.output[0]: n.input[0] for n in self.graph.node if n.op_type == "Identity"}
        self._values = {n.output[0]: n.attribute[0].t for n in self.graph.node if n.op_type == "Constant"}

    def value(self, name: str) -> Array | None:
        """What a constant holds; None for what is computed."""
        while name in self._same:
            name = self._same[name]
        tensor = self._constants.get(name, self._values.get(name))
        return None if tensor is None else numpy_helper.to_array(tensor)

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, unless it is there, and return its name."""
        if PREFIX + name not in self._constants:
            self._constants[PREFIX + name] = numpy_helper.from_array(np.asarray(value), PREFIX + name)
        return PREFIX + name

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output of this name, and return it."""
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        self.made[name] += 1
        return name

    def done(self) -> None:
        """Give the model the nodes of this rewriting, and the constants that they use."""
        used = Counter(name for node in self.nodes for name in node.input)
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(each for name, each in self._constants.items() if used[name])
        if all(each.domain != CONTRIB for each in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(CONTRIB, 1))


def in_integers(model: onnx.ModelProto) -> int:
    """Rewrite the products of `model` with constant weights, in place; return how many there were."""
    work, count = Rewriting(model), 0
    for node in model.graph.node:
        weights = _weights(node, work)
        if weights is None:
            work.nodes.append(node)
        else:
            _product(work, node, weights)
            count += 1
    work.done()
    return count


def by_column(weights: Array) -> tuple[Array, Array]:
    """(K, N) float -> (K, N) int8 and the (N,) float32 scales that make them weights again."""
    scales = np.maximum(np.abs(weights).max(axis=0) / LARGEST, SMALLEST).astype(np.float32)
    return np.clip(np.rint(weights / scales), -LARGEST, LARGEST).astype(np.int8), scales


def _weights(node: onnx.NodeProto, work: Rewriting) -> Array | None:
    """The constant (K, N) of a product; None for any other node."""
    if node.op_type not in ("MatMul", "Gemm"):
        return None
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    transposed = bool(attributes.pop("transB", 0))
    if any(value != (0 if name == "transA" else 1) for name, value in attributes.items()):
        return None  # a Gemm that does more than multiply and add
    weights = work.value(node.input[1])
    if weights is None or weights.ndim != 2:
        return None
    return weights.T if transposed else weights


def _product(work: Rewriting, node: onnx.NodeProto, weights: Array) -> None:
    """Add what a product becomes; its output keeps its name and shape."""
    quantised, scales = by_column(weights)
    name, out = PREFIX + node.output[0], node.output[0]
    own = node.output[0] + "/"
    rows, scale, lead = _activations(work, node.input[0], len(weights))
    parts = (
        rows, work.constant(own + "weights", quantised), work.constant("one", np.float32(1)),
        work.constant(own + "scales", scales), work.constant("zero", ZERO), work.constant("weight zero", np.int8(0)),
    )  # fmt: skip
    product = work.add("MatMulIntegerToFloat", parts, name + "/product", domain=CONTRIB)
    scaled = work.add("Mul", (product, scale), name + "/scaled")
    shape = work.add("Concat", (lead, work.constant(own + "columns", [weights.shape[1]])), name + "/shape", axis=0)
    bias = node.input[2:3]  # of a Gemm
    shaped = work.add("Reshape", (scaled, shape), name + "/shaped" if bias else out)
    if bias:
        work.add("Add", (shaped, bias[0]), out)


def _activations(work: Rewriting, source: str, width: int) -> tuple[str, str, str]:
    """Quantise (..., K), once for all products of it; name its (R, K) uint8, its (R, 1) scales, and its shape but K."""
    name = f"{PREFIX}{source}/rows"
    found = (name + "/quantised", name + "/column", name + "/lead")
    if work.made[found[0]]:
        return found
    last = work.constant("last", np.array([-1]))
    flat = work.add("Reshape", (source, work.constant(f"width {width}", np.array([-1, width]))), name)
    # Two passes that only read are faster than |x|, which writes as much as it reads.
    highest = work.add("ReduceMax", (flat, last), name + "/highest", keepdims=0)
    lowest = work.add("Neg", (work.add("ReduceMin", (flat, last), name + "/lowest", keepdims=0),), name + "/depth")
    largest = work.add("Max", (highest, lowest, work.constant("smallest", SMALLEST)), name + "/largest")
    scale = work.add("Mul", (largest, work.constant("step", np.float32(1 / LARGEST))), name + "/scale")
    zeros = work.add("Expand", (work.constant("zero", ZERO), work.add("Shape", (scale,), name + "/count")), name + "/0")
    work.add("QuantizeLinear", (flat, scale, zeros), found[0], axis=0)
    work.add("Unsqueeze", (scale, last), found[1])
    whole = work.add("Shape", (source,), name + "/whole")
    work.add("Slice", (whole, work.constant("first", np.array([0])), last), found[2])
    return found
