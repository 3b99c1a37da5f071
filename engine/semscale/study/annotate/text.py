"""Text from people, on one line."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def one_line(text: str) -> str:
    """The text without stray spaces, and with a mark for each character that is for machines, or none at all."""
    return _UNPRINTABLE.sub(REPLACEMENT, " ".join(text.split()))
