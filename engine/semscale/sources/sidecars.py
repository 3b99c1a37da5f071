"""What the `.txt` and `.json` beside an image in a WebDataset say of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from semscale.errors import InputError
from semscale.sources.trees import Told

TEXT_NAMES = ("text", "prompt", "caption")  # of which the first that is not blank counts
MAX_SIDECAR_BYTES = 1 << 24  # more is no prompt


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One file beside an image."""

    name: str  # for messages
    data: bytes


def told_by(text: Sidecar | None, words: Sidecar | None, *, group_column: str | None) -> Told:
    """What a `.txt` and a `.json` say, either None where there is no such file.

    The text file counts before the JSON's `text`, `prompt` and `caption`. Raises InputError `bad-metadata` where they
    are not what they should be.
    """
    written = None if text is None else _plain(text)
    if words is None:
        return Told(written)
    said = _object(words)
    return Told(
        text=_text(said, words.name) if written is None else written,
        model=_string(said.get("model"), f"{words.name}: 'model'"),
        seed=_seed(said.get("seed"), f"{words.name}: 'seed'"),
        group=None if group_column is None else _label(said.get(group_column), f"{words.name}: {group_column!r}"),
    )


def bad(where: str, problem: str) -> InputError:
    """The failure of an image whose description `where` cannot be used."""
    return InputError("bad-metadata", f"{where} {problem}")


def is_seed(value: object) -> bool:
    """Whether a value is a whole number of at most 64 bits, as a table of the results holds it."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63  # a bool is an int too


def _object(words: Sidecar) -> dict[str, Any]:
    try:
        found = json.loads(words.data)
    except (ValueError, RecursionError) as error:
        raise bad(words.name, f"is not JSON: {error}; write it again") from error
    if not isinstance(found, dict):
        raise bad(words.name, "is not a JSON object; write {...}")
    return found


def _plain(text: Sidecar) -> str | None:
    try:
        found = text.data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise bad(text.name, f"is not UTF-8: {error}; save it as UTF-8") from error
    return found if found.strip() else None


def _text(said: dict[str, Any], where: str) -> str | None:
    texts = (_string(said.get(name), f"{where}: {name!r}") for name in TEXT_NAMES)
    return next((text for text in texts if text is not None), None)


def _string(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad(where, f"is {value!r:.80}, not a string; put it in quotes")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise bad(where, "is not valid Unicode: half of a surrogate pair; write it again") from error
    return value if value.strip() else None


def _label(value: Any, where: str) -> str | None:
    return str(value) if is_seed(value) else _string(value, where)


def _seed(value: Any, where: str) -> int | None:
    if value is None or is_seed(value):
        return value
    raise bad(where, f"is {value!r:.80}, not a whole number of at most 64 bits")
