"""The models that `semscale bench encoders` runs: random weights at a true shape, or a checkpoint, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from semscale.encoders import find_exported, load_spec
from semscale.errors import UsageError
from semscale_bench.flops import tower_flops
from semscale_bench.random_clip import SHAPES, write_clip

RANDOM = "random weights: only times and differences mean something"
TOWERS = ("image", "text")
SEED = 3  # at the tiny shape int8 is a third of the gate's limit away from float32; with some seeds it is beyond
COUNTED = "clip"  # model type
CHECKPOINT = "checkpoint"  # in an exported folder, where the torch back end looks for the weights


@dataclass(frozen=True, slots=True)
class Subject:
    """One exported tower to be measured."""

    model: str  # as it was asked for
    tower: str  # "image" or "text"
    folder: Path
    weights: str  # "random" or "given"
    flops: int  # of one image or text, by `flops.tower_flops`


@contextmanager
def exported(model: str) -> Iterator[Path]:
    """An exported folder for a name in SHAPES, a checkpoint folder, or a folder that was exported.

    Random weights are written and exported into a temporary folder; the export of a checkpoint stays in the user's
    cache. Raises UsageError for anything else, otherwise what `semscale_export.export` does.
    """
    if model in SHAPES:
        with TemporaryDirectory() as work:
            yield write_random(model, Path(work))
    elif Path(model).is_dir():
        from semscale_export.cache import ensure_exported

        yield ensure_exported(model)
    else:
        raise UsageError(f"--model {model!r} is no folder and no shape; choose from {', '.join(SHAPES)}, or a folder")


def write_random(shape: str, folder: Path) -> Path:
    """Write a random CLIP of a named shape into `folder`/random and export it to `folder`/model, which is returned."""
    checkpoint = write_checkpoint(shape, folder)
    from semscale_export import export

    out = folder / "model"
    export(str(checkpoint), out)
    link_checkpoint(out, checkpoint)
    return out


def write_checkpoint(shape: str, folder: Path) -> Path:
    """Write a random CLIP of a named shape, which says that it is random, into `folder`/random."""
    checkpoint = write_clip(folder / "random", SHAPES[shape], seed=SEED)
    config = checkpoint / "config.json"
    values = json.loads(config.read_text(encoding="utf-8")) | {"semscale_note": RANDOM}
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return checkpoint


def link_checkpoint(exported: Path, checkpoint: Path) -> None:
    """Let an exported folder know its checkpoint."""
    (exported / CHECKPOINT).symlink_to(checkpoint.resolve())


def subject(model: str, exported: Path, tower: str) -> Subject:
    """One tower of an exported folder, with what one input costs.

    Raises ModelError when the folder has no such tower or its checkpoint is not found, UsageError for another family
    than CLIP, whose operations nobody counts.
    """
    from transformers import CLIPConfig

    from semscale_export.reference import checkpoint_of

    assert find_exported(exported) is not None
    folder = exported / tower
    spec = load_spec(folder)
    checkpoint = checkpoint_of(folder, spec)
    if checkpoint.model_type != COUNTED:
        raise UsageError(
            f"{model}: of model type {checkpoint.model_type!r}, and FLOPs are counted for {COUNTED!r} only"
        )
    config = CLIPConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    return Subject(model, tower, folder, "random" if spec.note == RANDOM else "given", tower_flops(config, tower))
