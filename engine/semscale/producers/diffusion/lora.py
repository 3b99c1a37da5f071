"""LoRA weights on a pipeline."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.producers.diffusion.checkpoint import from_hub

WEIGHTS = "pytorch_lora_weights.safetensors"  # as diffusers saves them
SUFFIX = ".safetensors"
_ADAPTER = "lora"
_OF_TEXTS = ("text_encoder", "lora_te")  # begin the names of weights, as diffusers and as kohya write them


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


def check(pipeline: Any, lora: str) -> None:
    """Raise UsageError where `pipeline` takes no LoRA, MissingDependencyError without peft."""
    if not hasattr(pipeline, "load_lora_weights"):
        raise UsageError(f"LoRA {lora}: a {type(pipeline).__name__} takes none; leave it out")
    if find_spec("peft") is None:
        raise MissingDependencyError("a LoRA", "peft", "generate")


def check_fit(pipeline: Any, lora: str) -> None:
    """Raise ModelError where a LoRA does not fit the network of `pipeline`, whose weights need not be there.

    What it brings for text encoders is not looked at: they are loaded first.
    """
    from safetensors import SafetensorError, safe_open

    file = find(lora)
    try:
        with safe_open(file, "pt") as opened:  # reads names and shapes alone
            of_texts = [name for name in opened.keys() if name.startswith(_OF_TEXTS)]  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"LoRA {lora}: damaged ({_brief(error)}); fetch it again") from error
    with suppress(NotImplementedError):  # what needs the values of weights shows when they are there
        if not _load(pipeline, file, lora) and not of_texts:
            raise ModelError(f"LoRA {lora}: none of its weights belong to this model; is it made for it?")


def apply(pipeline: Any, lora: str, scale: float) -> dict[str, str]:
    """Load a LoRA into a `pipeline` that takes one, at `scale`, and return the facts of it.

    Raises ModelError where it does not fit the model.
    """
    file = find(lora)
    if not _load(pipeline, file, lora):
        raise ModelError(f"LoRA {lora}: none of its weights belong to this model; is it made for it?")
    pipeline.set_adapters([_ADAPTER], [scale])
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    shown = file.name if Path(lora).exists() else lora
    return {"lora": shown, "lora_sha256": digest, "lora_scale": f"{scale:g}"}


def _load(pipeline: Any, file: Path, lora: str) -> bool:
    """Load a file into a pipeline; whether any of its weights belong there, of which diffusers only warns."""
    from safetensors import SafetensorError

    try:
        pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=_ADAPTER, use_safetensors=True)
    except NotImplementedError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        raise ModelError(
            f"LoRA {lora}: cannot be loaded into this model ({_brief(error)}); is it made for it?"
        ) from error
    return _ADAPTER in {name for names in pipeline.get_list_adapters().values() for name in names}


def _brief(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= 200 else f"{said[:200]}..."
