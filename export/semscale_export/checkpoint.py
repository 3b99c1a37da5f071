"""Finding a checkpoint, in a folder or on the hub, and the identity of its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import semscale.encoders
from semscale.errors import MissingDependencyError, ModelError

PROBE_SECONDS = 10.0  # how long the hub may take to answer at all
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OTHER_FILES = (
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


DEMO = "demo"  # the encoder that comes with semscale


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files as Hugging Face lays them out, on this disk."""

    name: str  # hub id, or name of the folder
    folder: Path
    config: Mapping[str, Any]  # config.json

    @property
    def model_type(self) -> str:
        """What config.json calls the family, "" where it does not say."""
        return str(self.config.get("model_type", ""))

    def files(self) -> list[Path]:
        """Return every file that an export depends on, weights first. Raises ModelError when there are no weights."""
        others = (self.folder / name for name in OTHER_FILES)
        return [*self._weights(), *(path for path in others if path.is_file())]

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the weights, lower-case hexadecimal; it depends on their bytes alone.

        For one file it is that file's own, as the hub shows it; for several, that of their digests in order of name.
        """
        digests = [file_sha256(path) for path in self._weights()]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def _weights(self) -> list[Path]:
        if (self.folder / WEIGHTS).is_file():
            return [self.folder / WEIGHTS]
        if (self.folder / INDEX).is_file():
            names = set(_read_json(self.folder / INDEX).get("weight_map", {}).values())
            missing = sorted(name for name in names if not (self.folder / name).is_file())
            if names and not missing:
                return [self.folder / name for name in sorted(names)]
            raise ModelError(f"{self.folder}: {INDEX} names {missing or 'no files'}; fetch the checkpoint again")
        raise ModelError(
            f"{self.name}: no {WEIGHTS} in {self.folder}. A pytorch_model.bin is not read, because loading one can run "
            "code. Convert it to safetensors (load it where you trust it and call save_pretrained), or, on the hub, "
            "name a revision that has them: owner/name@refs/pr/1"
        )


def find_checkpoint(model: str, *, revision: str | None = None) -> Checkpoint:
    """Return the checkpoint that `model` names: "demo", a folder if there is one of that name, else a hub id.

    `revision` is a branch, tag or commit on the hub; it may also be part of the name, as in owner/name@revision.
    What was downloaded before is found without network. Raises ModelError when there is no such checkpoint.
    """
    if model == DEMO:
        return _demo()
    local = Path(model)
    if local.is_dir():
        return _checkpoint(local.resolve().name, local)
    hub_id, _, pinned = model.partition("@")
    return _checkpoint(model, _from_hub(hub_id, revision or pinned or None))


def _demo() -> Checkpoint:
    folder = Path(semscale.encoders.__file__).parents[1] / "demo" / "checkpoint"
    if not folder.is_dir():
        raise ModelError(f"this installation of semscale has no demo encoder ({folder} is missing); install it again")
    return _checkpoint(DEMO, folder)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checkpoint(name: str, folder: Path) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json, so neither a Hugging Face checkpoint nor an exported model")
    return Checkpoint(name, folder, _read_json(folder / "config.json"))


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
        answers = _hub_answers(model, revision)
        patterns = [*OTHER_FILES, WEIGHTS, INDEX, "model-*-of-*.safetensors"]
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns, local_files_only=not answers))
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


def _hub_answers(model: str, revision: str | None) -> bool:
    # Downloads fall back on the cache by themselves, but only after minutes on a network that swallows packets.
    from huggingface_hub import errors, model_info

    try:
        model_info(model, revision=revision, timeout=PROBE_SECONDS)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):  # a private or gated model is the first
        raise
    except OSError:  # what the HTTP client and the hub's offline mode raise
        return False
    return True
