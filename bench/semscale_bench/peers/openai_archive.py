"""A checkpoint of transformers' CLIP as the CLIP package reads it: its names, and matrices in half precision.

That of ViT-B/32 has 354 MB, as the released file has. The released one is a TorchScript archive besides, which takes
the package a little longer to open than plain tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from semscale_export.families.open_clip_weights import TRANSPOSED, names_in

HEAD = 64  # width of an attention head in the package, whatever the model
WIDE = ("ln_", "embedding", "logit_scale")  # parts of the names of what it keeps in single precision


def write_archive(checkpoint: Path, path: Path) -> None:
    """Write the weights to `path`; nothing where the package has no such model, which whoever opens it finds."""
    config = checkpoint / "config.json"
    if config.is_file() and fits(json.loads(config.read_text(encoding="utf-8"))):
        model = CLIPModel.from_pretrained(checkpoint, local_files_only=True, use_safetensors=True)
        torch.save(by_its_names(model), path)


def fits(values: Mapping[str, Any]) -> bool:
    """Whether the package would build the network of a configuration."""
    if values.get("model_type") != CLIPConfig.model_type:
        return False
    config = CLIPConfig.from_dict(dict(values))
    return all(
        tower.hidden_act == "quick_gelu"
        and tower.num_attention_heads * HEAD == tower.hidden_size
        and tower.intermediate_size == 4 * tower.hidden_size
        for tower in (config.vision_config, config.text_config)
    )


def by_its_names(model: CLIPModel) -> dict[str, Tensor]:
    """The tensors as the package names, shapes and rounds them."""
    weights = model.state_dict()
    made = {}
    for name, theirs in names_in(model.config).items():
        whole = torch.cat([weights[theirs.format(part)] for part in "qkv"]) if "{}" in theirs else weights[theirs]
        shaped = whole.t().contiguous() if name in TRANSPOSED else whole
        made[name] = shaped if any(part in name for part in WIDE) else shaped.half()
    return made
