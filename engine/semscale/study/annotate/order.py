"""Which item comes when, and which generator is on the left: by chance, and the same whenever a rater comes back.

Chance comes from a hash of the study's seed, the rater and the item, so an order depends on nothing else: on no
version of Python, and not on who rated before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """One item in a rater's order."""

    item: str
    left: int  # which of the two generators is on the left: 0 or 1

    @property
    def sides(self) -> tuple[int, int]:
        """The generators on the left and on the right."""
        return self.left, 1 - self.left


def turns(items: Sequence[str], *, rater: str, seed: int) -> tuple[Turn, ...]:
    """Return the N `items`, each once, in the order of `rater`.

    Every order is as likely as any other, and so is every choice of N / 2 items that have generator 0 on the left; of
    an odd number, chance gives the odd one out to either.
    """
    drawn = sorted(items, key=lambda item: _chance(seed, rater, "side", item))
    odd = _chance(seed, rater, "odd", "")[0] % 2 if len(items) % 2 else 0
    first = set(drawn[: len(items) // 2 + odd])
    order = sorted(items, key=lambda item: _chance(seed, rater, "order", item))
    return tuple(Turn(item, 0 if item in first else 1) for item in order)


def _chance(seed: int, rater: str, purpose: str, item: str) -> bytes:
    drawn = hashlib.blake2b(digest_size=16)
    for part in (str(seed), rater, purpose, item):
        said = part.encode("utf-8", "surrogatepass")
        drawn.update(len(said).to_bytes(4, "little") + said)
    return drawn.digest()
