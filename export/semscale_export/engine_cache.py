"""Engines that were built, found again by everything they depend on; whole or absent, under a lock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from semscale.encoders.trt_files import EngineKey, EngineRecord, read_engine, read_record, record_file
from semscale.errors import ModelError
from semscale.files import discard, replace

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CachedEngine:
    """An engine on disk that fits its key."""

    file: Path
    key: EngineKey
    built: bool  # just now; else it was found


def cached_engine(folder: Path, key: EngineKey, build: Callable[[], bytes], *, say: Say) -> CachedEngine:
    """Return the engine for `key` in a precision's folder; build it when there is none, or none that fits and is whole.

    `say` gets the one line that says why, before the build. Needs the lock of `folder`. Raises what `build` does,
    leaving what was there, and StoreError when the engine cannot be written.
    """
    path = record_file(folder, key.flavour, key.gpu)
    reason = _why(path, key)
    if not reason:
        record = read_record(path)
        assert record is not None
        return CachedEngine(folder / record.file, key, built=False)
    say(reason)
    return CachedEngine(_keep(path, key, build()), key, built=True)


def _why(path: Path, key: EngineKey) -> str:
    """Why an engine must be built; "" when the one here will do."""
    try:
        record = read_record(path)
        if record is None:
            return f"{path.parent}: no engine yet; building one with {key.flavour} {key.version}"
        if changed := key.differences(record.key):
            return f"{path}: building the engine again, because {changed}"
        read_engine(path, record)
    except ModelError as error:
        return f"{error}. Doing that now"
    return ""


def _keep(path: Path, key: EngineKey, engine: bytes) -> Path:
    file = path.with_name(f"{path.stem}-{key.digest()[:12]}.engine")
    before = _engine_of(path)
    replace(file, engine)
    record = EngineRecord(key, file.name, hashlib.sha256(engine).hexdigest())
    replace(path, record.to_json().encode())  # last: from here on the new engine counts
    if before is not None and before != file:
        for old in (before, *path.parent.glob(f"{before.name}.*.kernels")):
            discard(old)
    return file


def _engine_of(path: Path) -> Path | None:
    with suppress(ModelError):  # a damaged record names no engine, and is about to be replaced
        record = read_record(path)
        return path.with_name(record.file) if record else None
    return None
