"""Floating-point operations of one image or text through a CLIP tower, counted from its sizes.

A multiply-add counts as two. Matrix products are counted and nothing else: layer norms, activations, softmax and the
lookup of token embeddings add less than 1 % at the true shapes. The text tower's causal attention counts in full, as it
is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLOURS = 3


@dataclass(frozen=True, slots=True)
class Transformer:
    """The sizes that decide what one sequence costs."""

    width: int
    layers: int
    mlp: int  # width between the two products of a layer's perceptron
    tokens: int  # T


def transformer_flops(sizes: Transformer) -> int:
    """FLOPs of one sequence through all layers: query, key, value and output; attention; the perceptron.

    A layer takes 8 T w^2 for the four projections, 4 T^2 w for the scores and their weighted sum, and 4 T w m for the
    perceptron of width m.
    """
    tokens, width = sizes.tokens, sizes.width
    layer = 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * sizes.mlp
    return sizes.layers * layer


def image_flops(sizes: Transformer, *, patch: int, dim: int) -> int:
    """FLOPs of one image: its patches of `patch` pixels a side embedded, the layers, and the projection to D = `dim`.

    One of the tokens is the class token, which is no patch.
    """
    embedding = 2 * (sizes.tokens - 1) * COLOURS * patch**2 * sizes.width
    return embedding + transformer_flops(sizes) + 2 * sizes.width * dim


def text_flops(sizes: Transformer, *, dim: int) -> int:
    """FLOPs of one text, padded to the tower's length: the layers, and the projection to D = `dim`."""
    return transformer_flops(sizes) + 2 * sizes.width * dim


def tower_flops(config: Any, tower: str) -> int:
    """FLOPs of one input of the `tower`, "image" or "text", of a CLIP with this transformers CLIPConfig."""
    if tower == "text":
        return text_flops(
            _sizes(config.text_config, config.text_config.max_position_embeddings), dim=config.projection_dim
        )
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return image_flops(_sizes(vision, patches + 1), patch=vision.patch_size, dim=config.projection_dim)


def _sizes(part: Any, tokens: int) -> Transformer:
    return Transformer(part.hidden_size, part.num_hidden_layers, part.intermediate_size, tokens)
