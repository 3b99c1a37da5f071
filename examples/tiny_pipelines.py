"""Tiny random pipelines of every kind that diffusers' producers know, built from configurations: nothing is fetched.

    folder = write_pipeline("sdxl", Path("tiny-sdxl"), seed=1)

saves one as `from_pretrained` reads it, weights in safetensors. An image takes about a tenth of a second on a CPU and
shows coloured noise: they prove that a program works, and say nothing about images.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_text import WIDTH, clip, clip_tokenizer, t5, t5_tokenizer

LABELS = {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus", 2: "great white shark, white shark", 3: "umbrella"}
LATENT_CHANNELS = {"sd3": 16, "flux": 16}  # the others have 4
_UNET: dict[str, Any] = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
}
_SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def write_pipeline(kind: str, folder: Path, seed: int = 0) -> Path:
    """Save a random pipeline of `kind`, one of KINDS, in `folder`, and return it. Weights follow from `seed`.

    It draws 64 x 64 pixels (DiT 32 x 32) with a VAE that shrinks eightfold, as that of the real ones.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers' of its own insides
        torch.manual_seed(seed)
        _BUILDERS[kind](folder).save_pretrained(folder, safe_serialization=True)
    return folder


def write_lora(pipeline: Path, file: Path, seed: int = 0) -> Path:
    """Save a random LoRA of the attention of a pipeline's UNet in `file`, as training scripts do, and return it."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_pretrained(pipeline / "unet")
        unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
        for name, weight in unet.named_parameters():
            if "lora_B" in name:  # zeros, which change nothing
                torch.nn.init.normal_(weight)
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
        StableDiffusionPipeline.save_lora_weights(file.parent, unet_lora_layers=layers, weight_name=file.name)
    return file


def _sd(folder: Path) -> Any:
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    scheduler = PNDMScheduler(**_SCALED, skip_prk_steps=True, steps_offset=1)
    return _stable_diffusion(StableDiffusionPipeline, _unet(), scheduler, folder)


def _sd2(folder: Path) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    scheduler = DDIMScheduler(**_SCALED, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)
    return _stable_diffusion(StableDiffusionPipeline, _unet(use_linear_projection=True), scheduler, folder)


def _img2img(folder: Path) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    return _stable_diffusion(StableDiffusionImg2ImgPipeline, _unet(), DDIMScheduler(**_SCALED), folder)


def _pix2pix(folder: Path) -> Any:
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline

    scheduler = EulerAncestralDiscreteScheduler(**_SCALED)
    return _stable_diffusion(StableDiffusionInstructPix2PixPipeline, _unet(in_channels=8), scheduler, folder)


def _stable_diffusion(cls: Any, unet: Any, scheduler: Any, folder: Path) -> Any:
    return cls(
        vae=_vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(folder: Path) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    return StableDiffusionXLPipeline(**_xl_parts(folder), unet=_xl_unet(), scheduler=EulerDiscreteScheduler(**_SCALED))


def _sdxl_pix2pix(folder: Path) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLInstructPix2PixPipeline

    return StableDiffusionXLInstructPix2PixPipeline(
        **_xl_parts(folder), unet=_xl_unet(in_channels=8), scheduler=EulerDiscreteScheduler(**_SCALED)
    )


def _xl_parts(folder: Path) -> dict[str, Any]:
    return {
        "vae": _vae(),
        "text_encoder": clip(),
        "text_encoder_2": clip(projected=True),
        "tokenizer": clip_tokenizer(folder / "tokenizer"),
        "tokenizer_2": clip_tokenizer(folder / "tokenizer_2"),
    }


def _sd3(folder: Path) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=8,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(LATENT_CHANNELS["sd3"]),
        text_encoder=clip(projected=True),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        text_encoder_2=clip(projected=True),
        tokenizer_2=clip_tokenizer(folder / "tokenizer_2"),
        text_encoder_3=t5(2 * WIDTH),
        tokenizer_3=t5_tokenizer(),
    )


def _pixart_alpha(folder: Path) -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline

    return _pixart(PixArtAlphaPipeline, DPMSolverMultistepScheduler())


def _pixart_sigma(folder: Path) -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline

    return _pixart(PixArtSigmaPipeline, DPMSolverMultistepScheduler())


def _pixart(cls: Any, scheduler: Any) -> Any:
    from diffusers import PixArtTransformer2DModel

    transformer = PixArtTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        norm_type="ada_norm_single",
    )
    return cls(tokenizer=t5_tokenizer(), text_encoder=t5(), vae=_vae(), transformer=transformer, scheduler=scheduler)


def _flux(folder: Path, *, guided: bool = True) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS["flux"],
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_vae(LATENT_CHANNELS["flux"]),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        text_encoder_2=t5(2 * WIDTH),
        tokenizer_2=t5_tokenizer(),
    )


def _flux_schnell(folder: Path) -> Any:
    return _flux(folder, guided=False)


def _dit(folder: Path) -> Any:
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    transformer = DiTTransformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        num_embeds_ada_norm=1000,  # the pipeline's "no class" is the next
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    pipeline = DiTPipeline(transformer=transformer, vae=_vae(), scheduler=DDIMScheduler(), id2label=LABELS)
    pipeline.register_to_config(id2label=LABELS)  # which saving alone leaves out of the index
    return pipeline


def _unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**{**_UNET, "in_channels": 4, "cross_attention_dim": WIDTH, **changes})


def _xl_unet(**changes: Any) -> Any:
    return _unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + WIDTH,
        transformer_layers_per_block=(1, 1),
        use_linear_projection=True,
        cross_attention_dim=2 * WIDTH,
        **changes,
    )


def _vae(channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    shift = {} if channels == 4 else {"shift_factor": 0.06, "use_quant_conv": False, "use_post_quant_conv": False}
    return AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=2,
        sample_size=64,
        **shift,
    )


_BUILDERS: dict[str, Callable[[Path], Any]] = {
    "sd": _sd,
    "sd2": _sd2,
    "sdxl": _sdxl,
    "sd3": _sd3,
    "pixart-alpha": _pixart_alpha,
    "pixart-sigma": _pixart_sigma,
    "flux": _flux,
    "flux-schnell": _flux_schnell,
    "pix2pix": _pix2pix,
    "sdxl-pix2pix": _sdxl_pix2pix,
    "img2img": _img2img,
    "dit": _dit,
}
KINDS = tuple(_BUILDERS)
