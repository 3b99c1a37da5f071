"""CLIP as open_clip keeps it on the hub: `open_clip_config.json`, and `open_clip_model.safetensors` with its own names.

The checkpoint becomes transformers' CLIPModel and goes on as one of those. Only the plain CLIP can: a Vision
Transformer that reads its class token, and a causal text tower that reads the token of the highest id. Any other
setting is refused by name.

Two things are as in transformers and not in open_clip, and seldom differ: an odd number of pixels that the crop leaves
over may lie one pixel to the other side; and texts are not mended (HTML entities, wrongly decoded letters) first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from semscale.errors import ModelError
from semscale_export.checkpoint import OPEN_CLIP_CONFIG, Checkpoint
from semscale_export.families.clip import LEGACY_EOS, towers_of
from semscale_export.families.open_clip_weights import converted
from semscale_export.hugging_face import load_model, load_part
from semscale_export.towers import Tower
from semscale_export.weights import load_weights

Settings = Mapping[str, Any]

# What is read, with open_clip's defaults.
VISION = {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64, "mlp_ratio": 4.0}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "layers": 12, "heads": 8, "mlp_ratio": 4.0}
MODEL = {"embed_dim": None, "vision_cfg": None, "text_cfg": None, "quick_gelu": False}
PIXELS = {
    "size": None,
    "mode": "RGB",
    "mean": OPENAI_CLIP_MEAN,
    "std": OPENAI_CLIP_STD,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}

ANYTHING = object()  # of training or of the output's form: no value changes an embedding
NEUTRAL: Mapping[str, Settings] = {  # what else may be there, and the value at which it changes nothing
    "model_cfg": {
        "custom_text": False,
        "init_logit_bias": None,
        "init_logit_scale": ANYTHING,
        "cast_dtype": ANYTHING,
        "output_dict": ANYTHING,
    },
    "vision_cfg": {
        "timm_model_name": None,
        "attentional_pool": False,
        "pool_type": "tok",
        "pos_embed_type": "learnable",
        "no_ln_pre": False,
        "final_ln_after_pool": False,
        "ls_init_value": None,
        "act_kwargs": None,
        "norm_kwargs": None,
        "patch_dropout": ANYTHING,
        "output_tokens": ANYTHING,
    },
    "text_cfg": {
        "hf_model_name": None,
        "hf_tokenizer_name": None,
        "tokenizer_kwargs": None,
        "pool_type": "argmax",
        "proj_type": "linear",
        "proj_bias": False,
        "embed_cls": False,
        "no_causal_mask": False,
        "final_ln_after_pool": False,
        "ls_init_value": None,
        "act_kwargs": None,
        "norm_kwargs": None,
        "pad_id": ANYTHING,  # attention is causal: the token that is read sees no padding
        "output_tokens": ANYTHING,
    },
    "preprocess_cfg": {"fill_color": ANYTHING},  # of what resize_mode "longest" adds
}


def towers(checkpoint: Checkpoint) -> list[Tower]:
    """Load an open_clip checkpoint in float32 and return its image and text towers.

    Raises ModelError when a file is missing or damaged, when the configuration has a setting that is not the plain
    CLIP's, when the weights have other tensors than that, or when it asks for what the engine cannot express.
    """
    config = _config(checkpoint)
    processor = _processor(checkpoint, config.vision_config.image_size)
    tokenizer = _tokenizer(checkpoint)
    weights = converted(checkpoint, load_weights(checkpoint), config)
    model: CLIPModel = load_model(checkpoint, CLIPModel, config, weights)
    return towers_of(checkpoint, model, processor, tokenizer)


def _config(checkpoint: Checkpoint) -> CLIPConfig:
    model = _section(checkpoint, checkpoint.config, "model_cfg", MODEL)
    vision, text = (
        _section(checkpoint, model, name, known) for name, known in (("vision_cfg", VISION), ("text_cfg", TEXT))
    )
    if isinstance(vision["layers"], list):
        raise _cannot(checkpoint, "vision_cfg.layers", vision["layers"], "one number: a Vision Transformer")
    activation = {"hidden_act": "quick_gelu" if model["quick_gelu"] else "gelu"}
    try:
        sizes = {"patch_size": vision["patch_size"], "image_size": _side(vision["image_size"])}
        heads = vision["width"] // vision["head_width"]
        of_text = {"max_position_embeddings": text["context_length"], "vocab_size": text["vocab_size"]}
        return CLIPConfig(
            vision_config={**_transformer(vision, heads), **sizes, **activation},
            text_config={**_transformer(text, text["heads"]), **of_text, **activation, "eos_token_id": LEGACY_EOS},
            projection_dim=model["embed_dim"],
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(f"{checkpoint.name}: {OPEN_CLIP_CONFIG} has sizes that make no model ({error})") from error


def _transformer(settings: Settings, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": settings["width"],
        "intermediate_size": int(settings["width"] * settings["mlp_ratio"]),
        "num_hidden_layers": settings["layers"],
        "num_attention_heads": heads,
    }


def _side(size: Any) -> int:
    """The side of a square that is given as one number or as two."""
    height, width = size if isinstance(size, list) else (size, size)
    if height != width:
        raise ValueError(f"images of {height} x {width} pixels are not square")
    return cast(int, height)


def _section(checkpoint: Checkpoint, parent: Settings, name: str, known: Settings) -> dict[str, Any]:
    """One object of the file with its defaults, and nothing in it that would change the model."""
    given = parent.get(name)
    if not isinstance(given, dict):
        raise _cannot(checkpoint, name, given, "an object of settings")
    for setting, value in given.items():
        neutral = NEUTRAL[name].get(setting, known)  # `known` stands for no value at all
        if setting not in known and neutral is not ANYTHING and value != neutral:
            wanted = "it left out" if neutral is known else repr(neutral)
            raise _cannot(checkpoint, f"{name}.{setting}", value, wanted)
    return {**known, **{setting: value for setting, value in given.items() if value is not None}}


def _processor(checkpoint: Checkpoint, side: int) -> CLIPImageProcessor:
    pixels = _section(checkpoint, {"preprocess_cfg": {}, **checkpoint.config}, "preprocess_cfg", PIXELS)
    accepted = {
        "mode": ("RGB",),
        "size": (None, side, [side, side]),
        "interpolation": ("bicubic", "bilinear"),
        "resize_mode": ("shortest", "squash"),
    }
    for setting, values in accepted.items():
        if pixels[setting] not in values:
            raise _cannot(checkpoint, f"preprocess_cfg.{setting}", pixels[setting], f"one of {values}")
    square = {"height": side, "width": side}
    shortest = pixels["resize_mode"] == "shortest"
    return CLIPImageProcessor(
        size={"shortest_edge": side} if shortest else square,
        do_center_crop=shortest,
        crop_size=square,
        resample={"bilinear": 2, "bicubic": 3}[pixels["interpolation"]],
        image_mean=pixels["mean"],
        image_std=pixels["std"],
    )


def _tokenizer(checkpoint: Checkpoint) -> CLIPTokenizerFast:
    present = {name for name in ("tokenizer.json", "vocab.json", "merges.txt") if (checkpoint.folder / name).is_file()}
    if "tokenizer.json" not in present and len(present) < 2:
        raise ModelError(
            f"{checkpoint.name}: no tokenizer in {checkpoint.folder}, and open_clip's own comes with its package. Put "
            "tokenizer.json, or vocab.json and merges.txt, there, for instance from openai/clip-vit-base-patch32"
        )
    return cast(CLIPTokenizerFast, load_part(checkpoint, CLIPTokenizerFast, "the tokenizer's files"))


def _cannot(checkpoint: Checkpoint, setting: str, value: Any, wanted: str) -> ModelError:
    return ModelError(
        f"{checkpoint.name}: {OPEN_CLIP_CONFIG} has {setting} = {value!r}, and semscale needs {wanted}; of open_clip's "
        "models only the plain CLIP can be exported faithfully"
    )
