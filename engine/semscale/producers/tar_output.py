"""Images as WebDataset tars: `<model>-00000.tar` of N images each, with a `.txt` and a `.json` beside every image.

A tar is written under a temporary name and renamed when it has all its images, or its model's last. A run that was
killed loses the tar in work and no other; the next begins it again, with the same images, and ends with the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from semscale.errors import UsageError
from semscale.files import explaining, rename, replacing
from semscale.producers.outputs import Survey, refuse_strangers
from semscale.producers.pictures import Format, format_named, write_image
from semscale.producers.slugs import model_folder
from semscale.producers.work import Made, row_of

_SHARD = re.compile(r"(.+)-([0-9]{5,})\.tar")


class TarOutput:
    """Tars of `size` images each, in one folder; `form` is "png" or "jpeg". Raises UsageError for a size below 1."""

    holds_sources = False

    def __init__(self, folder: str | Path, size: int, form: str = "png") -> None:
        if size < 1:
            raise UsageError(f"{size} images a shard; it must be at least 1")
        self.folder, self._size = Path(folder), size
        self.form: Format = format_named(form)
        self._shard: _Shard | None = None

    def survey(self) -> Survey:
        """Read the `.json` members of the tars that are there."""
        refuse_strangers(self.folder, ("metadata.jsonl", "metadata.csv", "metadata.parquet"), "shards")
        found = Survey()
        for path in sorted(self._shards()):
            for row in _rows(path):
                found.add(row)
        return found

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Complete the last tar at the end; where the block raises, what it holds is given up."""
        try:
            yield
            self._finish()
        finally:
            if self._shard is not None:
                self._shard.give_up()

    def add(self, made: Sequence[Made], generator: Mapping[str, str]) -> None:
        """Put images into tars. Raises StoreError."""
        for each in made:
            label = each.task.point.label
            if self._shard is not None and self._shard.label != label:
                self._finish()
            if self._shard is None:
                self._shard = _Shard(self._next(label), label)
            name = each.task.stem + self.form.suffix
            row = row_of(each, name, {**generator, "format": self.form.described})
            self._shard.add(each, row, self.form)
            if self._shard.count == self._size:
                self._finish()

    def _finish(self) -> None:
        if self._shard is not None:
            self._shard.finish()
            self._shard = None

    def _next(self, label: str) -> Path:
        name = model_folder(label)
        numbers = [int(found[2]) for path in self._shards() if (found := _SHARD.fullmatch(path.name))[1] == name]  # type: ignore[index]
        return self.folder / f"{name}-{max(numbers, default=-1) + 1:05}.tar"

    def _shards(self) -> list[Path]:
        return [path for path in self.folder.glob("*.tar") if _SHARD.fullmatch(path.name)]


class _Shard:
    """A tar that is being written."""

    def __init__(self, path: Path, label: str) -> None:
        self.label, self.count = label, 0
        self._path = path
        self._unfinished = path.with_name(f".unfinished-{path.name}.{os.getpid()}.semscale-tmp")  # as files.sweep finds
        self._closing = ExitStack()
        with explaining(path):
            self._tar = self._closing.enter_context(tarfile.TarFile(self._unfinished, "w"))

    def add(self, made: Made, row: Mapping[str, Any], form: Format) -> None:
        """Append an image, its text, if it has one, and its description."""
        encoded = io.BytesIO()
        write_image(made.image, encoded, form)
        stem = made.task.stem
        self._append(row["file_name"], encoded.getvalue())
        self._append(f"{stem}.txt", row["text"].encode())
        self._append(f"{stem}.json", json.dumps(row, ensure_ascii=False).encode())
        self.count += 1

    def _append(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        with explaining(self._path):
            self._tar.addfile(member, io.BytesIO(data))

    def finish(self) -> None:
        """Give the tar its name, whole."""
        with explaining(self._path):
            self._closing.close()
        with replacing(self._path) as temporary, explaining(self._path, "rename"):
            rename(self._unfinished, temporary)

    def give_up(self) -> None:
        """Remove what there is."""
        with suppress(OSError):  # on a full disk the end of a tar cannot be written either, and that is told already
            self._closing.close()
        self._unfinished.unlink(missing_ok=True)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.name.endswith(".json") and (file := tar.extractfile(member)) is not None:
                    row = json.load(file)
                    yield {"file_name": row["file_name"], "model": row["model"], **row}
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a shard of `semscale generate`: {error}; choose another -o") from error
