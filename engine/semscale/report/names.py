"""Names of models as sentences, tables and figures have them: short, harmless, and different from one another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from semscale.report.format import REPLACEMENT, clean

LONGEST_NAME = 60  # characters of a model's name in a sentence
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # they turn round the numbers that follow


def named(label: str) -> str:
    """A model as part of a sentence: on one line, not too long, and without characters that turn text round."""
    return _middle(_plain(label), LONGEST_NAME)


def apart(labels: Sequence[str], limit: int = LONGEST_NAME) -> list[str]:
    """Models as `named` has them, in at most `limit` characters, and cut where they stay different from one another.

    Longer only by a number where no cut keeps them apart.
    """
    plain = list(map(_plain, labels))
    letters = enumerate(zip(*plain, strict=False))
    same = next((n for n, each in letters if len(set(each)) > 1), 0)  # where they begin to differ
    kinds: tuple[list[str], ...] = (
        [_middle(name, limit) for name in plain],
        [_end(name, limit) for name in plain],
        [_end(f"…{name[same:]}", limit) for name in plain],
    )
    numbered = [f"{n} {name}" for n, name in enumerate(kinds[0], start=1)]
    return next((names for names in kinds if len(set(names)) == len(names)), numbered)


def short(models: Iterable[str | None], limit: int) -> dict[str | None, str | None]:
    """The models of a figure, each with its name by `apart`; images of no model have none."""
    known = [model for model in dict.fromkeys(models) if model is not None]
    return {None: None, **dict(zip(known, apart(known, limit), strict=True))}


def _plain(label: str) -> str:
    return clean(_DIRECTIONS.sub(REPLACEMENT, label))


def _end(name: str, limit: int) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _middle(name: str, limit: int) -> str:
    kept = limit // 2
    return name if len(name) <= limit else f"{name[: limit - 1 - kept]}…{name[-kept:]}"
