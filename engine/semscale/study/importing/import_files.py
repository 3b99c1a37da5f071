"""An imported study as files: the list that `score` reads, and a row for everything that was odd."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semscale.errors import UsageError
from semscale.files import replacing
from semscale.study.importing.importers import Study

SUFFIX = ".jsonl"


def place_of(out: Path | None, folder: Path) -> Path:
    """Where the list goes: `out`, or `<name of the folder>-metadata.jsonl` here.

    Raises UsageError where that is inside `folder`, which stays as it is, or is no .jsonl.
    """
    chosen = out or Path(f"{folder.resolve().name or 'study'}-metadata{SUFFIX}")
    if chosen.suffix.lower() != SUFFIX:
        raise UsageError(f"{chosen}: the list is JSON Lines; give a name that ends in {SUFFIX}")
    if chosen.is_dir():
        raise UsageError(f"{chosen}: is a folder; give the name of a file")
    if folder.resolve() in chosen.resolve().parents:
        raise UsageError(f"{chosen}: lies inside {folder}, which is left as it is; choose a place outside with -o")
    return chosen


def oddities_beside(out: Path) -> Path:
    """The file of oddities beside a list."""
    return out.with_name(f"{out.stem}.oddities{SUFFIX}")


def write_study(out: Path, study: Study) -> None:
    """Write both files, in the place of earlier ones. Raises StoreError where they cannot be written."""
    _write(oddities_beside(out), (dataclasses.asdict(oddity) for oddity in study.oddities))
    rows = map(dataclasses.asdict, study.images)
    _write(out, ({"file_name": row.pop("file"), **row} for row in rows))


def as_json(study: Study, out: Path) -> dict[str, Any]:
    """What was found, for the line of JSON."""
    models = Counter(image.model for image in study.images)
    return {
        "out": str(out),
        "oddities_file": str(oddities_beside(out)),
        "n_images": len(study.images),
        "models": {
            model: {"n_images": count, "n_prompts": len({i.prompt for i in study.images if i.model == model})}
            for model, count in sorted(models.items())
        },
        "seeds": study.seeds,
        "n_oddities": dict(Counter(oddity.kind for oddity in study.oddities)),
        "oddities": [dataclasses.asdict(oddity) for oddity in study.oddities],
    }


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
