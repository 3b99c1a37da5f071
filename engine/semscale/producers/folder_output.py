"""Images as files: `<model>/<prompt>/<seed>.png`, described by one `metadata.jsonl`.

    metadata.jsonl     a line an image: the table that `score` reads
    pairs.csv          of edits: source and edited, for `score --pairs`
    _sources/...       of edits: the images that were edited, as the model saw them
    failures.jsonl     what could not be made
    _SUCCESS           at the end

An image is written under a temporary name, its line of metadata appended, and then it gets its name, each flushed to
the disk before the next. So at every moment each image has its line, which says its prompt and seed; a line without an
image is of a run that was killed in between, or of an image that was deleted, and the next run drops it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from semscale.errors import UsageError
from semscale.files import discard, replace, replacing, sweep
from semscale.producers.failures import append
from semscale.producers.outputs import Survey, refuse_strangers
from semscale.producers.pictures import FORMATS, Format, format_named, write_image
from semscale.producers.work import Made, fits, row_of, source_row

METADATA, PAIRS = "metadata.jsonl", "pairs.csv"
_KEYS, _TEXTS = ("source", "file_name"), ("source_text", "text")  # of metadata, for the columns of pairs.csv
_NEEDED = ("file_name", "text", "model")


class FolderOutput:
    """A folder of images and the table that describes them; `form` is "png" or "jpeg"."""

    holds_sources = True

    def __init__(self, folder: str | Path, form: str = "png") -> None:
        self.folder = Path(folder)
        self.form: Format = format_named(form)
        self._sources: set[str] = set()  # that are written

    def survey(self) -> Survey:
        """Read the metadata; an image counts where it has a line and a file that is not empty."""
        refuse_strangers(self.folder, ("metadata.csv", "metadata.parquet", "*.tar"), "folder of images")
        files = list(self.folder.glob(f"*/*/*{self.form.suffix}"))  # first, for another process may be adding
        found = Survey()
        for row in self._rows():
            found.add(row)
        names = ((path, path.relative_to(self.folder).as_posix()) for path in files)
        found.undescribed = {name for path, name in names if name not in found.names and _holds_something(path)}
        return found

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Drop lines without an image and files half written; in the end, write pairs.csv where there are edits."""
        for label in (path for path in self.folder.iterdir() if path.is_dir()):
            sweep(label)
        self._mend()
        yield
        self._write_pairs()

    def add(self, made: Sequence[Made], generator: Mapping[str, str]) -> None:
        """Write images and their lines. Raises StoreError."""
        files = list(self._new_sources(made))
        for each in made:
            name = each.task.stem + self.form.suffix
            row = row_of(each, name, {**generator, "format": self.form.described})
            files.append((name, each.image, self.form, row))
        if not files:
            return
        with ExitStack() as renamed:
            for name, image, form, _ in reversed(files):  # renamed in order, so that a run cut here has the first
                write_image(image, renamed.enter_context(replacing(self.folder / name)), form)
            append(self.folder / METADATA, [row for *_, row in files])

    def _new_sources(self, made: Sequence[Made]) -> Iterator[tuple[str, Image.Image, Format, dict[str, Any]]]:
        for each in made:
            name = each.task.planned.source_name
            if each.source is not None and name is not None and name not in self._sources:
                self._sources.add(name)
                yield name, each.source, FORMATS["png"], source_row(name, each.source)

    def _mend(self) -> None:
        path = self.folder / METADATA
        if not path.exists():
            return
        kept = 0
        for line, row in self._lines():
            kept += len(line)
            if row.get("generator") is None:
                self._sources.add(row["file_name"])
        if kept == 0:
            discard(path)
        elif kept != path.stat().st_size:
            with replacing(path) as temporary, temporary.open("wb") as file:
                file.writelines(line for line, _ in self._lines())

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """The lines of images that are there, each once, and what they say."""
        path = self.folder / METADATA
        met: set[str] = set()
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):  # cut by a crash
                    return
                if not line.strip():
                    continue
                row = _parsed(line, f"{path}: line {number}")
                name = row["file_name"]
                if name not in met and _holds_something(self.folder / name):
                    met.add(name)
                    yield line, row

    def _rows(self) -> Iterator[dict[str, Any]]:
        return (row for _, row in self._lines()) if (self.folder / METADATA).exists() else iter(())

    def _write_pairs(self) -> None:
        edits = [row for row in self._rows() if row.get("source")]
        if not edits:
            discard(self.folder / PAIRS)
            return
        has_texts = all(row["source_text"] and row["text"] for row in edits)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["source", "edited", *(["source_text", "edited_text"] if has_texts else [])])
        table.writerows([row[name] for name in (_KEYS + _TEXTS if has_texts else _KEYS)] for row in edits)
        replace(self.folder / PAIRS, text.getvalue().encode())


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}; mend it, or choose another -o") from error
    if not isinstance(row, dict) or any(name not in row for name in _NEEDED):
        raise UsageError(f"{where} was not written by `semscale generate`; choose another -o")
    if not fits(row):
        raise UsageError(
            f"{where}: {row['file_name']!r} is not the name of an image of the model, text, negative prompt and seed "
            "that it says; put them back, or delete the line, and the image is made again"
        )
    return row


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
