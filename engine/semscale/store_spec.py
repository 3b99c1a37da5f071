"""What a store was begun with: `store.json`, and the refusal of anything else."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.errors import ModelError, StoreError, StoreMismatchError
from semscale.model import ModelSpec

FORMAT = 1
MOST_DIFFERENCES = 4  # that a refusal names


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """Everything that must stay the same for new shards to belong to the old ones."""

    source: str
    layout: str
    group_by: str  # "text" (where there is one, else the parent folder), "parent", or a metadata column
    decode: str  # one of model.DECODES
    dtype: str  # of the vectors: "float32" or "float16"
    text_prefix: str  # put before every text; part of the CLIP score's preset
    backend: str  # what ran the encoder
    image: ModelSpec
    text: ModelSpec | None


def read_spec(path: Path) -> StoreSpec:
    """Read a `store.json`. Raises StoreError where there is none, or none that this version understands."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise StoreError(f"{path}: written by another version of semscale; embed again into a new folder")
        for tower in ("image", "text"):
            if values[tower] is not None:
                values[tower] = ModelSpec.from_json(json.dumps(values[tower]), where=str(path))
        return StoreSpec(**values)
    except FileNotFoundError as error:
        raise StoreError(f"{path.parent}: not a store (no store.json)") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ModelError) as error:
        raise StoreError(f"{path}: not a store specification ({error!r}); embed again into a new folder") from error


def spec_to_json(spec: StoreSpec) -> str:
    """The text of a `store.json`."""
    values: dict[str, Any] = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    values["image"] = json.loads(spec.image.to_json())
    values["text"] = None if spec.text is None else json.loads(spec.text.to_json())
    return json.dumps({"format": FORMAT, **values}, indent=2) + "\n"


def refuse_difference(begun: StoreSpec, wanted: StoreSpec, path: Path) -> None:
    """Raise StoreMismatchError, naming what differs, where a store at `path` was begun otherwise than is wanted."""
    if begun != wanted:
        told = told_differences(begun, wanted)
        raise StoreMismatchError(f"{path}: begun with {told}; choose another output folder, or the same settings")


def n_differences(old: Any, new: Any) -> int:
    """In how many fields two specifications differ."""
    return len(list(_differences(old, new, "")))


def told_differences(old: Any, new: Any) -> str:
    """The fields in which two specifications differ, in words, MOST_DIFFERENCES of them at most."""
    found = list(_differences(old, new, ""))
    told = "; ".join(f"{name} {had!r}, asked for {has!r}" for name, had, has in found[:MOST_DIFFERENCES])
    return told + (f"; and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else "")


def _differences(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, old and new value of every field that differs."""
    if dataclasses.is_dataclass(old) and type(old) is type(new):
        for field in (field.name for field in dataclasses.fields(old)):
            yield from _differences(getattr(old, field), getattr(new, field), f"{name}.{field}".strip("."))
    elif old != new:
        yield name, _shown(old), _shown(new)


def _shown(value: Any) -> Any:
    """A value as a message shows it: a model by its name, a digest by its beginning."""
    if isinstance(value, ModelSpec):
        return value.name
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else value
