"""Products in 8-bit integers: what of a graph is rewritten, how near it stays, and that no row sees another."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from semscale.encoders.int8_graph import by_column, in_integers
from semscale.encoders.int8_patches import patches_in_integers

RNG = np.random.default_rng(0)
WIDE = RNG.standard_normal((16, 24)).astype(np.float32)
NARROW = RNG.standard_normal((8, 24)).astype(np.float32)  # (N, K), as a Gemm may have it
BIAS = RNG.standard_normal(8).astype(np.float32)
PATCH, SIDE, DIM = 4, 12, 5
KERNEL = RNG.standard_normal((DIM, 3, PATCH, PATCH)).astype(np.float32)


def graph(nodes, inputs, outputs, constants):
    """A checked model with `constants` by name."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "made", inputs, outputs, tensors), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs, [output], **attributes)


def network(alpha=1.0):
    """(B, T, 16) -> products with constant weights by three, one of two activations, and a Gemm of (B * T, 24)."""
    nodes = [
        node("MatMul", ("x", "first"), "a"),
        node("MatMul", ("x", "second"), "b"),
        node("Transpose", ("b",), "turned", perm=[0, 2, 1]),
        node("MatMul", ("a", "turned"), "both"),
        node("MatMul", ("both", "b"), "mixed"),
        node("Reshape", ("mixed", "flat"), "rows"),
        node("Gemm", ("rows", "narrow", "bias"), "y", transB=1, alpha=alpha),
    ]
    constants = {"first": WIDE, "second": WIDE[::-1].copy(), "flat": np.array([-1, 24]), "narrow": NARROW, "bias": BIAS}
    return graph(nodes, [value("x", ["B", "T", 16])], [value("y", ["R", 8])], constants)


def run(model, **inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def operators(model):
    return Counter(each.op_type for each in model.graph.node)


def test_weights_are_rounded_to_the_nearest_of_255_steps_of_their_column():
    weights = np.concatenate([WIDE, np.zeros((16, 1), np.float32)], axis=1) * np.geomspace(1e-3, 1e3, 25)
    quantised, scales = by_column(weights)
    assert quantised.dtype == np.int8 and (np.abs(quantised[:, :-1]).max(axis=0) == 127).all()
    assert (quantised[:, -1] == 0).all() and np.isfinite(scales).all()
    assert (np.abs(quantised * scales.astype(np.float64) - weights) <= 0.5001 * scales).all()


class TestProducts:
    def test_constant_weights_become_integers_and_activations_alone_stay(self):
        model = network()
        assert in_integers(model) == 3
        found = operators(model)
        assert (found["MatMulIntegerToFloat"], found["MatMul"], found["Gemm"]) == (3, 2, 0)
        assert found["QuantizeLinear"] == 2  # x once, for both products of it
        assert {each.name for each in model.graph.initializer}.isdisjoint({"first", "second", "narrow"})

    @pytest.mark.parametrize("shape", [(1, 1, 16), (2, 3, 16), (5, 7, 16)])
    def test_what_comes_out_has_the_same_shape_and_is_near(self, shape):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        model = network()
        expected = run(model, x=x)
        in_integers(model)
        found = run(model, x=x)
        assert found.shape == expected.shape
        relative = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert 1e-5 < relative < 0.03

    def test_a_gemm_that_does_more_is_left(self):
        model = network(alpha=0.5)
        assert in_integers(model) == 2
        assert operators(model)["Gemm"] == 1

    def test_a_row_depends_on_no_other(self):
        model = graph([node("MatMul", ("x", "w"), "y")], [value("x", ["B", 16])], [value("y", ["B", 24])], {"w": WIDE})
        in_integers(model)
        x = np.random.default_rng(2).standard_normal((6, 16)).astype(np.float32)
        x[3] *= 1e6  # a scale for all of them would leave nothing of the others
        x[4] = 0
        whole = run(model, x=x)
        for at in range(6):
            np.testing.assert_array_equal(run(model, x=x[at : at + 1])[0], whole[at])
        np.testing.assert_array_equal(whole[4], 0)
        steps, scales = np.abs(x).max(axis=1) / 127, by_column(WIDE)[1]
        bound = np.outer(steps, np.abs(WIDE).sum(axis=0)) / 2 + np.outer(np.abs(x).sum(axis=1), scales) / 2
        assert (np.abs(whole - x @ WIDE) <= bound + 4 * np.outer(steps, scales)).all()  # 16 products of two halves

    def test_weights_that_others_use_too_stay_for_them(self):
        nodes = [node("Identity", ("w",), "same"), node("MatMul", ("x", "same"), "p"), node("Add", ("p", "w"), "y")]
        square = WIDE[:, :16].copy()
        model = graph(nodes, [value("x", [16, 16])], [value("y", [16, 16])], {"w": square})
        assert in_integers(model) == 1
        x = np.eye(16, dtype=np.float32)
        np.testing.assert_allclose(run(model, x=x), 2 * square, rtol=0, atol=0.02)


def front(*, between=None, size=SIDE, **convolution):
    """Pixels as an exported image tower takes them, cut into patches; a node asks for the shape on the way."""
    steps = between or [
        node("Cast", ("planes",), "float", to=TensorProto.FLOAT),
        node("Mul", ("float", "scale"), "scaled"),
        node("Sub", ("scaled", "mean"), "shifted"),
        node("Div", ("shifted", "std"), "normal"),
    ]
    settings = {"kernel_shape": [PATCH] * 2, "strides": [PATCH] * 2, **convolution}
    nodes = [
        node("Transpose", ("pixels",), "planes", perm=[0, 3, 1, 2]),
        *steps,
        node("Shape", ("normal",), "shape"),
        node("Gather", ("shape", "first"), "count"),
        node("Conv", ("normal", "kernel", "bias"), "patches", **settings),
        node("Unsqueeze", ("count", "at"), "counted"),
        node("Concat", ("counted", "rest"), "wanted", axis=0),
        node("Reshape", ("patches", "wanted"), "y"),
    ]
    constants = {
        "scale": np.float32(1 / 255), "mean": np.array([0.48, 0.46, 0.41], np.float32).reshape(1, 3, 1, 1),
        "std": np.array([0.27, 0.26, 0.28], np.float32).reshape(1, 3, 1, 1), "first": np.array(0), "at": np.array([0]),
        "rest": np.array([DIM, -1]), "kernel": KERNEL, "bias": BIAS[:DIM],
    }  # fmt: skip
    used = {name for each in nodes for name in each.input}
    pixels = value("pixels", ["B", size, size, 3], TensorProto.UINT8)
    return graph(nodes, [pixels], [value("y", ["B", DIM, "P"])], {n: v for n, v in constants.items() if n in used})


def pixels(count, side=SIDE):
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


class TestPatches:
    @pytest.mark.parametrize("count", [1, 4])
    def test_pixels_lose_nothing_and_weights_less_than_their_last_of_16_bits(self, count):
        model = front()
        expected = run(model, pixels=pixels(count))
        assert patches_in_integers(model)
        assert not {"Conv", "Sub", "Div"} & set(operators(model))
        found = run(model, pixels=pixels(count))
        assert found.shape == expected.shape == (count, DIM, (SIDE // PATCH) ** 2)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())

    @pytest.mark.parametrize(
        "other",
        [
            {"strides": [2, 2]},
            {"pads": [1, 1, 1, 1]},
            {"dilations": [2, 2]},
            {"size": 14},  # the last patch is cut off
            {"between": [node("Cast", ("planes",), "float", to=TensorProto.FLOAT), node("Exp", ("float",), "normal")]},
            {"between": [node("Cast", ("planes",), "f", to=TensorProto.FLOAT), node("Mul", ("f", "f"), "normal")]},
        ],
        ids=lambda other: next(iter(other)),
    )
    def test_what_begins_otherwise_is_left_as_it_is(self, other):
        model = front(**other)
        before = model.SerializeToString()
        assert not patches_in_integers(model)
        assert model.SerializeToString() == before

    def test_a_graph_of_texts_is_left(self):
        model = network()
        assert not patches_in_integers(model)
