"""A checkpoint's parts through transformers, with every failure as a ModelError that names the checkpoint."""

from __future__ import annotations

from typing import Any

from semscale.errors import ModelError
from semscale_export.checkpoint import Checkpoint
from semscale_export.quiet import no_progress_bars
from semscale_export.weights import load_weights

UNREADABLE = (OSError, ValueError, TypeError, KeyError, RuntimeError)  # what transformers raises for a damaged file


def load_model(checkpoint: Checkpoint, kind: Any, config: Any = None, weights: dict[str, Any] | None = None) -> Any:
    """Return the checkpoint as a model of the transformers class `kind`, in float32 and in evaluation mode.

    `config` and `weights` replace those of its files. Raises ModelError when they cannot be loaded or do not make a
    whole model: transformers would fill what is missing with random numbers, and only warn.
    """
    try:
        chosen = config or kind.config_class.from_pretrained(checkpoint.folder, local_files_only=True)
        tensors = load_weights(checkpoint) if weights is None else weights
        with no_progress_bars():
            model, report = kind.from_pretrained(None, config=chosen, state_dict=tensors, output_loading_info=True)
    except UNREADABLE as error:
        raise ModelError(f"{checkpoint.name}: the weights in {checkpoint.folder} cannot be loaded ({error})") from error
    if report["missing_keys"]:
        raise ModelError(
            f"{checkpoint.name}: the weights lack {len(report['missing_keys'])} tensors of a {kind.__name__}, among "
            f"them {min(report['missing_keys'])}; fetch or save the checkpoint again"
        )
    return model.float().eval()


def load_part(checkpoint: Checkpoint, kind: Any, what: str, **options: Any) -> Any:
    """Return a processor or tokenizer of the transformers class `kind` from the checkpoint's files, `what` in words.

    Local files only: the checkpoint is here. Raises ModelError when they cannot be loaded.
    """
    try:
        return kind.from_pretrained(checkpoint.folder, local_files_only=True, **options)
    except UNREADABLE as error:
        raise ModelError(f"{checkpoint.name}: {what} in {checkpoint.folder} cannot be loaded ({error})") from error
