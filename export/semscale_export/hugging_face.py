"""A checkpoint's parts through transformers, with every failure as a ModelError that names the checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semscale.errors import ModelError
from semscale_export.checkpoint import Checkpoint
from semscale_export.quiet import no_progress_bars
from semscale_export.weights import check_numbers, load_weights

POSITION_IDS = "position_ids"  # whole numbers in order, that older checkpoints keep


def load_model(checkpoint: Checkpoint, kind: Any, config: Any = None, weights: dict[str, Any] | None = None) -> Any:
    """Return the checkpoint as a model of the transformers class `kind`, in float32 and in evaluation mode.

    `config` and `weights` replace those of its files. Raises ModelError when they cannot be loaded, do not make a
    whole model (transformers would fill what is missing with random numbers, and only warn), or hold tensors that
    belong into the model's parts and have no place there: then the configuration is another model's.
    """
    try:
        chosen = config or kind.config_class.from_pretrained(checkpoint.folder, local_files_only=True)
        tensors = load_weights(checkpoint) if weights is None else weights
        with no_progress_bars():
            model, report = kind.from_pretrained(None, config=chosen, state_dict=tensors, output_loading_info=True)
    except ModelError:
        raise
    except Exception as error:  # of damaged files transformers raises anything
        raise ModelError(f"{checkpoint.name}: the weights in {checkpoint.folder} cannot be loaded ({error})") from error
    if report["missing_keys"]:
        raise ModelError(
            f"{checkpoint.name}: the weights lack {len(report['missing_keys'])} tensors of a {kind.__name__}, among "
            f"them {min(report['missing_keys'])}; fetch or save the checkpoint again"
        )
    if surplus := _surplus(model, report["unexpected_keys"]):
        raise ModelError(
            f"{checkpoint.name}: the weights hold {len(surplus)} tensors for which this {kind.__name__} has no place, "
            f"among them {surplus[0]}; correct config.json"
        )
    check_numbers(checkpoint, model.named_parameters())
    return model.float().eval()


def _surplus(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Unexpected tensors of the model's own parts. Others, such as the head of another task, do no harm."""
    parts = tuple(f"{name}." for name, _ in model.named_children())
    names = {name: name.removeprefix(f"{model.base_model_prefix}.") for name in unexpected}
    return sorted(n for n, short in names.items() if short.startswith(parts) and not n.endswith(POSITION_IDS))


def load_part(checkpoint: Checkpoint, kind: Any, what: str, **options: Any) -> Any:
    """Return a processor or tokenizer of the transformers class `kind` from the checkpoint's files, `what` in words.

    Local files only: the checkpoint is here. Raises ModelError when they cannot be loaded.
    """
    try:
        return kind.from_pretrained(checkpoint.folder, local_files_only=True, **options)
    except Exception as error:  # of damaged files transformers raises anything
        raise ModelError(f"{checkpoint.name}: {what} in {checkpoint.folder} cannot be loaded ({error})") from error
