"""What a checkpoint is, read from its `model_index.json` before any of its weights."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.errors import MissingDependencyError, ModelError, UsageError

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")  # the third is where diffusers keeps the safety checker
PROBE_SECONDS = 10
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_READ = (".json", ".safetensors", ".txt", ".model")  # weights, configurations, vocabularies


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that exists and whose kind is known; nothing heavy of it is read."""

    where: str  # the folder, or the hub id: what diffusers is given
    name: str  # the folder's name, or the last part of the id: a label
    pipeline: str  # the class that its index names
    scheduler: str  # the class of its scheduler; empty where it has none of that name
    commit: str | None = None  # on the hub

    @property
    def shown(self) -> str:
        """How records name it: the hub id, or the folder's name, never where it lies on this machine."""
        return self.where if self.commit else self.name

    def revision(self) -> str:
        """The commit on the hub, or `sha256:` of all files of a folder that are read; reads all of them."""
        if self.commit:
            return self.commit
        total = hashlib.sha256()
        for file in [*sorted(Path(self.where).glob("*/*")), Path(self.where) / INDEX]:
            if file.suffix in _READ:
                with file.open("rb") as opened:
                    digest = hashlib.file_digest(opened, "sha256").hexdigest()
                total.update(f"{digest}  {file.relative_to(self.where).as_posix()}\n".encode())
        return f"sha256:{total.hexdigest()}"


def find(model: str, revision: str | None = None) -> Checkpoint:
    """Find `model`: a folder with a `model_index.json`, or a hub id whose index is then fetched.

    Raises ModelError where there is none or it would run code of its own, UsageError for the revision of a folder.
    """
    folder = Path(model)
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{model} is a folder and has no revision {revision!r}; leave --revision out")
        index = folder / INDEX
        if not index.is_file():
            raise ModelError(
                f"{model}: no {INDEX}, so not a pipeline as diffusers saves it; name the folder that has one"
            )
        return Checkpoint(model, folder.resolve().name, *_classes(index, model))
    if not _HUB_ID.fullmatch(model):
        raise ModelError(f"{model}: neither an existing folder nor a hub id such as owner/name; check its spelling")
    index = from_hub(model, INDEX, revision)
    # The hub's cache keeps files as .../snapshots/<commit>/<file>.
    return Checkpoint(model, model.split("/")[1], *_classes(index, model), commit=index.parent.name)


def from_hub(repository: str, file: str, revision: str | None = None) -> Path:
    """Fetch one file of a hub repository into the hub's cache, or find it there. Raises ModelError."""
    try:
        from huggingface_hub import errors, hf_hub_download
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"the hub model {repository!r}", "huggingface_hub", "generate") from error
    at = f" at revision {revision!r}" if revision else ""
    try:
        cached = not _hub_answers(repository, revision)
        return Path(hf_hub_download(repository, file, revision=revision, local_files_only=cached))
    except errors.GatedRepoError as error:
        raise ModelError(f"{repository}: gated; ask for access on its hub page, then run `hf auth login`") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{repository}: there is no folder of this name here, the Hugging Face hub could not be reached, and its "
            f"{file}{at} is not cached; check the spelling, or go online"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(f"{repository}{at}: has no {file}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelError(
            f"{repository}{at}: there is no folder of this name here, and the hub has no such model; check its "
            "spelling, and for a private one run `hf auth login`"
        ) from error


def _hub_answers(repository: str, revision: str | None) -> bool:
    # Downloads fall back on the cache by themselves, but only after half a minute of retries.
    from huggingface_hub import errors, model_info

    try:
        model_info(repository, revision=revision, timeout=PROBE_SECONDS)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):  # a private or gated model is the first
        raise
    except OSError:  # what the HTTP client and the hub's offline mode raise
        return False
    return True


def _classes(index: Path, model: str) -> tuple[str, str]:
    """The classes of the pipeline and the scheduler of an index, all of whose parts are known libraries'."""
    try:
        values: Any = json.loads(index.read_text(encoding="utf-8"))
        pipeline, scheduler = values["_class_name"], values.get("scheduler", (None, ""))[1]
        parts = {name: part[0] for name, part in values.items() if isinstance(part, list) and len(part) == 2}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{model}: its {INDEX} is damaged ({error!r}); fetch the checkpoint again") from error
    foreign = {name: library for name, library in parts.items() if library not in (*LIBRARIES, None)}
    if foreign or not isinstance(pipeline, str):
        what = ", ".join(f"{name} from {library!r}" for name, library in foreign.items()) or f"its class {pipeline}"
        raise ModelError(f"{model}: brings code of its own ({what}), which is not run; choose another checkpoint")
    return pipeline, scheduler
