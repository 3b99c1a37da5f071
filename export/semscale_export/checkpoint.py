"""Finding a checkpoint, in a folder or on the hub, and the identity of its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import semscale.encoders
from semscale.encoders import find_exported
from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.files import sha256
from semscale.hub import hub_answers
from semscale_export.packaged import PACKAGED, find_packaged

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
OTHER_FILES = (
    CONFIG,
    OPEN_CLIP_CONFIG,
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)

DEMO = "demo"  # the encoder that comes with semscale
OPEN_CLIP = "open_clip"  # the model type of a checkpoint that only has open_clip's own files


@dataclass(frozen=True)  # without slots, which keep nothing that was computed once
class Checkpoint:
    """A model's files as Hugging Face lays them out, on this disk."""

    name: str  # hub id, or name of the folder
    folder: Path
    config: Mapping[str, Any]  # config.json, or what stands for it
    given: Path | None = None  # a file of weights that was named, instead of the folder's own

    @property
    def model_type(self) -> str:
        """What the configuration calls the family, "" where it does not say."""
        return str(self.config.get("model_type", ""))

    def files(self) -> list[Path]:
        """Return every file that an export depends on, weights first. Raises ModelError when there are no weights."""
        others = (self.folder / name for name in OTHER_FILES)
        return [*self.weights(), *(path for path in others if path.is_file())]

    @cached_property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights, lower-case hexadecimal; it depends on their bytes alone, and is found once.

        For one file it is that file's own, as the hub shows it; for several, that of their digests in order of name.
        Raises ModelError as `weights`.
        """
        digests = [sha256(path) for path in self.weights()]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def weights(self) -> list[Path]:
        """Return the files of weights, in order of name. Raises ModelError when there are none, or one is missing."""
        if self.given is not None:
            return [self.given]
        if self.model_type == OPEN_CLIP and (self.folder / OPEN_CLIP_WEIGHTS).is_file():
            return [self.folder / OPEN_CLIP_WEIGHTS]
        if (self.folder / WEIGHTS).is_file():
            return [self.folder / WEIGHTS]
        if (self.folder / INDEX).is_file():
            names = set(_read_json(self.folder / INDEX).get("weight_map", {}).values())
            missing = sorted(n for n in names if Path(n).name != n or not (self.folder / n).is_file())
            if names and not missing:
                return [self.folder / name for name in sorted(names)]
            raise ModelError(f"{self.folder}: {INDEX} names {missing or 'no files'}; fetch the checkpoint again")
        raise ModelError(
            f"{self.name}: no {WEIGHTS} in {self.folder}. A pytorch_model.bin or another pickle is read only when "
            "you name it, and then as plain tensors: semscale export MODEL -o DIR --weights FILE. Or, on the hub, "
            "name a revision that has safetensors: owner/name@refs/pr/1"
        )


def find_checkpoint(model: str, *, revision: str | None = None, weights: Path | None = None) -> Checkpoint:
    """Return the checkpoint that `model` names.

    That is "demo" or a name of packaged.PACKAGED, a folder if there is one of that name, else a hub id. `revision` is
    a branch, tag or commit on the hub; it may also be part of the name, as in owner/name@revision. `weights` is a file
    that is read instead of the checkpoint's own. What was downloaded before is found without network. Raises
    ModelError when there is no such checkpoint, UsageError for options that do not go with it.
    """
    if weights is not None and not weights.is_file():
        raise ModelError(f"{weights}: no such file; give --weights a file of weights")
    if revision and (model == DEMO or model in PACKAGED or Path(model).is_dir()):
        raise UsageError(f"{model} is not on the hub, and has no revision {revision!r}; leave --revision out")
    if model == DEMO:
        if weights is not None:
            raise UsageError("the demo encoder has its own weights; leave --weights out")
        return _demo()
    if model in PACKAGED:
        given = weights or find_packaged(model)
        return Checkpoint(model, given.parent, PACKAGED[model].config, given)
    local = Path(model)
    if find_exported(local):
        raise UsageError(f"{model}: already an exported model; give it to --model as it is, or to export --check")
    if local.is_dir():
        return _checkpoint(local.resolve().name, local, weights)
    hub_id, _, pinned = model.partition("@")
    return _checkpoint(model, _from_hub(hub_id, revision or pinned or None), weights)


def _demo() -> Checkpoint:
    folder = Path(semscale.encoders.__file__).parents[1] / "demo" / "checkpoint"
    if not folder.is_dir():
        raise ModelError(f"this installation of semscale has no demo encoder ({folder} is missing); install it again")
    return _checkpoint(DEMO, folder)


def _checkpoint(name: str, folder: Path, weights: Path | None = None) -> Checkpoint:
    if _is_open_clip(folder):
        return Checkpoint(name, folder, {"model_type": OPEN_CLIP, **_read_json(folder / OPEN_CLIP_CONFIG)}, weights)
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: no {CONFIG}, so neither a Hugging Face checkpoint nor an exported model")
    return Checkpoint(name, folder, _read_json(folder / CONFIG), weights)


def _is_open_clip(folder: Path) -> bool:
    """Whether a folder has open_clip's files, and no configuration of transformers (timm's says no model type)."""
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        return False
    return not (folder / CONFIG).is_file() or "model_type" not in _read_json(folder / CONFIG)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); fetch the checkpoint again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: not a JSON object; fetch the checkpoint again")
    return values


def _from_hub(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import errors, snapshot_download
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"the hub model {model!r}", "huggingface_hub", "export") from error
    try:
        options: dict[str, Any] = {"revision": revision, "local_files_only": not hub_answers(model, revision)}
        folder = Path(snapshot_download(model, allow_patterns=list(OTHER_FILES), **options))
        # Only those that will be read: some keep the same weights for several libraries.
        own = [OPEN_CLIP_WEIGHTS] if _is_open_clip(folder) else [WEIGHTS, INDEX, "model-*-of-*.safetensors"]
        return Path(snapshot_download(model, allow_patterns=[*OTHER_FILES, *own], **options))
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{model}: the Hugging Face hub could not be reached and nothing is cached. Go online, give the path of a "
            "checkpoint folder (there is none of this name here), or try `--model demo`, which needs no network"
        ) from error
    except errors.HFValidationError as error:
        raise ModelError(f"{model}: neither an existing folder nor a hub id such as owner/name") from error
    except errors.GatedRepoError as error:
        raise ModelError(f"{model}: gated; ask for access on its hub page, then run `hf auth login`") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        where = f" at revision {revision!r}" if revision else ""
        raise ModelError(
            f"{model}{where}: the hub has no such model; check its spelling, and for a private model run "
            "`hf auth login`"
        ) from error
