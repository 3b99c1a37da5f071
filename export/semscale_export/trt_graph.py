"""The ONNX graph that TensorRT is given: typed throughout, because its networks compute in the types of the graph.

It differs from the engine-neutral `model.onnx`:

- half precision: the features are a half model, traced as such, so that the causal mask is -65504 and not -inf;
- float32 stays where half loses: pixels until they are normalised, and the division by the L2 norm;
- opset 20: LayerNormalization and Gelu are one node each, and LayerNormalization sums in float32;
- pixels are cast before they are transposed: TensorRT takes uint8 for nothing but a cast.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from optimum.exporters.onnx import export as optimum_export
from torch import Tensor, nn

from semscale.encoders.ort import OrtEncoder
from semscale.encoders.trt_files import graph_file
from semscale.errors import ModelError, ParityError
from semscale.files import explaining
from semscale.model import Array, ModelSpec
from semscale.tokens import Tokenizer
from semscale_export import parity
from semscale_export.parity import ParityRow
from semscale_export.quiet import quiet
from semscale_export.towers import ImageTower, TextTowerOnnxConfig, Tower

OPSET = 20
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
# Largest distance of centred cosines (see `centred`). Half gives about 1e-6 on random weights and on the demo encoder;
# the rest is room for released models, none of which has been measured yet.
TOLERANCES = {"fp16": 1e-3, "fp32": 1e-5}
MAIN_DOMAINS = ("", "ai.onnx")


class TypedImageTower(nn.Module):
    """An ImageTower with features of any floating type."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.features, self.config, self.mean, self.std = tower.features, tower.config, tower.mean, tower.std
        self.scale = tower.scale
        self.dtype = next(tower.features.parameters()).dtype

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Rescale and normalise in float32, encode, and divide by the norm in float32."""
        scaled = pixels.to(torch.float32).permute(0, 3, 1, 2) * (1 / 255)
        return {"embedding": self.scale(self.features(((scaled - self.mean) / self.std).to(self.dtype)))}


def typed_module(tower: Tower, precision: str) -> nn.Module:
    """A copy of the tower whose features compute in `precision`; the tower stays as it is."""
    module = copy.deepcopy(tower.module)
    module.features.to(DTYPES[precision])
    return TypedImageTower(module) if isinstance(module, ImageTower) else module


def ensure_graph(tower: Tower, exported: Path, folder: Path) -> Path:
    """Return the tower's graph in `folder`, the one of a precision, writing and proving it first when it is not there.

    `exported` is the tower's own folder. Needs the lock of `folder`. Raises ParityError when the graph's embeddings
    are not the tower's, ModelError when the weights do not fit the precision, StoreError when it cannot be written.
    """
    graph = graph_file(folder)
    if graph.is_file():
        return graph
    with TemporaryDirectory(prefix=".graph-", dir=folder) as temporary:
        made = Path(temporary) / "graph"
        _prove(write_graph(tower, exported, made, precision=folder.name), made / "parity.json", folder.name)
        with explaining(folder, "rename"):
            os.replace(made, graph.parent)
    return graph


def _prove(rows: list[ParityRow], path: Path, precision: str) -> None:
    try:
        parity.write(rows, path)
    except ParityError as error:
        if precision == "fp32":
            raise
        raise ParityError(f"{error}. What half precision cannot hold, float32 does: --precision fp32") from error


def write_graph(tower: Tower, exported: Path, folder: Path, *, precision: str) -> list[ParityRow]:
    """Write `model.onnx` and `model.json` into the new folder `folder`; return how far it is from the float32 tower.

    The graph runs in ONNX Runtime, which on a CPU computes half in float32 and so cannot show an overflow; the half
    module runs in torch, which rounds after every operation. Both must agree with the tower.
    """
    folder.mkdir()
    module = typed_module(tower, precision)
    shapes = {"sequence_length": tower.spec.input_shape[0]} if tower.spec.kind == "text" else {}
    described = TextTowerOnnxConfig if tower.spec.kind == "text" else tower.onnx_config  # an engine has one length
    config = described(tower.module.config)
    path = folder / "model.onnx"
    with quiet():
        optimum_export(cast(Any, module), config, path, opset=OPSET, input_shapes=shapes)
    check_graph(path, norms=sum(isinstance(part, nn.LayerNorm) for part in module.modules()))
    inputs = test_inputs(tower.spec, exported)
    expected = _in_torch(tower.module, inputs)
    (folder / "model.json").write_text(replace(tower.spec, precision=precision).to_json(), encoding="utf-8")
    found = {"in torch": _in_torch(module, inputs), "graph": _in_onnxruntime(folder, inputs)}
    return [
        parity.compare(
            f"{tower.spec.kind} ({precision} {where})",
            *centred(rows, expected),
            tolerance=TOLERANCES[precision],
        )
        for where, rows in found.items()
    ]


def check_graph(path: Path, *, norms: int) -> None:
    """Raise ModelError unless the graph has `norms` whole LayerNormalizations and no constant that is not finite."""
    model = onnx.load(path)
    whole = sum(node.op_type == "LayerNormalization" for node in model.graph.node)
    if whole != norms:
        raise ModelError(
            f"{path}: {whole} LayerNormalizations for {norms} of the model; in pieces they overflow in half precision, "
            "so no engine is built. Report this with the model's name"
        )
    for name, values in constants(model):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(
                f"{path}: {name} does not fit into {values.dtype} (its numbers end at {np.finfo(values.dtype).max:g}); "
                "choose --precision fp32"
            )


def constants(model: onnx.ModelProto) -> Iterator[tuple[str, Array]]:
    """Yield every weight and constant of the graph by name."""
    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type != TensorProto.STRING:
                yield node.name, numpy_helper.to_array(attribute.t)


def test_inputs(spec: ModelSpec, exported: Path) -> Array:
    """The fixed inputs of the parity gate, as the tower takes them."""
    if spec.kind == "image":
        return np.stack(parity.images(spec.input_shape[0])).astype(spec.input_dtype)
    return Tokenizer(exported).encode(parity.TEXTS)[0]


def centred(actual: Array, expected: Array) -> tuple[Array, Array]:
    """Subtract from both (N, D) what all expected rows share, which would hide a difference in a cosine."""
    shared = expected.mean(axis=0)
    return actual - shared, expected - shared


def _in_torch(module: nn.Module, inputs: Array) -> Array:
    with torch.inference_mode():
        return module(torch.from_numpy(inputs))["embedding"].numpy()


def _in_onnxruntime(folder: Path, inputs: Array) -> Array:
    encoder = OrtEncoder(folder)
    try:
        return encoder.encode(inputs)
    finally:
        encoder.close()
