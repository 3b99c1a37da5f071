"""Joins that keep to pairs inside groups, or to pairs across groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semscale.errors import UsageError
from semscale.model import Array

MODES = ("within", "across")


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each row, and whether the two rows of a pair must share theirs or must not."""

    mode: Literal["within", "across"]
    rows: Array  # (N,) int64, of the first side
    columns: Array | None = None  # (M,) int64, of the other side where there is one

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"unknown mode {self.mode!r} of groups; choose from {', '.join(MODES)}")
