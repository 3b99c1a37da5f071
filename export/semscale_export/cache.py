"""What `--model` accepts, as an exported folder; exports are kept, by content, in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from semscale.encoders import find_exported
from semscale.errors import UsageError
from semscale.files import cache_folder, sha256
from semscale_export import export_checkpoint
from semscale_export.checkpoint import DEMO, Checkpoint, find_checkpoint
from semscale_export.packaged import PACKAGED

RECIPE = 4  # raise it when the same checkpoint would export to another graph or specification


def ensure_exported(model: str) -> Path:
    """Return an exported folder for `model`, exporting it first when the cache does not hold it yet.

    `model` is an exported folder (returned as it is, nothing heavy imported), a checkpoint folder, a hub id, "demo",
    the encoder that comes with semscale, or a name of packaged.PACKAGED. A folder that is really called so is given as
    ./demo. Raises what `semscale_export.export` does.
    """
    exported = None if model == DEMO or model in PACKAGED else find_exported(Path(model))
    if exported is not None:
        return exported
    checkpoint = find_checkpoint(model)
    kept = cache_folder() / "models" / cache_key(checkpoint)
    if find_exported(kept) is None:
        _export(checkpoint, kept)
    if checkpoint.given is None:
        _link(kept / "checkpoint", checkpoint.folder.resolve())
    return kept


def _link(link: Path, target: Path) -> None:
    """Let a link, where the torch back end looks for the weights, lead to a folder; two processes may do so at once."""
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(target)
    temporary.replace(link)


def cache_key(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 over everything an export depends on: the checkpoint's files and our recipe."""
    config = json.dumps(dict(checkpoint.config), sort_keys=True)
    lines = [f"recipe {RECIPE}", config, *(f"{path.name} {sha256(path)}" for path in checkpoint.files())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _export(checkpoint: Checkpoint, kept: Path) -> None:
    try:
        export_checkpoint(checkpoint, kept)
    except UsageError:
        if find_exported(kept) is None:  # else another process made the same export meanwhile
            raise
