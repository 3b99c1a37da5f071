"""Which noise images begin with: whole numbers, the same for every model, so that models compare seed by seed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from semscale.errors import UsageError

MAX_SEED = (1 << 63) - 1  # the largest that a table of the results holds


def first_seeds(n: int) -> list[int]:
    """Return 0, 1, 2 ... n - 1, the seeds where nobody names others. Raises UsageError for n < 1."""
    if n < 1:
        raise UsageError(f"{n} seeds; there must be at least 1")
    return list(range(n))


def read_seeds(path: str | Path, n: int | None = None) -> list[int]:
    """Read a file of seeds, one a line, and return the first `n` of them, or all; lines without any are passed over.

    Raises UsageError, which names the line, for what is no whole number from 0 to 2**63 - 1 and for a seed given twice,
    also behind the first `n`; and for a file that cannot be read or holds fewer than `n`.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}; give a text file with one seed a line") from error
    first: dict[int, int] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        seed = _seed(line, f"{path}: line {number}")
        if first.setdefault(seed, number) != number:
            raise UsageError(f"{path}: line {number}: seed {seed} is on line {first[seed]} too; keep one")
    if not first:
        raise UsageError(f"{path}: no seeds; give one a line")
    if n is not None and not 1 <= n <= len(first):
        raise UsageError(f"{path}: {n} seeds were asked for, and it holds {len(first)}; ask for 1 to {len(first)}")
    return list(first)[:n]


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise UsageError unless there are seeds, each a whole number from 0 to 2**63 - 1, and each once."""
    if not seeds:
        raise UsageError("no seeds; give at least one")
    for place, seed in enumerate(seeds, start=1):
        if type(seed) is not int or not 0 <= seed <= MAX_SEED:
            raise UsageError(f"seed {place} is {seed!r}, no whole number from 0 to 2**63 - 1")
    repeated = next((seed for seed in seeds if seeds.count(seed) > 1), None) if len(set(seeds)) < len(seeds) else None
    if repeated is not None:
        raise UsageError(f"seed {repeated} is given twice; keep one")


def _seed(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > MAX_SEED:
        raise UsageError(f"{where}: {text!r:.60} is no whole number from 0 to 2**63 - 1; mend the line")
    return int(text)
