"""The classes that zero-shot classification chooses from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from semscale.errors import UsageError
from semscale.metrics.zero_shot import TEMPLATES, prompts


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of classes, as groups are named, and the texts that stand for them."""

    names: tuple[str, ...]
    templates: tuple[str, ...]  # each with one {} for the name


def read_labels(names: str | Path, templates: str | Path | None = None) -> Labels:
    """Read a text file of one label a line, and one of one template a line. Raises UsageError where they are none."""
    found = Labels(_lines(Path(names)), tuple(TEMPLATES) if templates is None else _lines(Path(templates)))
    try:
        prompts(found.names, found.templates)
    except UsageError as error:
        wrong = templates if templates is not None and "template" in str(error) else names
        raise UsageError(f"{wrong}: {error}") from error
    return found


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error})") from error
    if not any(lines):
        raise UsageError(f"{path}: has no lines; give one a line")
    return tuple(line for line in lines if line)
