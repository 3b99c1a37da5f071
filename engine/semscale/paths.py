"""Where everything of a store lies; what needs no specification to be found, counted or discarded.

`checksums/` holds lines as sha256sum writes them, relative to the store: `sha256sum -c checksums/*.sha256` inside a
store whose run has ended verifies all of it without semscale.
"""

from __future__ import annotations

import re
import shlex
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from semscale.errors import StoreError
from semscale.files import discard, explaining, rename

KINDS = ("errors", "metadata", "img_emb", "text_emb")  # of files of a shard, in the order they are discarded
DAMAGE = (  # what NumPy and pyarrow raise for a file that is missing, or not what they wrote
    OSError, ValueError, LookupError, TypeError, EOFError, MemoryError, OverflowError, SyntaxError,
    tokenize.TokenError, pa.ArrowException,
)  # fmt: skip


def name_of(kind: str, index: int) -> str:
    """The name of a shard's file of one of KINDS, relative to the store."""
    return f"{kind}/{kind}_{index:05d}.{'npy' if kind.endswith('_emb') else 'parquet'}"


def numbered(root: Path, kind: str) -> dict[int, Path]:
    """Shard -> its file of one of KINDS, of whatever shards have one, ascending."""
    pattern = re.compile(re.escape(name_of(kind, 0)).replace("00000", r"([0-9]{5,})"))
    found = ((pattern.fullmatch(f"{kind}/{path.name}"), path) for path in (root / kind).glob(f"{kind}_*"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def finished(root: Path) -> list[int]:
    """Indices of the finished shards, ascending."""
    return list(numbered(root, "errors"))


def plan_parts(root: Path) -> dict[int, Path]:
    """Number -> file of each part of the plan, ascending."""
    return {int(path.stem.rpartition("-")[2]): path for path in sorted((root / "plan").glob("part-[0-9]*.parquet"))}


def checksums(root: Path, of: str) -> Path:
    """The file of checksums of "store", "plan-00000" or the shard "00000"."""
    return root / "checksums" / f"{of}.sha256"


def checksum_line(name: str, digest: str) -> bytes:
    """One line of such a file, for a file's name relative to the store and its SHA-256 in hexadecimal."""
    return f"{digest}  {name}\n".encode()


def listed(file: Path) -> dict[str, str]:
    """Name -> SHA-256 of what a file of checksums lists. Raises OSError and ValueError where it is no such file."""
    lines = file.read_bytes().decode("ascii").splitlines(keepends=True)
    return dict(map(_parsed, lines))


def _parsed(line: str) -> tuple[str, str]:
    found = re.fullmatch(r"([0-9a-f]{64})  (.+)\n", line)
    if found is None:
        raise ValueError(f"line {line[:100]!r}")
    return found[2], found[1]


def discard_shard(root: Path, index: int) -> None:
    """Remove a shard's files; the errors file goes first, so that the shard counts as unfinished from then on."""
    for kind in KINDS:
        discard(root / name_of(kind, index))
    discard(checksums(root, f"{index:05d}"))
    discard(set_aside_checksums(root, index))


def set_aside_checksums(root: Path, index: int) -> Path:
    """What the checksums of a shard are called while it is set aside."""
    return root / "checksums" / f"{index:05d}.changed"


def set_aside(root: Path) -> list[int]:
    """Indices of the shards that were finished and are to be embedded again, ascending."""
    found = (re.fullmatch(r"([0-9]{5,})\.changed", path.name) for path in (root / "checksums").glob("*.changed"))
    return sorted(int(match[1]) for match in found if match)


def set_shard_aside(root: Path, index: int) -> None:
    """Make a shard unfinished, and keep what is in it until it is written again."""
    discard(root / name_of("errors", index))
    file = checksums(root, f"{index:05d}")
    if file.exists():
        with explaining(file, "rename"):
            rename(file, set_aside_checksums(root, index))


@contextmanager
def reading(root: Path, file: Path) -> Iterator[None]:
    """Raise what a damaged file of the store `root` makes a reader raise as a StoreError that says how to mend it."""
    try:
        yield
    except DAMAGE as error:
        raise StoreError(f"{file}: cannot be read ({summary(error)}); {_remedy(root, file)}") from error


def summary(error: BaseException) -> str:
    """An error in one line."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _remedy(root: Path, file: Path) -> str:
    command = f"semscale verify {shlex.quote(str(root))}"
    if file.parent.name not in KINDS:
        return f"`{command}` checks the rest, but this cannot be mended: embed again into a new folder"
    errors = root / name_of("errors", int(file.stem.rpartition("_")[2]))
    return f"`{command} --mend`, or deleting {errors}, has the next run embed this shard again"
