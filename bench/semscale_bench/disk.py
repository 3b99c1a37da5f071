"""The disk's roof: one file written and flushed, then read after the page cache was asked to let go of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

FILE, CHUNK = 1 << 28, 1 << 22  # bytes of the file, and of one call
COLD = 0.9  # of the file read from the device itself, from which on a read counts as cold
_ACCOUNT = Path("/proc/self/io")  # Linux


class Disk:
    """A file that is written and read over and over. Which of its reads were cold, Linux tells."""

    def __init__(self, path: Path) -> None:
        """Make the random bytes of a chunk, which no file system can compress, and write the file once."""
        self._path = path
        self._chunk = np.random.default_rng(0).bytes(CHUNK)
        self._from_device: list[float] = []  # share of each read
        self.write()

    def write(self) -> int:
        """Write the file anew and flush it to disk; its bytes."""
        with self._path.open("wb", buffering=0) as file:
            for _ in range(FILE // CHUNK):
                file.write(self._chunk)
            os.fsync(file.fileno())
            self._forget(file.fileno())
        return FILE

    def read(self) -> int:
        """Read the file from end to end; its bytes. Raises AssertionError where they are others than were written."""
        before, room = _read_from_devices(), bytearray(CHUNK)
        with self._path.open("rb", buffering=0) as file:
            for _ in range(FILE // CHUNK):
                assert file.readinto(room) == CHUNK, f"{self._path.name}: a short read"
            self._forget(file.fileno())
        assert room == self._chunk, f"{self._path.name}: not what was written"
        after = _read_from_devices()
        if before is not None and after is not None:
            self._from_device.append((after - before) / FILE)
        return FILE

    @property
    def reads(self) -> str:
        """Where reads came from, in words."""
        if not self._from_device:
            return "from the page cache or the disk: this system does not tell"
        cold = sum(share >= COLD for share in self._from_device)
        if cold == len(self._from_device):
            return "cold, from the disk"
        if not cold:
            return "warm: the page cache did not let go of the file, so that this is no roof of the disk"
        return f"cold in {cold} of {len(self._from_device)} reads"

    def _forget(self, descriptor: int) -> None:
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _read_from_devices() -> int | None:
    """Bytes that this process made devices read so far; None where nobody counts."""
    try:
        lines = _ACCOUNT.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))
