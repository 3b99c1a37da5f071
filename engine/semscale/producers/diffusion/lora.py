"""LoRA weights on a pipeline."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.producers.diffusion.checkpoint import from_hub

WEIGHTS = "pytorch_lora_weights.safetensors"  # as diffusers saves them
SUFFIX = ".safetensors"
_ADAPTER = "lora"


def find(lora: str) -> Path:
    """The file of a LoRA: a local one, or the hub's `owner/name` (WEIGHTS in it) or `owner/name/file.safetensors`.

    Raises UsageError for another format, ModelError where there is none.
    """
    local = Path(lora)
    if local.is_dir():
        local = local / WEIGHTS
    if local.is_file():
        if local.suffix != SUFFIX:
            raise UsageError(f"LoRA {lora}: not a {SUFFIX} file, and others can run code when read; convert it")
        return local
    owner, _, rest = lora.partition("/")
    name, _, file = rest.partition("/")
    on_hub = bool(owner and name and owner not in (".", "..", "~")) and (not file or file.endswith(SUFFIX))
    if not on_hub or (not file and name.endswith(SUFFIX)):
        raise ModelError(f"LoRA {lora}: neither an existing file nor a hub id such as owner/name; check its spelling")
    return from_hub(f"{owner}/{name}", file or WEIGHTS)


def apply(pipeline: Any, lora: str, scale: float) -> dict[str, str]:
    """Load a LoRA into `pipeline` at `scale`, and return the facts of it.

    Raises ModelError where it does not fit the model, UsageError where the model takes none, MissingDependencyError
    without peft.
    """
    if not hasattr(pipeline, "load_lora_weights"):
        raise UsageError(f"LoRA {lora}: a {type(pipeline).__name__} takes none; leave it out")
    if find_spec("peft") is None:
        raise MissingDependencyError("a LoRA", "peft", "generate")
    from safetensors import SafetensorError

    file = find(lora)
    try:
        pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=_ADAPTER, use_safetensors=True)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        raise ModelError(
            f"LoRA {lora}: cannot be loaded into this model ({_brief(error)}); is it made for it?"
        ) from error
    # diffusers only warns of a file none of whose weights belong to the model.
    if _ADAPTER not in {name for names in pipeline.get_list_adapters().values() for name in names}:
        raise ModelError(f"LoRA {lora}: none of its weights belong to this model; is it made for it?")
    pipeline.set_adapters([_ADAPTER], [scale])
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    shown = file.name if Path(lora).exists() else lora
    return {"lora": shown, "lora_sha256": digest, "lora_scale": f"{scale:g}"}


def _brief(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= 200 else f"{said[:200]}..."
