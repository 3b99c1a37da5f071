"""DINOv2 as Hugging Face keeps it (`model_type` "dinov2", "dinov2_with_registers"): an image tower, and no text tower.

The embedding is the class token behind the last layer norm, of whatever length it has: the Fréchet distance over DINOv2
(Stein et al. 2023, arXiv:2306.04675) takes it so, and what compares directions divides by the length itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import BitImageProcessor, Dinov2Model, Dinov2WithRegistersModel

from semscale.errors import ModelError
from semscale.model import Array
from semscale_export.checkpoint import Checkpoint
from semscale_export.hugging_face import load_model, load_part
from semscale_export.spec import image_spec, preprocess_of
from semscale_export.towers import ImageTower, ImageTowerOnnxConfig, Tower

Dinov2 = Dinov2Model | Dinov2WithRegistersModel
MODELS = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel}


class _ClassToken(nn.Module):
    """Normalised (N, 3, side, side) -> (N, D), the class token behind the last layer norm."""

    def __init__(self, model: Dinov2, side: int) -> None:
        super().__init__()
        first, positions = _positions(model, side).split([1, (side // model.config.patch_size) ** 2], dim=1)
        registers = getattr(model.embeddings, "register_tokens", None)  # which have no positions
        start = [model.embeddings.cls_token + first, *([] if registers is None else [registers])]
        self.start, self.positions = nn.Buffer(torch.cat(start, dim=1).detach()), nn.Buffer(positions)
        self.patches, self.encoder, self.norm = model.embeddings.patch_embeddings, model.encoder, model.layernorm

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patches(pixels) + self.positions
        tokens = torch.cat([self.start.expand(patches.shape[0], -1, -1), patches], dim=1)
        return self.norm(self.encoder(tokens).last_hidden_state[:, 0])


def towers(checkpoint: Checkpoint) -> list[Tower]:
    """Load a DINOv2 checkpoint in float32 and return its image tower.

    Raises ModelError when a file is missing or damaged, or when it asks for what the engine cannot express.
    """
    model = load_model(checkpoint, MODELS[checkpoint.model_type])
    processor = load_part(checkpoint, BitImageProcessor, "preprocessor_config.json")
    config = copy.copy(model.config)
    config.image_size = _side(checkpoint, processor, config.patch_size)  # what is traced, not what it was trained at
    preprocess = preprocess_of(checkpoint, processor, config.image_size)
    spec = image_spec(checkpoint, preprocess, dim=config.hidden_size, normalized=False)
    module = ImageTower(_ClassToken(model, config.image_size), config, spec)

    def reference(images: Sequence[Array]) -> Array:
        normalised = processor(
            list(images), do_resize=False, do_center_crop=False, input_data_format="channels_last", return_tensors="pt"
        )
        with torch.inference_mode():
            return model(**normalised).pooler_output.numpy()

    return [Tower(spec, module, ImageTowerOnnxConfig, reference)]


def _side(checkpoint: Checkpoint, processor: BitImageProcessor, patch: int) -> int:
    """The side in pixels of what the processor gives, of which the patches leave nothing over."""
    setting, size = ("crop_size", processor.crop_size) if processor.do_center_crop else ("size", processor.size)
    height, width = (size.get(side, 0) for side in ("height", "width"))
    if not height or height != width or height % patch:
        raise ModelError(
            f"{checkpoint.name}: preprocessor_config.json has {setting} = {dict(size)}, and DINOv2 needs a square "
            f"whose side is a multiple of its patches' {patch} pixels; correct it, for instance to {16 * patch}"
        )
    return height


def _positions(model: Dinov2, side: int) -> Tensor:
    """(1, 1 + patches, D): the trained positions, interpolated as transformers does it for images of `side` pixels."""
    tokens = 1 + (side // model.config.patch_size) ** 2
    like = torch.empty(1, tokens, model.config.hidden_size)
    return model.embeddings.interpolate_pos_encoding(like, side, side).detach()
