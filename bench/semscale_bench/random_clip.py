"""Random CLIP checkpoints, seeded, whose embeddings really depend on the input."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

BOS, EOS = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a CLIP, by the names of its configuration."""

    vision: dict[str, Any]
    text: dict[str, Any]
    projection_dim: int
    image_size: int = 224
    vocabulary: int | None = None  # None is the size of its tokenizer's


def _transformer(width: int, layers: int, heads: int, *, mlp: int | None = None) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": mlp or 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


TINY = Shape(
    vision=_transformer(64, 2, 4) | {"patch_size": 16},
    text=_transformer(48, 3, 4) | {"max_position_embeddings": 24},
    projection_dim=32,
    image_size=64,
)
VIT_B_32 = Shape(_transformer(768, 12, 12) | {"patch_size": 32}, _transformer(512, 12, 8), 512, vocabulary=49_408)
VIT_B_16 = Shape(_transformer(768, 12, 12) | {"patch_size": 16}, _transformer(512, 12, 8), 512)
VIT_L_14 = Shape(_transformer(1024, 24, 16) | {"patch_size": 14}, _transformer(768, 12, 12), 768)
VIT_L_14_336 = replace(VIT_L_14, image_size=336)
_GELU = {"hidden_act": "gelu"}  # OpenCLIP's models; OpenAI's take transformers' default, its approximation
VIT_H_14 = Shape(
    vision=_transformer(1280, 32, 16) | {"patch_size": 14} | _GELU,
    text=_transformer(1024, 24, 16) | _GELU,
    projection_dim=1024,
)
VIT_BIGG_14 = Shape(
    vision=_transformer(1664, 48, 16, mlp=8192) | {"patch_size": 14} | _GELU,
    text=_transformer(1280, 32, 20) | _GELU,
    projection_dim=1280,
)
SHAPES = {  # by the names of the command line
    "tiny": TINY,
    "B/32": VIT_B_32,
    "B/16": VIT_B_16,
    "L/14": VIT_L_14,
    "L/14@336": VIT_L_14_336,
    "H/14": VIT_H_14,
    "bigG/14": VIT_BIGG_14,
}


def write_clip(
    folder: Path, shape: Shape = TINY, *, seed: int = 0, tokenizer: Path | None = None, eos_token_id: int | None = None
) -> Path:
    """Write a checkpoint as `save_pretrained` does, with the tokenizer in `tokenizer` or a small one of its own."""
    folder.mkdir(parents=True)
    vocabulary = write_tokenizer(folder) if tokenizer is None else copy_tokenizer(tokenizer, folder)
    config = CLIPConfig(
        text_config=shape.text
        | {
            "vocab_size": shape.vocabulary or len(vocabulary),
            "bos_token_id": vocabulary[BOS],
            "eos_token_id": vocabulary[EOS] if eos_token_id is None else eos_token_id,
            "pad_token_id": 1,
        },
        vision_config=shape.vision | {"image_size": shape.image_size},
        projection_dim=shape.projection_dim,
    )
    random_clip(config, seed).save_pretrained(folder)
    side = shape.image_size
    CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def random_clip(config: CLIPConfig, seed: int) -> CLIPModel:
    """Return a model in which the input outweighs what is the same for every input.

    With the library's own initialisation a random CLIP gives nearly one embedding for everything, and a comparison of
    embeddings could not fail.
    """
    torch.manual_seed(seed)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        model.vision_model.embeddings.patch_embedding.weight *= 4
        model.text_model.embeddings.token_embedding.weight *= 10
        for encoder in (model.vision_model.encoder, model.text_model.encoder):
            for layer in encoder.layers:
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    getattr(layer.self_attn, name).weight *= 3
                    getattr(layer.self_attn, name).bias.normal_(std=0.02)
                layer.mlp.fc1.weight *= 2
                layer.mlp.fc1.bias.normal_(std=0.02)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.normal_(1, 0.1)
                module.bias.normal_(0, 0.02)
    return model


def copy_tokenizer(source: Path, folder: Path) -> dict[str, int]:
    """Copy the tokenizer of another folder and return its vocabulary."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    return json.loads((source / "vocab.json").read_text(encoding="utf-8"))


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Write vocab.json and merges.txt of a byte-level tokenizer with three merges, and no tokenizer.json."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    letters = [*map(chr, printable), *(chr(256 + i) for i in range(len(rest)))]
    merges = ["c a", "ca t</w>", "d o"]
    symbols = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    vocabulary = {symbol: index for index, symbol in enumerate([*symbols, BOS, EOS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    settings = {"tokenizer_class": "CLIPTokenizer", "bos_token": BOS, "eos_token": EOS, "unk_token": EOS}
    settings |= {"pad_token": EOS, "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return vocabulary
