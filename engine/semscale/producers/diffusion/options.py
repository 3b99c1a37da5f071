"""What a person chooses about a diffusion model beyond its name."""

from __future__ import annotations

from dataclasses import dataclass

from semscale.errors import UsageError
from semscale.producers.request import Setting

DTYPES = ("fp32", "fp16", "bf16")  # of the weights and of what is computed with them


@dataclass(frozen=True, slots=True)
class DiffusionOptions:
    """How a pipeline is loaded. None leaves the choice to the producer, which reports what it chose."""

    revision: str | None = None  # branch, tag or commit on the hub
    variant: str | None = None  # of the weight files, such as "fp16"
    dtype: str | None = None  # one of DTYPES; on a GPU fp16, or bf16 for Flux, else fp32
    device: str | None = None  # as PyTorch names it: "cpu", "cuda", "cuda:1", "mps"
    lora: str | None = None  # safetensors file, or hub id
    lora_scale: float | None = None  # 1.0 where a LoRA is given
    batch_size: int | None = None  # images a call; by the device where None
    settings: tuple[Setting, ...] = ()  # to be asked for; what the model cannot do is refused before its weights
    edits: bool = False  # whether they will be asked for edits

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UsageError(f"unknown dtype {self.dtype!r}; choose from {', '.join(DTYPES)}")
        if self.lora_scale is not None and self.lora is None:
            raise UsageError(f"a LoRA scale of {self.lora_scale:g}, but no LoRA; name one, or leave the scale out")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"a batch of {self.batch_size} images; it must be at least 1")
