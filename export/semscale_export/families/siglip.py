"""SigLIP as Hugging Face keeps it (`model_type` "siglip"), and SigLIP 2 where its resolution is fixed.

Both read a text as T ids (64, or 16 for one checkpoint), all attended to without a mask, the padding too, and pooled at
the last position. SigLIP tokenises by SentencePiece (`spiece.model`), SigLIP 2 by Gemma's `tokenizer.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast, SiglipImageProcessor, SiglipModel
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from semscale.errors import ModelError
from semscale.model import Array, Tokens
from semscale_export.checkpoint import Checkpoint
from semscale_export.hugging_face import load_model, load_part
from semscale_export.siglip_tokenizer import convert, load_siglip_tokenizer
from semscale_export.spec import image_spec, preprocess_of, text_spec
from semscale_export.towers import ImageTower, ImageTowerOnnxConfig, TextTower, TextTowerOnnxConfig, Tower, unit

SLOW = "SiglipTokenizer"  # also what transformers takes where tokenizer_config.json names no class


class _ImageFeatures(nn.Module):
    """SigLIP's image transformer and its pooling head, which also projects: (N, 3, H, W) -> (N, D)."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, pixels: Tensor) -> Tensor:
        transformer = cast(Any, self.transformer)
        encoded = transformer.encoder(inputs_embeds=transformer.embeddings(pixels)).last_hidden_state
        states, head = transformer.post_layernorm(encoded), transformer.head
        probe = head.probe.repeat(states.shape[0], 1, 1)
        # The library's head also asks for the weights, which nobody reads and which cannot be traced without a warning.
        pooled, _ = head.attention(probe, states, states, need_weights=False)
        return (pooled + head.mlp(head.layernorm(pooled)))[:, 0]


class _TextFeatures(nn.Module):
    """SigLIP's text transformer and its projection: (N, T) -> (N, D)."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, ids: Tensor) -> Tensor:
        return self.transformer(ids).pooler_output


def towers(checkpoint: Checkpoint) -> list[Tower]:
    """Load a SigLIP checkpoint in float32 and return its image and text towers.

    Raises ModelError when a file is missing or damaged, or when it asks for what the engine cannot express, and
    MissingDependencyError when its tokenizer needs a library that is not installed.
    """
    if not checkpoint.config.get("vision_config", {}).get("vision_use_head", True):
        raise ModelError(
            f"{checkpoint.name}: config.json says vision_use_head = false, so the checkpoint has no image embedding; "
            "give the whole SigLIP that it was taken from"
        )
    reference, exported = _tokenizers(checkpoint)
    processor = load_part(checkpoint, SiglipImageProcessor, "preprocessor_config.json")
    model: SiglipModel = load_model(checkpoint, SiglipModel)
    return [_image_tower(checkpoint, model, processor), _text_tower(checkpoint, model, reference, exported)]


def _image_tower(checkpoint: Checkpoint, model: SiglipModel, processor: SiglipImageProcessor) -> Tower:
    config = model.config.vision_config
    preprocess = preprocess_of(checkpoint, processor, config.image_size)
    spec = image_spec(checkpoint, preprocess, dim=config.hidden_size)
    module = ImageTower(_ImageFeatures(model.vision_model), config, spec)

    def reference(images: Sequence[Array]) -> Array:
        normalised = processor(list(images), do_resize=False, input_data_format="channels_last", return_tensors="pt")
        with torch.inference_mode():
            return unit(model.get_image_features(**normalised)).numpy()

    return Tower(spec, module, ImageTowerOnnxConfig, reference)


def _text_tower(checkpoint: Checkpoint, model: SiglipModel, tokenizer: Any, exported: Tokenizer) -> Tower:
    config = model.config.text_config
    tokens = _tokens(checkpoint, tokenizer, config)
    module = TextTower(_TextFeatures(model.text_model), config)

    def reference(texts: Sequence[str]) -> Array:
        ids = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=tokens.length, return_tensors="pt"
        )
        with torch.inference_mode():  # without the mask that some saved tokenizers add: the models never had one
            return unit(model.get_text_features(ids["input_ids"])).numpy()

    def write_tokenizer(folder: Path) -> None:
        exported.save(str(folder / "tokenizer.json"))

    spec = text_spec(checkpoint, tokens, dim=config.projection_size)
    return Tower(spec, module, TextTowerOnnxConfig, reference, write_tokenizer)


def _tokenizers(checkpoint: Checkpoint) -> tuple[Any, Tokenizer]:
    """The checkpoint's tokenizer as transformers has it, and as the engine reads it."""
    if _tokenizer_class(checkpoint) == SLOW:
        slow = load_siglip_tokenizer(checkpoint)
        return slow, convert(checkpoint, slow)
    what = "the tokenizer's files (tokenizer.json, tokenizer_config.json)"
    fast = load_part(checkpoint, AutoTokenizer, what, trust_remote_code=False)
    if not isinstance(fast, PreTrainedTokenizerFast):
        raise ModelError(f"{checkpoint.name}: no tokenizer.json in {checkpoint.folder}; fetch the checkpoint again")
    if fast.init_kwargs.get("do_lower_case"):
        # SigLIP 2 was trained on lower case and its files say so. transformers heeds that from version 5 on, like this.
        backend = fast.backend_tokenizer
        steps = [normalizers.Lowercase(), backend.normalizer] if backend.normalizer else [normalizers.Lowercase()]
        backend.normalizer = normalizers.Sequence(steps)
    return fast, Tokenizer.from_str(fast.backend_tokenizer.to_str())


def _tokenizer_class(checkpoint: Checkpoint) -> str:
    try:
        return get_tokenizer_config(checkpoint.folder, local_files_only=True).get("tokenizer_class", SLOW)
    except Exception as error:  # of damaged files transformers raises anything
        raise ModelError(
            f"{checkpoint.name}: tokenizer_config.json in {checkpoint.folder} cannot be loaded ({error})"
        ) from error


def _tokens(checkpoint: Checkpoint, tokenizer: Any, config: Any) -> Tokens:
    if tokenizer.pad_token_id is None or (tokenizer.padding_side, tokenizer.truncation_side) != ("right", "right"):
        raise ModelError(
            f"{checkpoint.name}: the tokenizer pads on the {tokenizer.padding_side} with {tokenizer.pad_token!r} and "
            f"cuts on the {tokenizer.truncation_side}, and SigLIP does both on the right; correct tokenizer_config.json"
        )
    highest = max(tokenizer.get_vocab().values())
    if highest >= config.vocab_size:
        raise ModelError(
            f"{checkpoint.name}: the tokenizer's highest id is {highest}, and the model has {config.vocab_size} "
            "embeddings; give the checkpoint the tokenizer it was trained with"
        )
    eos, pad = (cast(int, token) for token in (tokenizer.eos_token_id, tokenizer.pad_token_id))
    return Tokens(length=config.max_position_embeddings, eos=eos, pad=pad)
