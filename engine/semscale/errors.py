"""Every error semscale raises on purpose.

    SemscaleError                what went wrong, which one, what to do
    ├── UsageError               a value the user gave is wrong (also a ValueError)
    ├── SourceError              a source cannot be opened or listed
    ├── InputError               one input cannot be scored; has a stable `code`, becomes a row of the errors table
    ├── StoreError               a store cannot be read or written
    │   ├── StoreMismatchError   the store was begun with another model or other settings
    │   └── StoreLockedError     another run is writing here
    ├── ModelError               a model cannot be found, read or exported
    │   └── ParityError          an exported model differs from its reference by more than the tolerance
    └── MissingDependencyError   an optional package is needed; says which, and the command that installs it

Messages say what, which one, and what to do. Only `cli.py` prints them and chooses an exit code.
"""

from __future__ import annotations

import json


class SemscaleError(Exception):
    """Base of every error semscale raises on purpose."""


class UsageError(SemscaleError, ValueError):
    """A value the user gave is wrong."""


class SourceError(SemscaleError):
    """A source cannot be opened or listed."""


class InputError(SemscaleError):
    """One input cannot be scored.

    `code` is stable and lower-case with hyphens (`truncated`, `not-an-image`); `message` says what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StoreError(SemscaleError):
    """A store cannot be read or written."""


class StoreMismatchError(StoreError):
    """The store was begun with another model or other settings."""


class StoreLockedError(StoreError):
    """Another run is writing to the same place."""


class ModelError(SemscaleError):
    """A model cannot be found, read or exported."""


class ParityError(ModelError):
    """An exported model differs from its reference by more than the stated tolerance."""


class MissingDependencyError(SemscaleError):
    """An optional package is needed and not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}, which is not installed: pip install 'semscale[{extra}]'")
        self.package = package
        self.extra = extra


def explained(error: Exception) -> str:
    """What is wrong with a file of JSON that could not be read, in words for people."""
    match error:
        case json.JSONDecodeError():
            return f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        case UnicodeDecodeError():
            return "not UTF-8"
        case KeyError():
            return f"lacks {error}"
        case OSError():
            return error.strerror or str(error)
        case RecursionError():
            return "nested too deeply"
        case TypeError() | AttributeError():
            return "a part of it is of the wrong kind"
    return str(error)
