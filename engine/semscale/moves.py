"""Moving the files of near-copies out of a folder, so that it can be undone.

    DIR/<key>                   a file that was moved, under the path that it had in its source
    DIR/semscale-moves.jsonl    every move, {"from": ..., "to": ...} a line, written before the first file is moved

Nothing is deleted, copied or overwritten: a move is one rename on one file system, so that a crash leaves each file at
one of the two places that its line names, and the same command goes on. Everything is checked before anything moves.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from semscale.errors import SourceError, UsageError
from semscale.files import explaining, flush, make_folder, remove, rename, replace, sha256
from semscale.locks import exclusive
from semscale.sources.names import key_of
from semscale.sources.places import is_remote, local_path

LOG = "semscale-moves.jsonl"


@dataclass(frozen=True, slots=True)
class Copy:
    """An image that is not kept, and the one that is."""

    key: str
    uri: str
    sha256: str | None  # of its bytes when they were embedded; None where nobody knows
    kept_uri: str
    kept_sha256: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """A file and where it goes."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of the files that had been moved."""

    back: int  # files that were moved back
    gone: list[Path]  # files that are at neither of their two places any more


def plan_moves(copies: Sequence[Copy], to: Path) -> list[Move]:
    """Where each file goes, without what an earlier call has moved; checks everything, moves nothing.

    Raises UsageError for what cannot be moved: images in archives or behind a protocol, links, a folder inside the
    source or on another file system, names that are taken; SourceError for files that are gone or have changed, the
    images that are kept among them.
    """
    to = Path(os.path.abspath(to))
    logged = set(_logged(to))
    digest = cache(sha256)  # one image may be kept of many
    found = []
    for copy in copies:
        source = _local(copy)
        move = Move(source, to / _relative(copy.key, source))
        if move in logged and not os.path.lexists(source) and os.path.lexists(move.target):
            continue
        _check_source(copy, source, digest)
        _check_target(move, to)
        found.append(move)
    _check_apart(found)
    return found


def apply_moves(moves: Sequence[Move], to: Path) -> None:
    """Write the log, then rename each file.

    Raises UsageError where a target is there, and StoreError where a file cannot be moved; planned and applied again,
    what is left goes on.
    """
    to = Path(os.path.abspath(to))
    with exclusive(to):
        _refuse_taken(move.target for move in moves)
        _write_log(to, list(dict.fromkeys([*_logged(to), *moves])))
        _rename_all(moves)


def undo_moves(to: Path) -> Undone:
    """Move every file that the log of a folder names back to where it was. The log keeps what is gone.

    Raises UsageError, before anything moves, where there is no log or another file has taken a place.
    """
    to = Path(os.path.abspath(to))
    if not (to / LOG).exists():
        raise UsageError(f"{to}: has no {LOG}; name the folder that files were moved to")
    with exclusive(to):
        logged = _logged(to)
        back = [Move(move.target, move.source) for move in reversed(logged) if os.path.lexists(move.target)]
        gone = [move for move in logged if not os.path.lexists(move.target) and not os.path.lexists(move.source)]
        _refuse_taken(move.target for move in back)
        _rename_all(back)
        with explaining(to / LOG):
            _write_log(to, gone) if gone else remove(to / LOG)
    return Undone(len(back), [move.target for move in gone])


# -- checks -----------------------------------------------------------------------------------------------------------


def _local(copy: Copy) -> Path:
    """The file of an image. Raises UsageError where it is none of its own."""
    path = None if is_remote(copy.uri) else local_path(copy.uri)
    if path is None:
        raise UsageError(f"{copy.uri}: is not on this machine; only files in local folders can be moved")
    if _in_archive(path):
        raise UsageError(f"{copy.uri}: is in an archive and cannot be moved; use --apply list")
    return Path(os.path.abspath(path))


def _in_archive(path: Path) -> bool:
    """Whether this is `archive#member`, and no file of that name."""
    pieces = str(path).split("#")
    archives = ("#".join(pieces[:count]) for count in range(1, len(pieces)))
    return not os.path.lexists(path) and any(map(os.path.isfile, archives))


def _relative(key: str, source: Path) -> Path:
    """The key as a path; where a key escapes a name that is not UTF-8, the name itself."""
    parts, there = key.split("/"), os.fsencode(source).split(b"/")
    if not all(parts) or {".", ".."} & set(parts):
        raise UsageError(f"{key}: is not a path inside a folder; only files in local folders can be moved")
    for count in range(min(len(parts), len(there)), 0, -1):
        if key_of(b"/".join(there[-count:])) == "/".join(parts[-count:]):
            return Path(*parts[:-count], os.fsdecode(b"/".join(there[-count:])))
    return Path(*parts)


def _check_source(copy: Copy, source: Path, digest: Callable[[Path], str]) -> None:
    if source.is_symlink():
        raise UsageError(f"{source}: is a link; remove it yourself, or leave it out of the source")
    if not source.is_file():
        raise SourceError(f"{source}: is not there any more; embed the source again into a new store")
    if copy.sha256 is not None and digest(source) != copy.sha256:
        raise SourceError(f"{source}: has changed since it was embedded; run `semscale embed` again first")
    if is_remote(copy.kept_uri):
        return
    kept = local_path(copy.kept_uri)
    if not kept.is_file() and not _in_archive(kept):
        raise SourceError(f"{kept}: is the copy to keep of {source}, and not there any more; embed the source again")
    if kept.is_file() and copy.kept_sha256 is not None and digest(kept) != copy.kept_sha256:
        raise SourceError(f"{kept}: is the copy to keep of {source}, and has changed; run `semscale embed` again first")
    if os.path.realpath(kept) == os.path.realpath(source):
        raise UsageError(f"{kept}: is the copy to keep, and a link to {source}; remove the link, and embed again")


def _check_target(move: Move, to: Path) -> None:
    relative = move.target.relative_to(to).parts
    both = zip(reversed(move.source.parts), reversed(relative), strict=False)
    depth = sum(1 for _ in itertools.takewhile(lambda parts: parts[0] == parts[1], both))
    root = move.source.parents[depth - 1]
    there, source = Path(os.path.realpath(to)), Path(os.path.realpath(root))
    if there == source or source in there.parents:
        raise UsageError(f"{to}: lies inside {root}, where the next run finds the files again; choose --to outside")
    if os.path.lexists(move.target):
        raise UsageError(f"{move.target}: is there already, and nothing is overwritten; choose another --to")
    above = next(folder for folder in move.target.parents if os.path.lexists(folder))
    if not above.is_dir():
        raise UsageError(f"{above}: is a file where a folder is needed; choose another --to")
    if above.stat().st_dev != move.source.stat().st_dev:
        raise UsageError(f"{to}: is on another file system than {move.source}; choose --to on the same one")


def _check_apart(moves: Sequence[Move]) -> None:
    """Refuse two files that would go to one place."""
    met: dict[Path, Path] = {}
    for move in moves:
        if move.target in met:
            raise UsageError(f"{met[move.target]} and {move.source} would both become {move.target}; move one yourself")
        met[move.target] = move.source


def _refuse_taken(targets: Iterable[Path]) -> None:
    for target in targets:
        if os.path.lexists(target):
            raise UsageError(f"{target}: is there already, and nothing is overwritten; move it out of the way")


# -- files ------------------------------------------------------------------------------------------------------------


def _rename_all(moves: Sequence[Move]) -> None:
    for move in moves:
        with explaining(move.target):
            _make_folders(move.target.parent)
            _refuse_taken([move.target])  # whoever else writes there
            rename(move.source, move.target)
    for folder in {folder for move in moves for folder in (move.target.parent, move.source.parent)}:
        with explaining(folder, "fsync"):
            flush(folder)


def _make_folders(path: Path) -> None:
    if not path.is_dir():
        _make_folders(path.parent)
        make_folder(path)


def _logged(to: Path) -> list[Move]:
    """Every move that was ever planned into a folder."""
    try:
        lines = (to / LOG).read_text(encoding="ascii").splitlines()
        values = [json.loads(line) for line in lines]
        return [Move(Path(value["from"]), Path(value["to"])) for value in values]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{to / LOG}: is not a log of moves ({error}); choose another --to") from error


def _write_log(to: Path, moves: Sequence[Move]) -> None:
    lines = (json.dumps({"from": str(move.source), "to": str(move.target)}) + "\n" for move in moves)
    replace(to / LOG, "".join(lines).encode("ascii"))
