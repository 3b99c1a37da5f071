"""What kind of input a place is, and what opens it."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from semscale.errors import SourceError, UsageError
from semscale.model import Source
from semscale.sources.bucket import BucketTree, walk_remote
from semscale.sources.described import TreeSource
from semscale.sources.folder import END_MARKER, FolderTree
from semscale.sources.layout import is_image_name
from semscale.sources.lists import STANDARD_INPUT, ListTree, read_paths, standard_input
from semscale.sources.metadata import NAMES, Metadata, find_metadata, read_list, read_metadata
from semscale.sources.parquet import ParquetSource, has_image_column
from semscale.sources.places import LocalFile, Place, RemoteFile, is_remote, local_path, remote
from semscale.sources.several import SeveralSources
from semscale.sources.tars import TarTree
from semscale.sources.trees import WithAbsent
from semscale.sources.walk import walk
from semscale.sources.zips import ZipTree


class Kind(Enum):
    """A kind of input; the value is what its name looks like."""

    FOLDER = ""
    STANDARD_INPUT = "-"
    TABLE = r"\.(csv|jsonl)$"
    PATHS = r"\.(txt|lst)$"
    PARQUET = r"\.(parquet|pq)$"
    TAR = r"\.(tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$"
    ZIP = r"\.zip$"


FIRST_IMAGES = 64  # of a tar, that a column to group by is looked for in
LISTS = (Kind.STANDARD_INPUT, Kind.TABLE, Kind.PATHS, Kind.PARQUET)
ARCHIVES = (Kind.TAR, Kind.ZIP, Kind.PARQUET)  # of which a folder may hold several


def kind_of(place: str) -> Kind:
    """The kind of input at a place. Raises SourceError where there is nothing, or nothing that is read."""
    if place == STANDARD_INPUT:
        return Kind.STANDARD_INPUT
    if _is_folder(place):
        return Kind.FOLDER
    kind = _kind_of_name(place)
    if kind is None and is_image_name(place):
        raise SourceError(f"{place}: one image; give the folder that holds the images")
    if kind is None:
        raise SourceError(f"{place}: neither a folder nor a file of a known kind: .csv .jsonl .txt .parquet .tar .zip")
    return kind


def name_of(place: str) -> str:
    """The last part of a place's path, for keys and for the names of results."""
    if place == STANDARD_INPUT:
        return "stdin"
    path = place if is_remote(place) else os.path.abspath(local_path(place))
    return path.rstrip("/").rpartition("/")[2] or "root"


def has_end_marker(place: str) -> bool:
    """Whether a folder holds the file by which its producer says that it has ended."""
    if place == STANDARD_INPUT or not _is_folder(place):
        return False
    return _beside(place)(END_MARKER) is not None


def open_file(place: str, kind: Kind, *, group_by: str | None) -> Source:
    """Open a list or an archive."""
    column = None if group_by == "parent" else group_by
    if kind is Kind.STANDARD_INPUT:
        return _listed("standard input", _without_columns(standard_input(), column, place), os.getcwd(), group_by)
    file = _file(place)
    if kind is Kind.TAR:
        tree = TarTree(file, group_column=column)
        _refuse_unknown(column, tree, file.uri)
        return TreeSource(tree, group_by=group_by)
    if kind is Kind.ZIP:
        return _open_zip(file, group_by=group_by)
    if kind is Kind.PARQUET and has_image_column(file):
        return ParquetSource(file, group_by=group_by)
    if kind is Kind.PATHS:
        with file.open() as opened:
            metadata = _without_columns(read_paths(opened, file.uri), column, place)
    else:
        metadata = read_list(file, group_column=column)
    return _listed(file.uri, metadata, _folder_of(file), group_by)


def open_folder(place: str, *, group_by: str | None, leave_out: Path | None) -> Source:
    """Open a folder of images; where it holds none, the archives below it."""
    column = None if group_by == "parent" else group_by
    found = find_metadata(_beside(place), place)
    stamp = "" if found is None else found.stamp()
    metadata = None if found is None else read_metadata(found, group_column=column)
    listed = set() if metadata is None else set(metadata.file_names.to_pylist())
    if is_remote(place):
        tree: BucketTree | FolderTree = BucketTree(*remote(place), listed)
    else:
        tree = FolderTree(local_path(place), listed, leave_out=leave_out)
    if found is not None and found.stamp() != stamp:  # it grew: images that came meanwhile are described by now
        metadata = read_metadata(found, group_column=column)
    archives = [] if len(tree) else list(_archives(place, leave_out))
    if archives:
        opened = [(name, open_file(uri, kind, group_by=group_by)) for name, uri, kind in archives]
        return SeveralSources(tree.uri, opened, group_by=group_by)
    if metadata is None:
        _refuse_column(column, place)
    return TreeSource(tree, metadata, group_by=group_by)


def _open_zip(file: Place, *, group_by: str | None) -> Source:
    tree = ZipTree(file)
    column = None if group_by == "parent" else group_by
    found = find_metadata(tree.member, file.uri)
    if found is None:
        _refuse_column(column, file.uri)
        return TreeSource(tree, group_by=group_by)
    metadata = read_metadata(found, group_column=column)
    tree.n_ignored -= 1  # the metadata file
    there = frozenset(tree.names(0, len(tree)))
    absent = [name for name in metadata.file_names.to_pylist() if name not in there]
    return TreeSource(WithAbsent(tree, absent), metadata, group_by=group_by)


def _listed(uri: str, metadata: Metadata, base: str, group_by: str | None) -> Source:
    return TreeSource(ListTree(uri, metadata, base=base), metadata, group_by=group_by)


def _refuse_unknown(column: str | None, tree: TarTree, place: str) -> None:
    """Refuse to group by a column that none of the first images has: it is misspelt, more likely than rare."""
    if column is None or not len(tree):
        return
    told = (file.told for file in tree.read(range(min(len(tree), FIRST_IMAGES))))
    if not any(each is not None and each.group is not None for each in told):
        raise UsageError(f"--group-by {column}: no .json beside the first images of {place} has it; use 'parent'")


def _refuse_column(column: str | None, place: str) -> None:
    if column is not None:
        raise UsageError(f"--group-by {column}: {place} has no metadata file; use 'parent' or add one of {NAMES}")


def _without_columns(metadata: Metadata, column: str | None, place: str) -> Metadata:
    if column is not None:
        raise UsageError(f"--group-by {column}: {place} is a plain list of paths; use 'parent', or give a .csv")
    return metadata


def _is_folder(place: str) -> bool:
    if is_remote(place):
        filesystem, path = remote(place)
        try:
            return bool(filesystem.isdir(path)) or place.endswith("/")
        except Exception as error:  # every backend of fsspec raises its own
            raise SourceError(f"{place}: cannot be reached: {error}; check the name and your credentials") from error
    path = local_path(place)
    if not path.exists():
        raise SourceError(f"{place}: no such file or folder")
    return path.is_dir()


def _file(place: str) -> Place:
    return RemoteFile(*remote(place)) if is_remote(place) else LocalFile(local_path(place))


def _folder_of(file: Place) -> str:
    return posixpath.dirname(file.uri) if is_remote(file.uri) else str(Path(file.uri).parent)


def _beside(place: str) -> Callable[[str], Place | None]:
    """What finds a file of a folder by its name."""
    return partial(_remote_member, *remote(place)) if is_remote(place) else partial(_local_member, local_path(place))


def _local_member(folder: Path, name: str) -> Place | None:
    return LocalFile(folder / name) if (folder / name).is_file() else None


def _remote_member(filesystem: Any, folder: str, name: str) -> Place | None:
    path = f"{folder.rstrip('/')}/{name}"
    return RemoteFile(filesystem, path) if filesystem.isfile(path) else None


def _archives(place: str, leave_out: Path | None) -> Iterator[tuple[str, str, Kind]]:
    """Name below the folder, place and kind of every archive in it."""
    if is_remote(place):
        filesystem, root = remote(place)
        names = (name for name, _ in walk_remote(filesystem, root.rstrip("/")))
        root = filesystem.unstrip_protocol(root)
    else:
        root = os.path.abspath(local_path(place))
        left_out = None if leave_out is None else os.fsencode(os.path.abspath(leave_out))
        names = map(os.fsdecode, walk(os.fsencode(root), leave_out=left_out))
    for name in names:
        kind = _kind_of_name(name)
        if kind in ARCHIVES:
            yield name, posixpath.join(root, name), kind


def _kind_of_name(name: str) -> Kind | None:
    kinds = (kind for kind in Kind if kind not in {Kind.FOLDER, Kind.STANDARD_INPUT})
    return next((kind for kind in kinds if re.search(kind.value, name, re.IGNORECASE)), None)
