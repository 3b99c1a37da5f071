"""CLIP as Hugging Face keeps it (`model_type` "clip"): OpenAI's models, LAION's conversions, and their descendants."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from semscale.errors import ModelError
from semscale.model import Array, Tokens
from semscale_export.checkpoint import Checkpoint
from semscale_export.hugging_face import load_model, load_part
from semscale_export.spec import image_spec, preprocess_of, text_spec
from semscale_export.towers import CausalTextTowerOnnxConfig, ImageTower, ImageTowerOnnxConfig, TextTower, Tower, unit

# Checkpoints from before transformers 4.31 say 2 here, whatever the tokenizer's id is; transformers then pools at the
# highest id of the text, which for their vocabulary is the end-of-text token.
LEGACY_EOS = 2


class _ImageFeatures(nn.Module):
    """CLIP's image transformer and its projection: normalised (N, 3, H, W) -> (N, D).

    Nothing of the last layer but the class token is read, so nothing else of it is computed: of B/32's twelve layers
    that saves 6.9 percent of the products, at the same values.
    """

    def __init__(self, transformer: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.transformer, self.projection = transformer, projection

    def forward(self, pixels: Tensor) -> Tensor:
        transformer = cast(Any, self.transformer)
        hidden = transformer.pre_layrnorm(transformer.embeddings(pixels))
        *layers, last = transformer.encoder.layers
        for layer in layers:
            (hidden,) = layer(hidden, None, None)
        return self.projection(transformer.post_layernorm(_class_token(last, hidden)))


def _class_token(layer: Any, hidden: Tensor) -> Tensor:
    """What a layer makes of the first of (N, T, D) tokens, attending to all of them: (N, D)."""
    normed, attention = layer.layer_norm1(hidden), layer.self_attn

    def by_head(tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (attention.num_heads, attention.head_dim)).transpose(1, 2)

    query = by_head(attention.q_proj(normed[:, :1]))
    keys, values = by_head(attention.k_proj(normed)), by_head(attention.v_proj(normed))
    seen = functional.scaled_dot_product_attention(query, keys, values, scale=attention.scale)
    token = hidden[:, 0] + attention.out_proj(seen.flatten(1))  # heads of one token lie in a row
    return token + layer.mlp(layer.layer_norm2(token))


class _TextFeatures(nn.Module):
    """CLIP's text transformer and its projection: (N, T) -> (N, D)."""

    def __init__(self, transformer: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.transformer, self.projection = transformer, projection

    def forward(self, ids: Tensor) -> Tensor:
        return self.projection(self.transformer(ids).pooler_output)


def towers(checkpoint: Checkpoint) -> list[Tower]:
    """Load a CLIP checkpoint in float32 and return its image and text towers.

    Raises ModelError when a file is missing or damaged, or when it asks for what the engine cannot express.
    """
    model: CLIPModel = load_model(checkpoint, CLIPModel)
    processor = load_part(checkpoint, CLIPImageProcessor, "preprocessor_config.json")
    tokenizer = load_part(
        checkpoint, CLIPTokenizerFast, "the tokenizer's files (tokenizer.json, or vocab.json and merges.txt)"
    )
    return towers_of(checkpoint, model, processor, tokenizer)


def towers_of(
    checkpoint: Checkpoint, model: CLIPModel, processor: CLIPImageProcessor, tokenizer: CLIPTokenizerFast
) -> list[Tower]:
    """Return the towers of a loaded CLIP. Raises ModelError when it asks for what the engine cannot express."""
    return [_image_tower(checkpoint, model, processor), _text_tower(checkpoint, model, tokenizer)]


def _image_tower(checkpoint: Checkpoint, model: CLIPModel, processor: CLIPImageProcessor) -> Tower:
    config = model.config.vision_config
    preprocess = preprocess_of(checkpoint, processor, config.image_size)
    spec = image_spec(checkpoint, preprocess, dim=model.config.projection_dim)
    module = ImageTower(_ImageFeatures(model.vision_model, model.visual_projection), config, spec)

    def reference(images: Sequence[Array]) -> Array:
        normalised = processor(
            list(images), do_resize=False, do_center_crop=False, input_data_format="channels_last", return_tensors="pt"
        )
        with torch.inference_mode():
            return unit(model.get_image_features(**normalised)).numpy()

    return Tower(spec, module, ImageTowerOnnxConfig, reference)


def _text_tower(checkpoint: Checkpoint, model: CLIPModel, tokenizer: CLIPTokenizerFast) -> Tower:
    config = model.config.text_config
    tokens = _tokens(checkpoint, tokenizer, config)
    module = TextTower(_TextFeatures(model.text_model, model.text_projection), config)

    def reference(texts: Sequence[str]) -> Array:
        ids = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=tokens.length, return_tensors="pt"
        )
        with torch.inference_mode():
            return unit(model.get_text_features(**ids)).numpy()

    def write_tokenizer(folder: Path) -> None:
        source = checkpoint.folder / "tokenizer.json"
        if source.is_file():
            shutil.copyfile(source, folder / "tokenizer.json")
        else:
            tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))

    spec = text_spec(checkpoint, tokens, dim=model.config.projection_dim)
    return Tower(spec, module, CausalTextTowerOnnxConfig, reference, write_tokenizer)


def _tokens(checkpoint: Checkpoint, tokenizer: CLIPTokenizerFast, config: Any) -> Tokens:
    eos, pad = (cast(int, token) for token in (tokenizer.eos_token_id, tokenizer.pad_token_id))
    highest = max(tokenizer.get_vocab().values())
    if highest >= config.vocab_size:
        raise ModelError(
            f"{checkpoint.name}: the tokenizer has id {highest}, and the model only {config.vocab_size} embeddings; "
            "give the checkpoint the tokenizer it was trained with"
        )
    if eos != (highest if config.eos_token_id == LEGACY_EOS else config.eos_token_id):
        raise ModelError(
            f"{checkpoint.name}: the tokenizer ends a text with id {eos}, and by config.json "
            f"(text_config.eos_token_id {config.eos_token_id}) the model pools elsewhere, so that every text would get "
            "nearly the same embedding; correct config.json"
        )
    return Tokens(length=config.max_position_embeddings, eos=eos, pad=pad)
