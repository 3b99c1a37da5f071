"""Where images come from: `open_source(uri)` gives a Source."""

from __future__ import annotations

from pathlib import Path

from semscale.errors import SourceError
from semscale.model import Source
from semscale.sources.folder import FolderSource

__all__ = ["open_source"]


def open_source(uri: str | Path, *, group_by: str | None = None) -> Source:
    """Open a folder of images.

    `group_by` is None (the text of an image where there is one, else its parent folder), "parent", or a column
    of the folder's metadata file. Raises SourceError when the folder is missing, is no folder, or holds no image.
    """
    path = Path(uri)
    if not path.exists():
        raise SourceError(f"{uri}: no such folder")
    if not path.is_dir():
        raise SourceError(f"{uri}: not a folder; give the folder that holds the images")
    return FolderSource(path, group_by=group_by)
