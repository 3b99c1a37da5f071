"""One tower of a model as ONNX: raw input in, unit-length embedding out, everything between them in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from optimum.exporters.onnx import export as optimum_export
from optimum.exporters.onnx.config import TextEncoderOnnxConfig, VisionOnnxConfig
from optimum.utils import DummyVisionInputGenerator, NormalizedTextConfig, NormalizedVisionConfig
from torch import Tensor, nn

from semscale.encoders import graph_sha256
from semscale.model import Array, ModelSpec

OPSET = 18  # from 17 on a LayerNormalization stays one node, which half precision needs
BATCH_AXIS = {0: "batch"}
Axes = dict[str, dict[int, str]]


@dataclass(frozen=True, slots=True)
class Tower:
    """One half of a loaded model, with what its export is measured against."""

    spec: ModelSpec
    module: ImageTower | TextTower  # what is traced
    onnx_config: type[VisionOnnxConfig] | type[TextEncoderOnnxConfig]
    reference: Callable[[Sequence[Any]], Array]  # pixels or texts -> (N, D) unit rows by the family's own library
    write_beside: Callable[[Path], None] | None = None  # puts what else belongs to it, a tokenizer say, into a folder


class ImageTower(nn.Module):
    """RGB (N, H, W, 3), uint8 or float32 from 0 to 255 -> (N, D) float32, of unit L2 norm where the spec says so."""

    def __init__(self, features: nn.Module, config: Any, spec: ModelSpec) -> None:
        """Wrap `features`, which maps normalised (N, 3, H, W) float32 to (N, D); `config` is its own."""
        super().__init__()
        assert spec.preprocess is not None
        preprocess = spec.preprocess
        self.features = features
        self.config: Any = config
        self.scale = unit if spec.normalized else as_float32
        self.mean = nn.Buffer(torch.tensor(preprocess.mean).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(preprocess.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Rescale, normalise, encode."""
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) * (1 / 255)
        return {"embedding": self.scale(self.features((scaled - self.mean) / self.std))}


class TextTower(nn.Module):
    """int64 token ids (N, T) -> (N, D) float32 of unit L2 norm."""

    def __init__(self, features: nn.Module, config: Any) -> None:
        """Wrap `features`, which maps (N, T) int64 to (N, D); `config` is its own."""
        super().__init__()
        self.features = features
        self.config: Any = config

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Encode."""
        return {"embedding": unit(self.features(input_ids))}


def unit(rows: Tensor) -> Tensor:
    """Divide each row of (N, D) by its L2 norm, in float32 whatever the model computes in.

    Plain x / ||x|| as in CLIP: a row of zeros becomes NaN, which scoring counts as invalid.
    """
    rows = rows.to(torch.float32)
    return rows / rows.norm(p=2, dim=-1, keepdim=True)


def as_float32(rows: Tensor) -> Tensor:
    """(N, D) as they are, in float32 whatever the model computes in."""
    return rows.to(torch.float32)


class _DummyPixels(DummyVisionInputGenerator):
    DTYPE = torch.uint8
    SUPPORTED_INPUT_NAMES = ("pixels",)

    def generate(
        self, input_name: str, framework: str = "pt", int_dtype: str = "int64", float_dtype: str = "fp32"
    ) -> Tensor:
        shape = [self.batch_size, self.height, self.width, 3]
        return self.random_int_tensor(shape, 256, framework=framework, dtype=int_dtype).to(self.DTYPE)


class _DummyUnroundedPixels(_DummyPixels):
    DTYPE = torch.float32


class ImageTowerOnnxConfig(VisionOnnxConfig):
    """optimum's description of an ImageTower; it has none for a vision model with its projection."""

    NORMALIZED_CONFIG_CLASS = NormalizedVisionConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (_DummyPixels,)

    @property
    def inputs(self) -> Axes:
        """Name the graph's input and its dynamic axes."""
        return {"pixels": BATCH_AXIS}

    @property
    def outputs(self) -> Axes:
        """Name the graph's output and its dynamic axes."""
        return {"embedding": BATCH_AXIS}


class UnroundedImageTowerOnnxConfig(ImageTowerOnnxConfig):
    """optimum's description of an ImageTower that takes float32."""

    DUMMY_INPUT_GENERATOR_CLASSES = (_DummyUnroundedPixels,)


class TextTowerOnnxConfig(TextEncoderOnnxConfig):
    """optimum's description of a TextTower that takes T ids and no fewer."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig

    @property
    def inputs(self) -> Axes:
        """Name the graph's input and its dynamic axes."""
        return {"input_ids": BATCH_AXIS}

    @property
    def outputs(self) -> Axes:
        """Name the graph's output and its dynamic axes."""
        return {"embedding": BATCH_AXIS}


class CausalTextTowerOnnxConfig(TextTowerOnnxConfig):
    """optimum's description of a TextTower that takes any number of ids up to T.

    Its embeddings depend on nothing after the first end-of-text token, so that a back end may leave the rest away.
    """

    @property
    def inputs(self) -> Axes:
        """Name the graph's input and its dynamic axes."""
        return {"input_ids": {**BATCH_AXIS, 1: "length"}}


def write_tower(tower: Tower, folder: Path) -> None:
    """Write `model.onnx`, `model.json` and what else the tower needs into the new folder `folder`.

    Weights beyond protobuf's 2 GB go into `model.onnx_data` beside the model.
    """
    folder.mkdir(parents=True)
    shapes = {"sequence_length": tower.spec.input_shape[0]} if tower.spec.kind == "text" else {}
    config = tower.onnx_config(tower.module.config)
    optimum_export(cast(Any, tower.module), config, folder / "model.onnx", opset=OPSET, input_shapes=shapes)
    spec = replace(tower.spec, graph=graph_sha256(folder / "model.onnx"))
    (folder / "model.json").write_text(spec.to_json(), encoding="utf-8")
    if tower.write_beside is not None:
        tower.write_beside(folder)
