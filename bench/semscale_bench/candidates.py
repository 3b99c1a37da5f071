"""What `semscale bench encoders` measures: each back end in each precision, and torch compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from semscale.checked import ON_CPU, REFERENCE, WITHOUT_MODEL
from semscale.encoders import BACK_ENDS, open_encoder, trt_library
from semscale.encoders.trt_driver import driver_problem
from semscale.model import Encoder
from semscale_bench.subjects import CHECKPOINT


@dataclass(frozen=True, slots=True)
class Candidate:
    """A back end in a precision, or torch compiled."""

    backend: str
    precision: str
    compiled: bool = False

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.backend} {self.precision}" + " compiled" * self.compiled

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
        on_cpu = self.backend in ON_CPU or (self.backend == "torch" and not torch.cuda.is_available())
        return "cpu" if on_cpu else "cuda"


BASELINE = Candidate(*REFERENCE)
RIVAL = Candidate("torch", "fp16", compiled=True)


def candidates(backends: Sequence[str]) -> list[Candidate]:
    """Every precision of the named back ends, or of all but the fake one, in the order of their table."""
    chosen = [name for name in BACK_ENDS if (name in backends if backends else name != WITHOUT_MODEL)]
    found = [Candidate(name, precision) for name in chosen for precision in BACK_ENDS[name].precisions]
    return [*found, RIVAL] if RIVAL.backend in chosen else found


def open_candidate(candidate: Candidate, folder: Path) -> Encoder:
    """Open a candidate on the exported tower in `folder`; builds TensorRT's engines where they can run and are missing.

    Raises as `open_encoder` and `add_engines`.
    """
    if candidate.compiled:
        from semscale_export.reference import TorchEncoder

        return TorchEncoder(folder, precision=candidate.precision, compiled=True)
    if candidate.backend == "tensorrt" and trt_library.installed() and not driver_problem():
        _build(folder.parent, candidate.precision)
    return open_encoder(folder, backend=candidate.backend, precision=candidate.precision)


def _build(exported: Path, precision: str) -> None:
    from semscale_export.checkpoint import find_checkpoint
    from semscale_export.engines import EngineSettings, add_engines

    checkpoint = find_checkpoint(str(exported / CHECKPOINT))
    add_engines(checkpoint, exported, EngineSettings(precision=precision), say=lambda _: None)
