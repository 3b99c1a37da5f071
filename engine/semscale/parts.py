"""One Parquet file, made block by block, by a run that may be stopped at any moment and go on.

    pairs.parquet                           the result: whole, or not there
    .pairs.parquet.work/state.json          what is being made; anything else is refused
    .pairs.parquet.work/block-00007.parquet a finished block
    .pairs.parquet.work/.lock               held while a run writes here

Blocks are finished in rising order; a block that was cut off is made again. The folder goes when the result is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from semscale.errors import StoreError, UsageError
from semscale.files import discard, explaining, open_new, remove, replace, replacing
from semscale.locks import exclusive

State = Mapping[str, str | int | float | None]


class Parts:
    """The finished blocks of a result."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def done(self) -> int:
        """Blocks that are finished, from the first on without a gap."""
        return next(number for number in range(len(self._files()) + 1) if not self._file(number).exists())

    def rows(self) -> int:
        """Rows of the finished blocks; reads footers alone."""
        total = 0
        for file in map(self._file, range(self.done)):
            with _reading(file):
                total += pq.read_metadata(file).num_rows
        return total

    def write(self, number: int, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        """Write a block, a row group for each table that holds something; it is there when all of it is."""
        _write(self._file(number), (table for table in tables if len(table)), schema)

    def merge(self, out: Path, schema: pa.Schema, finished: Callable[[pa.Table], pa.Table]) -> None:
        """Write all blocks into `out`, each row group as `finished` makes it, one at a time."""
        _write(out, (finished(table) for table in self._tables()), schema)

    def clear(self) -> None:
        """Remove everything; the state last, so that what a crash leaves is still known."""
        for file in reversed(self._files()):
            discard(file)
        discard(self._folder / "state.json")

    def _tables(self) -> Iterator[pa.Table]:
        for file in map(self._file, range(self.done)):
            with _reading(file), pq.ParquetFile(file) as block:
                groups = block.num_row_groups
            for group in range(groups):
                with _reading(file), pq.ParquetFile(file) as block:
                    table = block.read_row_group(group)
                yield table

    def _file(self, number: int) -> Path:
        return self._folder / f"block-{number:05d}.parquet"

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("block-*.parquet"))


@contextmanager
def resumable(out: Path, state: State) -> Iterator[Parts]:
    """Give the blocks of `out` that an earlier run finished; what is left of them is removed when the block ends well.

    `state` says what is being made. Raises UsageError, naming the differences, where blocks of something else are in
    the way, StoreLockedError where another run makes the same file, and StoreError where nothing can be written.
    """
    folder = out.with_name(f".{out.name}.work")
    with exclusive(folder):
        parts = Parts(folder)
        _claim(folder, parts, state)
        complete = False
        try:
            yield parts
            complete = True
        finally:
            if complete or not parts.done:
                parts.clear()
                with explaining(folder):
                    remove(folder / ".lock")  # while it is held: whoever comes now makes another
                with suppress(OSError):  # somebody has come
                    folder.rmdir()


def _claim(folder: Path, parts: Parts, state: State) -> None:
    """Say in the folder what is made there. Raises UsageError where that is something else."""
    file = folder / "state.json"
    text = json.dumps(state, indent=2) + "\n"
    if file.exists() and parts.done:
        begun = _read(file)
        differing = [name for name in state if begun.get(name) != state[name]]
        if differing:
            told = "; ".join(f"{name} {_shown(begun.get(name))}, now {_shown(state[name])}" for name in differing)
            raise UsageError(
                f"{folder}: holds {parts.done} finished blocks of another run ({told}); repeat that run, choose "
                f"another -o, or delete this folder to begin anew"
            )
        return
    parts.clear()
    replace(file, text.encode())


def _read(file: Path) -> State:
    try:
        begun = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: cannot be read ({error}); delete the folder to begin anew") from error
    return begun if isinstance(begun, dict) else {}


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{file}: cannot be read ({error}); delete it, and run again") from error


def _shown(value: object) -> str:
    """A value as a message shows it: a digest by its beginning."""
    return value[:12] if isinstance(value, str) else str(value)


def _write(path: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> None:
    with (
        replacing(path) as temporary,
        open_new(temporary) as file,
        pq.ParquetWriter(file, schema) as writer,
    ):
        for table in tables:
            writer.write_table(table)
