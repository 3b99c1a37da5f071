"""Values as people read them: numbers, counts, and text from strangers made short and printable."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeGuard

DASH = "–"
REPLACEMENT = "\ufffd"
TINY = 1e-4  # numbers below are written with an exponent
_SPACE = re.compile(r"[\t\n\r\v\f\x1c-\x1f\x85\u2028\u2029]+")
# Also what turns the direction of writing: what follows would be shown in another order. Not isolates of our own.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067\ud800-\udfff\ufffe\uffff]")


def is_defined(value: float | None) -> TypeGuard[float]:
    """Return whether `value` is a finite number."""
    return value is not None and math.isfinite(value)


def as_float(value: float | None) -> float:
    """Return a number of a JSON file, NaN where it is undefined."""
    return math.nan if value is None or not math.isfinite(value) else float(value)


def number(value: float | None, digits: int = 2) -> str:
    """Return `value` with fixed decimals, or an en dash when it is undefined."""
    return f"{value:z,.{digits}f}".replace("-", "\N{MINUS SIGN}") if is_defined(value) else DASH


def span(low: float | None, high: float | None, digits: int = 2) -> str:
    """Return "low to high", or an en dash when either end is undefined."""
    return f"{number(low, digits)} to {number(high, digits)}" if is_defined(low) and is_defined(high) else DASH


def signed(value: float) -> str:
    """Return a difference with its sign and as many digits as count."""
    return DASH if math.isnan(value) else format(float(value), f"+{form_of(value)}")


def plain(value: float) -> str:
    """Return a value with as many digits as count."""
    return DASH if math.isnan(value) else format(float(value), form_of(value))


def form_of(value: float) -> str:
    """Return a format of three digits for a small number and two decimals for a large one."""
    if not math.isfinite(value) or value == 0 or abs(value) >= 1:
        return ".2f"
    return f".{2 - math.floor(math.log10(abs(value)))}f" if abs(value) >= TINY else ".2e"


def count(value: int) -> str:
    """Return a whole number with thousands separated."""
    return f"{value:,}"


def plural(value: int, noun: str) -> str:
    """Return "1 group", "2 groups"."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def duration(seconds: float) -> str:
    """Return seconds as "0.42 s", "3 min 20 s" or "2 h 5 min"."""
    if not math.isfinite(seconds):
        return DASH
    if round(seconds, 2) < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def clean(text: str) -> str:
    """Return `text` on one line, with a mark in place of what cannot be written as UTF-8 or shown."""
    return _UNPRINTABLE.sub(REPLACEMENT, _SPACE.sub(" ", text))


def shorten(text: str, limit: int = 240) -> str:
    """Return `text` cleaned and cut to `limit` characters, keeping the beginning."""
    text = clean(text[: 2 * limit])
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def tail(text: str, limit: int = 28) -> str:
    """Return `text` cleaned and cut to `limit` characters, keeping the end: of a path, the file name."""
    text = clean(text[-2 * limit :])
    return text if len(text) <= limit else "…" + text[1 - limit :]


def value_text(value: Any, limit: int = 600) -> str:
    """Return any JSON value as short text: strings as they are, containers as JSON, nothing in either as an en dash."""
    if value is None or value in ("", [], {}):
        return DASH
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), limit)
