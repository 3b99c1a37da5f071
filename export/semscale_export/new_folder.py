"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from semscale.errors import UsageError


def check_free(out: Path) -> None:
    """Raise UsageError when there is something at `out` already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already exists; remove it or choose another folder")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder beside `out`, which takes its place when the block ends well.

    Raises UsageError when `out` holds something already, at the beginning or at the end.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        yield made
        try:
            os.replace(made, out)  # an empty folder in its place is replaced, anything else refused
        except OSError as error:
            raise UsageError(
                f"{out} appeared during the export ({error.strerror}); remove it or choose another"
            ) from error
