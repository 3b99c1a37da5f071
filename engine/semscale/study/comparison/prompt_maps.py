"""Prompts that differ on purpose: which prompt of the first model is which of the others (Monet against TOK)."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from semscale.errors import UsageError
from semscale.study.comparison.substitution import parse_substitution, substituted

HEADERS = ({"a", "b"}, {"prompt_a", "prompt_b"})  # of the two columns; a table without one has no header


@dataclass(frozen=True, slots=True)
class Mapped:
    """The prompts of the first model as the others have them, and what of the map was of no use."""

    prompts: tuple[str, ...]  # aligned with those that were given
    unused: tuple[tuple[str, str], ...]  # rows of the map with a prompt that the first model, or all others, lack


def map_prompts(prompts: Sequence[str], given: str, others: Collection[str]) -> Mapped:
    """Map prompts of the first model, each there once, by a file or a regular expression; `others` are prompts that
    the other models have.

    `given` is a CSV, TSV or JSON Lines file with a prompt of the first model (a) and one of the others (b) in each
    row; or a substitution, as `parse_substitution` takes it. A prompt that the map says nothing of stays as it is.
    Raises UsageError for a map that cannot be read, that sends two prompts to one, or that changes no prompt.
    """
    if (path := Path(given)).is_file() or (asked := parse_substitution(given)) is None:
        table = read_map(path)
        known = set(prompts)
        changed = [table.get(prompt, prompt) for prompt in prompts]
        unused = tuple((a, b) for a, b in table.items() if a not in known or b not in others)
        hits = len(known & table.keys())
    else:
        changed, unused = substituted(prompts, asked), ()
        hits = sum(mine != other for mine, other in zip(prompts, changed, strict=True))
    if not hits:
        raise UsageError(f"--prompt-map {given}: fits none of the {len(prompts)} prompts of the first model")
    _refuse_collisions(prompts, changed, given)
    return Mapped(tuple(changed), unused)


def read_map(path: Path) -> dict[str, str]:
    """Read a table of two columns. Raises UsageError, which names the row, for one that is not."""
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, a, b in _rows_of_json(file, path) if path.suffix.lower() == ".jsonl" else _rows(file, path):
                if found.setdefault(a, b) != b:
                    raise UsageError(f"{path}: row {number}: {a!r} is mapped twice, to {found[a]!r} and to {b!r}")
    except FileNotFoundError as error:
        raise UsageError(
            f"--prompt-map {path}: no such file, and no substitution either; give a CSV, TSV or JSON Lines file, "
            "pattern=>replacement, or s/pattern/replacement/"
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: cannot be read ({error}); give a CSV, TSV or JSON Lines file in UTF-8") from error
    if not found:
        raise UsageError(f"{path}: has no rows; give a prompt and the prompt that stands for it in each")
    return found


def _rows(lines: Iterator[str], path: Path) -> Iterator[tuple[int, str, str]]:
    reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() in (".tsv", ".tab") else ",", strict=True)
    for number, row in enumerate(reader, start=1):
        if not row or (number == 1 and set(row) in HEADERS):
            if row[:1] in (["b"], ["prompt_b"]):
                raise UsageError(f"{path}: the first column is to be a, the prompt of the first model")
            continue
        if len(row) != 2:
            raise UsageError(
                f"{path}: row {number} has {len(row)} columns instead of 2; put a prompt with a comma in quotes"
            )
        yield number, row[0], row[1]


def _rows_of_json(lines: Iterator[str], path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("a", "b")):
            raise UsageError(f'{path}: row {number} is not {{"a": "prompt", "b": "prompt"}}')
        yield number, row["a"], row["b"]


def _refuse_collisions(prompts: Sequence[str], changed: Sequence[str], given: str) -> None:
    first: dict[str, str] = {}
    for mine, other in zip(prompts, changed, strict=True):
        if other in first:
            raise UsageError(
                f"--prompt-map {given}: {first[other]!r} and {mine!r} both become {other!r}; a prompt stands for one"
            )
        first[other] = mine
