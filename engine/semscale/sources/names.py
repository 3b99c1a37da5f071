"""What a file's name becomes: a key that is text and unique, and a uri that opens the file again."""

from __future__ import annotations

import re
from urllib.parse import quote

ESCAPED = re.compile(r"\\x[0-9a-f]{2}")


def key_of(name: bytes) -> str:
    r"""A relative path as text, a different one for every path.

    Ordinary names stay as they are. A part of the path that is not UTF-8, or that literally holds a backslash, an x
    and two hexadecimal digits, is escaped: each byte that is not UTF-8 becomes `\xNN`, each backslash is doubled.
    """
    plain = name.decode("utf-8", "backslashreplace")
    return plain if ESCAPED.search(plain) is None else "/".join(map(_escaped, name.split(b"/")))


def uri_of(path: bytes) -> str:
    """An absolute path as it is, or as a percent-encoded `file://` URI when it is not UTF-8."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return "file://" + quote(path)


def _escaped(part: bytes) -> str:
    plain = part.decode("utf-8", "backslashreplace")
    if ESCAPED.search(plain) is None:
        return plain
    return part.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
