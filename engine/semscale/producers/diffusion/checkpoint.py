"""What a checkpoint is, read from its JSON files before any of its weights."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.hub import hub_answers

INDEX, CONFIG, WEIGHTS = "model_index.json", "config.json", ".safetensors"
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")  # the third is where diffusers keeps the safety checker
_COMMIT = re.compile("[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_READ = (".json", ".safetensors", ".txt", ".model")  # weights, configurations, vocabularies


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that exists and whose kind is known; nothing heavy of it is read."""

    where: str  # the folder, or the hub id: what diffusers is given
    name: str  # the folder's name, or the last part of the id: a label
    pipeline: str  # the class that its index names
    parts: Mapping[str, str]  # name -> class of each of its parts, "scheduler", "vae" and so on
    commit: str | None = None  # on the hub

    @property
    def shown(self) -> str:
        """How records name it: the hub id, or the folder's name, never where it lies on this machine."""
        return self.where if self.commit else self.name

    @property
    def scheduler(self) -> str:
        """The class of its scheduler; empty where it has none of that name."""
        return self.parts.get("scheduler", "")

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part, fetched alone where the checkpoint is on the hub. Raises ModelError."""
        name = f"{part}/{CONFIG}"
        if self.commit is None and not (Path(self.where) / name).is_file():
            raise ModelError(f"{self.where}: has no {name}; fetch the checkpoint again")
        file = Path(self.where) / name if self.commit is None else from_hub(self.where, name, self.commit)
        return _read(file, self.where, name)

    def has_variant(self, variant: str) -> bool:
        """Whether there are weights of a variant in a folder; of the hub diffusers asks before it fetches any."""
        stems = (file.name.removesuffix(WEIGHTS) for file in Path(self.where).glob(f"*/*{WEIGHTS}"))
        return self.commit is not None or any(re.search(rf"\.{re.escape(variant)}(-\d|$)", stem) for stem in stems)

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
        if revision is not None and _COMMIT.fullmatch(revision):  # its files never change: no need to ask
            with suppress(errors.LocalEntryNotFoundError):
                return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        cached = not hub_answers(repository, revision)
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


def _read(file: Path, model: str, name: str) -> dict[str, Any]:
    """An object in a JSON file, which errors call `name`. Raises ModelError."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: its {name} is damaged ({error!r}); fetch the checkpoint again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{model}: its {name} is damaged (no object); fetch the checkpoint again")
    return values


def _classes(index: Path, model: str) -> tuple[str, dict[str, str]]:
    """The classes of the pipeline and of the parts of an index, all of which are known libraries'."""
    values = _read(index, model, INDEX)
    pipeline = values.get("_class_name")
    parts = {name: part for name, part in values.items() if isinstance(part, list) and len(part) == 2}
    foreign = {name: library for name, (library, _) in parts.items() if library not in (*LIBRARIES, None)}
    if foreign or not isinstance(pipeline, str):
        what = ", ".join(f"{name} from {library!r}" for name, library in foreign.items()) or f"its class {pipeline}"
        raise ModelError(f"{model}: brings code of its own ({what}), which is not run; choose another checkpoint")
    return pipeline, {name: cls for name, (library, cls) in parts.items() if library is not None}
