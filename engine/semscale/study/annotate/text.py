"""Text from people, on one line."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # Unicode's property Bidi_Control


def one_line(text: str) -> str:
    """The text without stray spaces, and with a mark for each character that is for machines, or none at all."""
    return _UNPRINTABLE.sub(REPLACEMENT, " ".join(text.split()))


def without_bidi(text: str) -> str:
    """The text with a visible mark, as [U+202E], for each character that would only turn the others around."""
    return _BIDI.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def counted(n: int, one: str, many: str = "") -> str:
    """A number and what it counts: `one` thing, or `many`, which differ by an s unless it is given."""
    return f"{n} {one if n == 1 else many or one + 's'}"
