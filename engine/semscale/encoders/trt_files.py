"""TensorRT engines on disk, and what each is good for: the file contract between the builder and the runtime.

    image/tensorrt/fp16/graph-1/model.onnx        the graph that TensorRT is given; 1 is the recipe
    image/tensorrt/fp16/tensorrt_rtx.json         an EngineRecord: the key, and the name and hash of the engine
    image/tensorrt/fp16/tensorrt_rtx-0f3a.engine  the serialised engine, named after its key

An engine for one GPU has that GPU in its name (`tensorrt-NVIDIA-H200`), so that machines may share the folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.encoders.trt_driver import ANY_GPU, Gpu
from semscale.errors import ModelError, UsageError

FOLDER = "tensorrt"
FORMAT = 1
RECIPE = 1  # raise it when a graph or the builder's settings change, so that older engines are built again
PRECISIONS = ("fp16", "fp32")  # the default first
REBUILD = "build it again: semscale export MODEL -o DIR --tensorrt"


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes that an engine takes in one regime, and the one it is tuned for."""

    low: int
    best: int
    high: int


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything an engine depends on. Another value anywhere means another engine."""

    onnx: str  # SHA-256 of the graph with its weights
    flavour: str  # "tensorrt" or "tensorrt_rtx"
    version: str  # of it, in full
    gpu: Gpu  # ANY_GPU for a portable engine
    recipe: int
    precision: str
    profiles: tuple[Profile, ...]
    flags: tuple[str, ...]  # builder settings

    def digest(self) -> str:
        """Hexadecimal SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()

    def differences(self, older: EngineKey) -> str:
        """Say in words what changed since `older`, "" when nothing did."""
        now, then = dataclasses.asdict(self), dataclasses.asdict(older)
        changed = [name for name in now if now[name] != then[name]]
        return ", ".join(f"{name} is {_short(now[name])}, was {_short(then[name])}" for name in changed)


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """An engine that was built: the content of its `.json`."""

    key: EngineKey
    file: str  # name of the engine beside the record
    sha256: str  # of the engine

    def to_json(self) -> str:
        """Return the text of the record."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: Path) -> EngineRecord:
        """Read a record; `where` names the file in errors. Raises ModelError when it is none of this version."""
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise ModelError(f"{where}: made by another version of semscale; {REBUILD}")
            return cls(**{**values, "key": _key(values["key"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{where}: not the record of an engine ({error!r}); {REBUILD}") from error


def _key(values: dict[str, Any]) -> EngineKey:
    profiles = tuple(Profile(**profile) for profile in values["profiles"])
    gpu, flags = Gpu(**values["gpu"]), tuple(values["flags"])
    return EngineKey(**{**values, "gpu": gpu, "profiles": profiles, "flags": flags})


def precision_folder(tower: Path, precision: str) -> Path:
    """Where the engines of one precision lie, for the tower in `tower`. Raises UsageError for another precision."""
    if precision not in PRECISIONS:
        raise UsageError(f"back end 'tensorrt' computes in one of {list(PRECISIONS)}, not in {precision!r}")
    return tower / FOLDER / precision


def graph_file(folder: Path) -> Path:
    """The graph in a precision's folder."""
    return folder / f"graph-{RECIPE}" / "model.onnx"


def record_file(folder: Path, flavour: str, gpu: Gpu) -> Path:
    """The record of the engine for this library and GPU in a precision's folder."""
    name = flavour if gpu == ANY_GPU else f"{flavour}-{gpu.name}"
    return folder / (re.sub(r"[^A-Za-z0-9_.]+", "-", name) + ".json")


def read_record(path: Path) -> EngineRecord | None:
    """Read a record; None when there is none. Raises ModelError when it is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); {REBUILD}") from error
    return EngineRecord.from_json(text, where=path)


def read_engine(path: Path, record: EngineRecord) -> bytes:
    """Read the engine of the record at `path`. Raises ModelError, naming the file, unless it is whole."""
    file = path.with_name(record.file)
    try:
        engine = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); {REBUILD}") from error
    if hashlib.sha256(engine).hexdigest() != record.sha256:
        raise ModelError(f"{file}: damaged, its {len(engine)} bytes are not those that were built; {REBUILD}")
    return engine


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values())
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text
