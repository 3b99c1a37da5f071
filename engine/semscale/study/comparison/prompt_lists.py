"""Two lists of prompts, row by row: is each row one prompt, up to one substitution that holds for the whole list?

Prompts are compared by their words and punctuation marks, so blanks do not count and a comma is no part of a word. The
substitution (Monet -> TOK) is learned: every difference of prompts that seem to belong together is a candidate, and
the one that makes the most prompts of one list prompts of the other is taken, wherever in the list they are. It must do
so for two prompts and a quarter of the list, or else a prompt that is simply another one would teach it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

Words = tuple[str, ...]
_WORD = re.compile(r"\w+|[^\w\s]")
LEARNED_FROM = 200  # rows of a list that are looked at for candidates
MOST_CANDIDATES = 20
LEAST_SHARE = 0.25  # of the prompts, and two at least, that a substitution must make those of the other list
ALIKE = 0.5  # likeness from which on a prompt is said to be the best match


@dataclass(frozen=True, slots=True)
class Substitution:
    """Words of the first list that are others in the second; both empty where nothing is substituted."""

    old: Words
    new: Words
    at: str = "anywhere"  # "start" or "end", where words are added to every prompt

    def apply(self, words: Words) -> Words:
        """The words of a prompt of the first list as they should be in the second."""
        if self.at == "start":
            return self.new + words
        if self.at == "end":
            return words + self.new
        return tuple(_replaced(words, self.old, self.new)) if self.old else words

    def __str__(self) -> str:
        if not (self.old or self.new):
            return "none"
        added = "" if self.at == "anywhere" else f" added at the {self.at}"
        return f"{' '.join(self.old) or 'nothing'} -> {' '.join(self.new) or 'nothing'}{added}"


NONE = Substitution((), ())


@dataclass(frozen=True, slots=True)
class Flagged:
    """A row whose two prompts are not the same prompt. Rows count from 1; None where a list has no such row."""

    row: int
    a: str | None
    b: str | None
    fits: int | None  # row of the second list that is the first list's prompt, or most like it
    exact: bool  # whether it is that prompt, and not only like it


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in two lists of prompts."""

    n_a: int
    n_b: int
    substitution: Substitution
    flagged: tuple[Flagged, ...]
    pairs: tuple[tuple[str, str], ...]  # every prompt of the first list that the second has, and as it is written there


def check_lists(a: Sequence[str], b: Sequence[str]) -> Checked:
    """Compare two lists row by row. Rows that only one list has are flagged."""
    first, second = [words_of(prompt) for prompt in a], [words_of(prompt) for prompt in b]
    substitution = learn(first, second)
    others = Lookup(second)
    flagged = []
    for row in range(max(len(a), len(b))):
        mine = first[row] if row < len(a) else None
        other = second[row] if row < len(b) else None
        if mine is None or other is None or other not in (mine, substitution.apply(mine)):
            fits, exact = (None, False) if mine is None else others.best(substitution.apply(mine))
            flagged.append(
                Flagged(
                    row=row + 1,
                    a=None if mine is None else a[row],
                    b=None if other is None else b[row],
                    fits=None if fits is None else fits + 1,
                    exact=exact,
                )
            )
    pairs = {
        a[row]: b[found] for row, mine in enumerate(first) if (found := others.same(substitution.apply(mine))) >= 0
    }
    return Checked(len(a), len(b), substitution, tuple(flagged), tuple(pairs.items()))


def words_of(prompt: str) -> Words:
    """The words and punctuation marks of a prompt."""
    return tuple(_WORD.findall(prompt))


def learn(a: Sequence[Words], b: Sequence[Words]) -> Substitution:
    """The substitution that makes the most prompts of `a` prompts of `b`; of equal ones that of the most rows.

    None at all wins where it does as well as any other.
    """
    present = set(b)
    candidates = Counter(_candidates(a, b))
    found, most = NONE, sum(words in present for words in a)
    for candidate, _ in candidates.most_common(MOST_CANDIDATES):
        changed = [candidate.apply(words) for words in a]
        fitting = sum(words in present for words in changed)
        gained = sum(words in present and words != before for words, before in zip(changed, a, strict=True))
        if fitting > most and gained >= max(2, LEAST_SHARE * len(a)):
            found, most = candidate, fitting
    return found


def _candidates(a: Sequence[Words], b: Sequence[Words]) -> Iterator[Substitution]:
    """Differences between prompts in the same row, and between prompts that are most alike, whatever their rows."""
    for mine, other in list(zip(a, b, strict=False))[:LEARNED_FROM]:
        yield from _difference(mine, other)
    others = Lookup(b)
    for mine in a[:LEARNED_FROM]:
        nearest, likeness = others.nearest(mine)
        if likeness > 0:
            yield from _difference(mine, b[nearest])


def _difference(mine: Words, other: Words) -> Iterator[Substitution]:
    """The one substitution between two prompts, where it is only one."""
    steps = SequenceMatcher(None, mine, other, autojunk=False).get_opcodes()
    changes = {(mine[i:j], other[k:m], i, i == len(mine)) for tag, i, j, k, m in steps if tag != "equal"}
    if len({change[:2] for change in changes}) != 1 or len(steps) == 1:
        return
    old, new, start, at_end = changes.pop()
    if old:
        yield Substitution(old, new)
    elif at_end or start == 0:
        yield Substitution((), new, "end" if at_end else "start")


def _replaced(words: Words, old: Words, new: Words) -> Iterator[str]:
    at = 0
    while at < len(words):
        if words[at : at + len(old)] == old:
            yield from new
            at += len(old)
        else:
            yield words[at]
            at += 1


class Lookup:
    """Finds the prompt of a list that is the same as another prompt, or the one most like it."""

    def __init__(self, prompts: Sequence[Words]) -> None:
        self._prompts = prompts

    def same(self, words: Words) -> int:
        """The first place of a prompt in the list, -1 where it is not there."""
        return self._places.get(words, -1)

    def best(self, words: Words) -> tuple[int | None, bool]:
        """The place of the same prompt, or else of the one most like it; None where none is half alike."""
        if (place := self.same(words)) >= 0:
            return place, True
        place, likeness = self.nearest(words)
        return (place if likeness >= ALIKE else None), False

    def nearest(self, words: Words) -> tuple[int, float]:
        """The first place of the prompt most like this one, and the weight of the words they share, of those of both.

        A word weighs the more the fewer prompts have it: what is said in every prompt tells none from another.
        """
        mine = set(words)
        common: dict[int, float] = defaultdict(float)
        for word in mine:
            weight = self._weight(word)
            for place in self._holding.get(word, ()):
                common[place] += weight
        own = sum(map(self._weight, mine))
        alike = {place: shared / (own + self._weights[place] - shared) for place, shared in common.items()}
        found = max(alike, key=lambda place: (alike[place], -place), default=-1)
        return found, alike.get(found, 0.0)

    def _weight(self, word: str) -> float:
        return math.log((len(self._prompts) + 1) / max(len(self._holding.get(word, ())), 1))

    @cached_property
    def _weights(self) -> list[float]:
        return [sum(map(self._weight, set(words))) for words in self._prompts]

    @cached_property
    def _places(self) -> dict[Words, int]:
        return {words: place for place, words in reversed(list(enumerate(self._prompts)))}

    @cached_property
    def _holding(self) -> dict[str, list[int]]:
        holding: dict[str, list[int]] = defaultdict(list)
        for place, words in enumerate(self._prompts):
            for word in set(words):
                holding[word].append(place)
        return dict(holding)
