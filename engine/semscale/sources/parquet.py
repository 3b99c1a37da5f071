"""Images in the rows of a Parquet file, as Hugging Face datasets write them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semscale.errors import InputError, SourceError
from semscale.model import Failure, Sample
from semscale.sources.folder import read_file
from semscale.sources.members import MAX_FILE_BYTES, RETRY, is_damage, member_uri, open_listed, text_uri, unreadable
from semscale.sources.parquet_columns import choose_columns, image_columns, told_in, value_of
from semscale.sources.places import LocalFile, Place, digest
from semscale.sources.trees import Told

BATCH = 16  # rows held at once; images are big
BUFFER_BYTES = 1 << 20  # read at once from each column
READ_ERRORS = (pa.ArrowException, OSError)


def has_image_column(place: Place) -> bool:
    """Whether a Parquet file holds images, and not only their paths. Raises SourceError when it is no Parquet."""
    with _opened(place) as (_, parquet):
        return bool(image_columns(parquet.schema_arrow))


class ParquetSource:
    """The images in one column of a Parquet file; a key is the number of a row, counted from 0.

    The columns `text`, `prompt` and `caption`, of which the first that is not blank counts, `model` and `seed` describe
    an image. `group_by` names the column to group by; else it is the text, `.` where there is none or for "parent".
    An image that is only a path is read from this machine, as Hugging Face datasets do, relative paths from the file's
    folder; that file is not part of the fingerprint.

    Raises SourceError when the file cannot be read, is no Parquet, or does not say which column holds the images;
    UsageError when there is no column `group_by`.
    """

    layout = "Parquet rows"
    n_ignored = 0
    n_strays = 0

    def __init__(self, place: Place, *, group_by: str | None = None) -> None:
        self._place = place
        self.uri = text_uri(place)
        self._stamp = place.stamp()
        self._parent = group_by == "parent"
        with _opened(place) as (file, parquet):
            self._columns = choose_columns(parquet.schema_arrow, self.uri, group_by=None if self._parent else group_by)
            self._starts = _row_groups(parquet.metadata, file.seek(0, os.SEEK_END), self.uri)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def keys(self, start: int, stop: int) -> list[str]:
        """Numbers of rows."""
        return [str(row) for row in range(start, min(stop, len(self)))]

    def uris(self, start: int, stop: int) -> list[str]:
        """`file#row`."""
        return [self._uri(row) for row in range(start, min(stop, len(self)))]

    def fingerprint(self, index: int) -> str:
        """Of the whole file, and the number of the row."""
        return digest(self._stamp, index)

    def read(self, indices: Iterable[int]) -> Iterator[Sample | Failure]:
        """Each row, or why it gives no image; rising indices go through each row group once."""
        with contextlib.closing(_Cursor(self._place, self._stamp, self._columns.names, self._starts)) as cursor:
            for index in indices:
                yield self._item(index, cursor)

    def _item(self, index: int, cursor: _Cursor) -> Sample | Failure:
        key, uri, stamp = str(index), self._uri(index), digest(self._stamp, index)
        told = Told()
        try:
            cells = cursor.row(index)
            told = told_in(cells, self._columns, index)
            image = self._image(cells[self._columns.image], index)
        except InputError as error:
            said = (self._group(told), told.text, told.model, told.seed)
            return Failure(key, uri, error.code, error.message, *said, "" if error.code in RETRY else stamp)
        return Sample(key, uri, image, self._group(told), told.text, told.model, told.seed, stamp)

    def _group(self, told: Told) -> str:
        return "." if self._parent or told.group is None else told.group

    def _uri(self, row: int) -> str:
        return member_uri(self.uri, str(row).encode())

    def _image(self, cell: pa.Scalar, row: int) -> bytes:
        path = None
        if isinstance(cell, pa.StructScalar):
            path = value_of(cell["path"], f"row {row}, the image's path") if "path" in cell else None
            cell = cell["bytes"]
        image: bytes | None = value_of(cell, f"row {row}, the image")
        if image is None:
            return self._beside(path, row)
        if len(image) > MAX_FILE_BYTES:
            raise InputError("too-large", f"row {row}: the image is {len(image)} bytes, over {MAX_FILE_BYTES}")
        return image

    def _beside(self, path: str | None, row: int) -> bytes:
        """The image file that a row names instead of holding it."""
        if path is None:
            raise InputError("missing", f"row {row} has no image; write it, or leave the row out")
        if not isinstance(self._place, LocalFile):
            raise InputError("missing", f"row {row} has the path {path!r:.200} and no image; write the bytes into it")
        data = read_file(os.path.join(os.fsencode(os.path.abspath(self._place.path.parent)), os.fsencode(path))).data
        if isinstance(data, InputError):
            raise InputError(data.code, f"row {row}, {path!r:.200}: {data.message}")
        return data


class _Cursor:
    """Goes through the rows of a Parquet file a few at a time, and through a row group once for rising rows."""

    def __init__(self, place: Place, stamp: str, names: list[str], starts: np.ndarray) -> None:
        self._place, self._stamp, self._names, self._starts = place, stamp, names, starts
        self._file: BinaryIO | None = None
        self._parquet: pq.ParquetFile | None = None
        self._leave()

    def row(self, row: int) -> dict[str, pa.Scalar]:
        """The cells of one row. Raises InputError: `changed`, `unreadable`, `broken-archive`."""
        if not self._first <= row < self._group_stop:
            self._enter(int(np.searchsorted(self._starts, row, side="right")) - 1)
        while row >= self._first + self._batch.num_rows:
            self._advance()
        return {name: self._batch.column(name)[row - self._first] for name in self._names}

    def close(self) -> None:
        """Close the file where it is open."""
        self._leave()
        self._parquet = None
        if self._file is not None:
            self._file.close()
        self._file = None

    def _leave(self) -> None:
        self._first = self._group_stop = 0  # the first row of the batch, and the first of the next group
        self._batch = pa.RecordBatch.from_pylist([])
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._problem: InputError | None = None

    def _enter(self, group: int) -> None:
        self._leave()
        parquet = self._open()
        self._first, self._group_stop = int(self._starts[group]), int(self._starts[group + 1])
        self._batches = parquet.iter_batches(BATCH, row_groups=[group], columns=self._names, use_threads=False)

    def _open(self) -> pq.ParquetFile:
        if self._parquet is None:
            self._file = open_listed(self._place, self._stamp)
            try:
                self._parquet = _parquet_file(self._file)
            except READ_ERRORS as error:
                self.close()
                raise _reason(error) from error
        return self._parquet

    def _advance(self) -> None:
        """The next batch of the row group; once one is damaged, those after it cannot be found."""
        if self._problem is not None:
            raise self._problem
        first = self._first + self._batch.num_rows
        try:
            batch = next(self._batches, None)
        except READ_ERRORS as error:
            problem = _reason(error)
            if problem.code in RETRY:
                self.close()  # and try again for the next row
            else:
                self._problem = problem
            raise problem from error
        if batch is None:
            self._problem = InputError("broken-archive", "the row group holds fewer rows than it says; write it again")
            raise self._problem
        self._first, self._batch = first, batch


@contextlib.contextmanager
def _opened(place: Place) -> Iterator[tuple[BinaryIO, pq.ParquetFile]]:
    """A file, and the Parquet in it, to look at. Raises SourceError when it cannot be read or is none."""
    where = text_uri(place)
    try:
        with contextlib.closing(place.open()) as file:
            yield file, _parquet_file(file)
    except (pa.ArrowException, UnicodeError) as error:
        raise SourceError(f"{where}: not a Parquet file, or damaged: {error}; copy or write it again") from error
    except OSError as error:
        raise SourceError(f"{where}: cannot be read: {error.strerror or error}; copy or write it again") from error


def _parquet_file(file: BinaryIO) -> pq.ParquetFile:
    return pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)


def _row_groups(metadata: pq.FileMetaData, file_bytes: int, where: str) -> np.ndarray:
    """(G + 1,) int64: the first row of each row group, and one past the last row.

    Raises SourceError where the counts of rows contradict each other or the size of the file, for rows that are made up
    would each become a failure. pyarrow's description of single columns is not asked: where it is damaged, the process
    is aborted.
    """
    counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if min(counts, default=0) < 0 or sum(counts) != metadata.num_rows or metadata.num_rows > file_bytes:
        raise SourceError(f"{where}: its counts of rows cannot be right; copy or write it again")
    return np.cumsum([0, *counts], dtype=np.int64)


def _reason(error: Exception) -> InputError:
    if isinstance(error, OSError) and not is_damage(error):
        return unreadable(error)
    return InputError("broken-archive", f"the row group cannot be read: {error}; copy or write the file again")
