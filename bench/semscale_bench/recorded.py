"""Reading a file that `semscale bench --out` wrote: whatever it is, a UsageError says which file and what to do."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.errors import UsageError, explained

Key = tuple[str, str, str, str]  # case, name, data, weights
AGAIN = "measure again with `semscale bench --out`"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of a file."""

    key: Key
    unit: str
    regime: str
    rate: float  # units a second, at the median
    spread: float
    right: bool  # whether its output was


@dataclass(frozen=True, slots=True)
class Recording:
    """A file."""

    path: Path
    rows: dict[Key, Recorded]
    machine: dict[str, Any]  # {} where the file does not say
    command: str  # "" where the file does not say


def read(path: Path) -> Recording:
    """Read the last line of a file that is not empty. Raises UsageError."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        values = json.loads(lines[-1] if lines else "")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {explained(error)}; give a file that `semscale bench --out` wrote") from error
    if not isinstance(values, dict) or not isinstance(values.get("rows"), list) or "case" not in values:
        raise UsageError(f"{path}: of another layout, without a case and its rows; {AGAIN}")
    machine, command = values.get("machine"), values.get("command")
    return Recording(
        path,
        _rows(values["rows"], path),
        machine if isinstance(machine, dict) else {},
        command if isinstance(command, str) else "",
    )


def named(key: Key) -> str:
    """A row in words."""
    return ", ".join(part for part in key if part not in {"", "-"})


def _rows(rows: list[Any], path: Path) -> dict[Key, Recorded]:
    found: dict[Key, Recorded] = {}
    for number, row in enumerate(rows):
        try:
            made = _row(row)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UsageError(f"{path}: row {number}: {explained(error)}; {AGAIN}") from error
        if made.key in found:
            raise UsageError(f"{path}: row {number}: {named(made.key)} is there twice; {AGAIN}")
        found[made.key] = made
    return found


def _row(row: dict[str, Any]) -> Recorded:
    key = (_text(row, "case"), _text(row, "name"), _text(row, "data"), _text(row, "weights"))
    check = row["check"]
    right = check is None or check["passed"] is True
    return Recorded(key, _text(row, "unit"), _text(row, "regime"), _number(row, "rate"), _number(row, "spread"), right)


def _text(row: dict[str, Any], name: str) -> str:
    if not isinstance(row[name], str):
        raise ValueError(f"{name} is no text")
    return row[name]


def _number(row: dict[str, Any], name: str) -> float:
    value = row[name]
    least = 0 if name == "spread" else math.ulp(0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise ValueError(f"{name} {value!r} is none that was measured")
    return float(value)
