"""How much of a prompt a pipeline reads: as much as the one of its text encoders that reads most.

CLIP reads 77 tokens, those that mark the start and the end among them, and T5 as many as the pipeline's call says
(Stable Diffusion 3 256, PixArt-alpha 120, PixArt-Sigma 300, Flux 512). Pipelines cut off the rest, and only log it.
"""

from __future__ import annotations

from typing import Any

from semscale.producers.diffusion import checks

_NAMES = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"), ("tokenizer_3", "text_encoder_3"))


def unread(pipeline: Any, text: str) -> int:
    """How many tokens of `text` no encoder sees; 0 for a pipeline without encoders, whose prompts are names."""
    if hasattr(pipeline, "_text_preprocessing"):  # PixArt's, in lower case
        [text] = pipeline._text_preprocessing(text)
    parts = [(getattr(pipeline, name, None), getattr(pipeline, encoder, None)) for name, encoder in _NAMES]
    beyond = (
        len(tokenizer(text).input_ids) - _limit(pipeline, tokenizer, encoder)
        for tokenizer, encoder in parts
        if tokenizer is not None and encoder is not None
    )
    return max(0, min(beyond, default=0))


def _limit(pipeline: Any, tokenizer: Any, encoder: Any) -> int:
    """The most tokens that an encoder is given."""
    if encoder.config.model_type == "t5":
        return int(checks.default(pipeline, "max_sequence_length"))
    return int(tokenizer.model_max_length)
