"""Which prompt a folder is of: what file systems do to prompts, undone where a list says so, or else guessed and told.

A folder's name is compared with the list as it is, then without regard to case, then with every character that a
file name may lack as `_`. What is left is compared with the prompts that no other folder of the model is of, by
SequenceMatcher's ratio; a close one is taken and told, for it may as well be another prompt.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

CLOSE = 0.85  # ratio from which on two texts are taken for one prompt
MARGIN = 0.03  # by which the closest must be closer than the next
CANDIDATES = 5  # prompts with the most words in common that are compared letter by letter
STYLES = {"tok": "lora", "monet": "monet"}  # the study's second part: prompts for its LoRA, and the same for the base
_STYLE = re.compile(r"\bin the style of (\w+)$", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\w .,()+-]")  # in a file name it may have become an underscore
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])_(?=s(?![^\W_]))")  # person_s, children_s


@dataclass(frozen=True, slots=True)
class Reading:
    """The prompt that a folder is of."""

    prompt: str
    how: str  # "exact"; "case", "characters" or "closest" of a list; "guess", or "unknown": the name as it is
    note: str = ""  # what to tell of it


def style_of(prompt: str) -> str | None:
    """Which of STYLES a prompt ends in."""
    found = _STYLE.search(prompt)
    return STYLES.get(found[1].lower()) if found else None


def guess(folder: str) -> Reading:
    """Without a list: the apostrophe of a possessive restored, `person_s` to `person's`."""
    prompt = _APOSTROPHE.sub("'", folder)
    if prompt == folder:
        return Reading(folder, "exact")
    return Reading(prompt, "guess", f"taken for {prompt!r}: a guess, --prompts would tell")


def read_folders(folders: Sequence[str], prompts: Sequence[str]) -> dict[str, Reading]:
    """The folders of one model, each once, and all listed prompts -> the prompt of each folder.

    A prompt that is the closest of several folders is nobody's. Folders may be of one prompt otherwise.
    """
    found: dict[str, Reading] = {}
    for how, key in (("exact", str), ("case", str.casefold), ("characters", _plain)):
        by_key = _by_key(prompts, key)
        for folder in folders:
            same = by_key.get(key(folder), [])
            if folder not in found and len(same) == 1:
                found[folder] = Reading(same[0], how, "" if how == "exact" else f"is {same[0]!r} of the list")
    free = [prompt for prompt in prompts if prompt not in {reading.prompt for reading in found.values()}]
    closest = _Closest(free)
    rest = {folder: closest.read(folder) for folder in folders if folder not in found}
    claims = Counter(reading.prompt for reading in rest.values() if reading.how == "closest")
    for folder, reading in rest.items():
        said = f"may be {reading.prompt!r} of the list, as other folders may; kept as it is"
        found[folder] = Reading(folder, "unknown", said) if claims[reading.prompt] > 1 else reading
    return found


def _by_key(prompts: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for prompt in prompts:
        found[key(prompt)].append(prompt)
    return found


def _plain(text: str) -> str:
    return _UNSAFE.sub("_", text).strip(" .").casefold()


class _Closest:
    """The prompts that are left, by their words."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self._by_word: defaultdict[str, list[str]] = defaultdict(list)
        for prompt in prompts:
            for word in _words(prompt):
                self._by_word[word].append(prompt)

    def read(self, folder: str) -> Reading:
        """The closest prompt of the same style, where one is close and no other about as close."""
        shared = Counter(prompt for word in _words(folder) for prompt in self._by_word[word])
        same = (prompt for prompt, _ in shared.most_common() if style_of(prompt) == style_of(folder))
        ratios = sorted(((_ratio(folder, prompt), prompt) for prompt in islice(same, CANDIDATES)), reverse=True)
        if not ratios or ratios[0][0] < CLOSE:
            return Reading(folder, "unknown", "is no prompt of the list, nor close to one; kept as it is")
        (ratio, best), *others = ratios
        if others and others[0][0] > ratio - MARGIN:
            return Reading(folder, "unknown", f"may be {best!r} or {others[0][1]!r} of the list; kept as it is")
        return Reading(
            best, "closest", f"taken for {best!r}, the closest of the list ({100 * ratio:.0f} % alike); check it"
        )


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, _plain(one), _plain(other), autojunk=False).ratio()
