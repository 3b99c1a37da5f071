"""Encoders that passed the numeric gate: opened, compared with float32 once, and the outcome kept beside the model.

    MODEL/image/parity-<back end>-<precision>.json     {"format", "key", "comparison"}

The key names everything the outcome depends on. A record of another key, of other limits, or one that cannot be read
is worth nothing: the encoder is compared again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import semscale
from semscale import files
from semscale.encoders import BACK_ENDS, open_encoder, trt_library
from semscale.encoders.trt_driver import driver_problem, find_gpu
from semscale.encoders.trt_files import FOLDER
from semscale.errors import ModelError, StoreError
from semscale.gate import Comparison, Limits, Probes, check_encoder, embed, limits_of, probes_of
from semscale.model import Array, Encoder
from semscale.producers import probes
from semscale.provenance import cpu_name

FORMAT = 1
REFERENCE = ("onnx", "fp32")  # proved equal to torch float32 when the model was exported
ON_CPU = ("onnx", "openvino")
WITHOUT_MODEL = "fake"  # its embeddings mean nothing, and there is nothing to compare them with


@dataclass(frozen=True, slots=True)
class Key:
    """Everything a comparison depends on; where one of them is another, the record no longer holds."""

    model: str  # SHA-256 of the files that it runs, and of the model they were made from
    backend: str
    library: str  # version of the back end's library
    precision: str
    probes: str  # their version and number
    machine: str  # the processor, or GPU, decides which instructions a library takes
    semscale: str  # version


@dataclass(frozen=True, slots=True)
class Reference:
    """The probes of a tower, and what float32 makes of them."""

    folder: Path
    inputs: Probes
    rows: Array  # (N, D) float32


def open_checked(
    folder: Path, *, backend: str, precision: str, threads: int | None = None
) -> tuple[Encoder, Comparison | None]:
    """Open the tower in `folder`, and return it with how far it is from float32; None for float32 itself.

    Compares on the first call, which takes seconds to minutes, and reads the record afterwards. Raises ParityError,
    which says what to do, when it does not pass; otherwise as `open_encoder`.
    """
    encoder = open_encoder(folder, backend=backend, precision=precision, threads=threads)
    if backend == WITHOUT_MODEL or (backend, precision) == REFERENCE:
        return encoder, None
    try:
        comparison = checked(folder, encoder, backend=backend, precision=precision, threads=threads)
        comparison.raise_if_failed()
    except BaseException:
        encoder.close()
        raise
    return encoder, comparison


def checked(folder: Path, encoder: Encoder, *, backend: str, precision: str, threads: int | None = None) -> Comparison:
    """Read what was found of an open encoder of the tower in `folder`, or compare it with the reference there now."""
    known = recorded(folder, key_of(folder, backend=backend, precision=precision))
    if known is not None:
        return known
    return measured(reference_of(folder, threads=threads), encoder, backend=backend, precision=precision)


def reference_of(folder: Path, *, threads: int | None = None) -> Reference:
    """Embed the probes with the reference of the tower in `folder`. Raises as `open_encoder`."""
    encoder = open_encoder(folder, backend=REFERENCE[0], precision=REFERENCE[1], threads=threads)
    try:
        inputs = probes_of(folder)
        return Reference(folder, inputs, embed(encoder, inputs.inputs))
    finally:
        encoder.close()


def measured(reference: Reference, encoder: Encoder, *, backend: str, precision: str) -> Comparison:
    """Compare an open encoder with the reference of its tower, and record what was found beside the model."""
    key = key_of(reference.folder, backend=backend, precision=precision, count=len(reference.rows))
    found = check_encoder(encoder, reference.rows, inputs=reference.inputs, precision=precision)
    named = dataclasses.replace(
        found,
        candidate=f"{backend} {precision}",
        reference=" ".join(REFERENCE),
        versions={REFERENCE[0]: library_version(REFERENCE[0]), backend: key.library},
    )
    with suppress(StoreError):  # a model that others own may not be writable: then it is compared in every run
        record(reference.folder, key, named)
    return named


def key_of(folder: Path, *, backend: str, precision: str, count: int = probes.COUNT) -> Key:
    """Return the key of a comparison of the tower in `folder`. Raises ModelError when there is no model to read."""
    return Key(
        model=_model_sha256(folder, precision),
        backend=backend,
        library=library_version(backend),
        precision=precision,
        probes=f"{probes.VERSION} x {count}",
        machine=_machine(backend),
        semscale=semscale.__version__,
    )


def library_version(backend: str) -> str:
    """Return the version of a back end's library as it is imported, and of both where there are two flavours."""
    package = BACK_ENDS[backend].package
    names = [package] if package else trt_library.installed()
    return ", ".join(str(importlib.import_module(name).__version__) for name in names)


def _machine(backend: str) -> str:
    if backend in ON_CPU or driver_problem():
        return cpu_name()
    gpu = find_gpu()
    return f"{gpu.name}, driver {gpu.driver}"


def recorded(folder: Path, key: Key) -> Comparison | None:
    """Return the comparison in `folder` of this key and today's limits; None for any other, or a damaged one."""
    try:
        values = json.loads(_path(folder, key).read_text(encoding="utf-8"))
        if values["format"] != FORMAT or values["key"] != dataclasses.asdict(key):
            return None
        found = _comparison(values["comparison"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # whatever is wrong with it, comparing again mends it
    return found if found.limits == limits_of(key.precision) else None


def record(folder: Path, key: Key, comparison: Comparison) -> None:
    """Write a comparison beside the model, whole or not at all. Raises StoreError when the folder cannot be written."""
    values = {"format": FORMAT, "key": dataclasses.asdict(key), "comparison": as_json(comparison)}
    files.replace(_path(folder, key), (json.dumps(values, indent=2) + "\n").encode())


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the fields, with null for NaN, and the verdict."""
    plain = dataclasses.asdict(comparison)
    finite = {name: None if value != value else value for name, value in plain.items()}
    return {**finite, "passed": comparison.passed, "reasons": comparison.reasons}


def _comparison(values: dict[str, Any]) -> Comparison:
    fields = {field.name: values[field.name] for field in dataclasses.fields(Comparison)}
    numbers = {name: math.nan if value is None else value for name, value in fields.items()}
    return Comparison(**{**numbers, "limits": Limits(**fields["limits"])})


def _model_sha256(folder: Path, precision: str) -> str:
    model = sorted(folder.glob("model.onnx*"))  # above 2 GB the weights lie in a file of their own
    if not model:
        raise ModelError(f"{folder}: no model.onnx; export the model again")
    made = [*sorted(folder.glob(f"model.{precision}.*onnx")), *sorted((folder / FOLDER / precision).glob("*.json"))]
    digests = [files.sha256(part) for part in (*model, *made) if part.is_file()]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _path(folder: Path, key: Key) -> Path:
    return folder / f"parity-{key.backend}-{key.precision}.json"
