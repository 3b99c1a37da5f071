"""The tensors of an open_clip checkpoint by the names, and in the shapes, that transformers' CLIPModel has for them."""

from __future__ import annotations

from collections.abc import Mapping, Set

from torch import Tensor
from transformers import CLIPConfig

from semscale.errors import ModelError
from semscale_export.checkpoint import OPEN_CLIP_CONFIG, Checkpoint

TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
RENAMED = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
}
MODULES = {  # each a weight and a bias
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}
BLOCK = {  # each a weight and a bias; {} stands for q, k and v
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.in_proj_": "self_attn.{}_proj.",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def converted(checkpoint: Checkpoint, weights: Mapping[str, Tensor], config: CLIPConfig) -> dict[str, Tensor]:
    """Return open_clip's tensors as those of a transformers CLIPModel of `config`, by its names.

    Raises ModelError, naming one, when a tensor is missing, or one is there that such a model does not have.
    """
    names = names_in(config)
    left = {name: tensor for name, tensor in weights.items() if not name.endswith("attn_mask")}  # a constant
    _refuse(checkpoint, names.keys() - left.keys(), "lack")
    _refuse(checkpoint, left.keys() - names.keys(), "have, beyond what the configuration describes,")
    made: dict[str, Tensor] = {}
    for name, target in names.items():
        tensor = left.pop(name)
        if "{}" in target:
            made |= {target.format(part): rows.clone() for part, rows in zip("qkv", tensor.chunk(3), strict=False)}
        else:
            made[target] = tensor.t().contiguous() if name in TRANSPOSED else tensor
    made["logit_scale"] = made["logit_scale"].reshape(())
    return made


def _refuse(checkpoint: Checkpoint, names: Set[str], what: str) -> None:
    if names:
        raise ModelError(
            f"{checkpoint.name}: the weights {what} {len(names)} tensors, among them {min(names)}; the "
            f"configuration in {OPEN_CLIP_CONFIG} is of another model, or not of a plain CLIP"
        )


def names_in(config: CLIPConfig) -> dict[str, str]:
    """open_clip's name of every tensor, and transformers' name; {} in it stands for q, k and v."""
    kinds = ("weight", "bias")
    names = {**RENAMED, **TRANSPOSED}
    names |= {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in MODULES.items() for kind in kinds}
    towers = {"visual.": ("vision_model", config.vision_config), "": ("text_model", config.text_config)}
    for prefix, (tower, settings) in towers.items():
        for layer in range(settings.num_hidden_layers):
            ours, theirs = f"{prefix}transformer.resblocks.{layer}.", f"{tower}.encoder.layers.{layer}."
            names |= {f"{ours}{a}{kind}": f"{theirs}{b}{kind}" for a, b in BLOCK.items() for kind in kinds}
    return names
