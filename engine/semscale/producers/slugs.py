"""Prompts and labels as names of folders: the same on every system, and whatever else is generated beside them.

A text of nothing but plain lower-case words becomes these words, joined. Any other also gets ten digits of its SHA-256,
behind a doubled joiner, which no plain name holds:

    a red fox                      a-red-fox
    A red fox!                     a-red-fox--f49eb182b1
    sdxl steps=10 guidance=7.5     sdxl_steps=10_guidance=7.5

So two texts that differ by case, punctuation or their ends are told apart, also where a file system ignores case, and
no name depends on the others: a longer list of prompts renames nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from functools import lru_cache

MAX_BYTES = 80
DIGITS = 10  # of the hash: 40 bits
RESERVED = frozenset(  # Windows' devices, and what marks a folder as results of `score`
    {"con", "prn", "aux", "nul", "stores", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
)
_PROMPT_WORD = re.compile(r"[a-z0-9]+")
_LABEL_WORD = re.compile(r"[a-z0-9](?:[a-z0-9.=+-]*[a-z0-9])?")


@lru_cache(maxsize=1024)
def prompt_folder(text: str, *also: str) -> str:
    """The name for a prompt, at most 80 bytes of ASCII. `also` tells it apart from others of the same text."""
    return _name(text, also, joiner="-", word=_PROMPT_WORD)


@lru_cache(maxsize=1024)
def model_folder(label: str) -> str:
    """The name for the label of a model, at most 80 bytes of ASCII."""
    return _name(label, (), joiner="_", word=_LABEL_WORD)


def _name(text: str, also: tuple[str, ...], *, joiner: str, word: re.Pattern[str]) -> str:
    words = text.split(" ")
    plain = joiner.join(words)
    is_plain = all(word.fullmatch(each) for each in words) and len(plain) <= MAX_BYTES
    if is_plain and not also and plain.partition(".")[0] not in RESERVED:
        return plain
    ending = 2 * joiner + hashlib.sha256(json.dumps([text, *also]).encode()).hexdigest()[:DIGITS]
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    kept = joiner.join(word.findall(ascii_text)) or "untitled"
    return _cut(kept, MAX_BYTES - len(ending), joiner) + ending


def _cut(name: str, length: int, joiner: str) -> str:
    """The beginning of a name, up to the end of a word where that leaves any."""
    if len(name) <= length:
        return name
    whole, found, _ = name[: length + 1].rpartition(joiner)
    return (whole if found else name[:length]).rstrip("-_.=+")
