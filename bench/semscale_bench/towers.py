"""The image tower that cases run: exported once a process, opened on the back end that was asked for, and gated."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from semscale import run
from semscale.checked import open_checked
from semscale.encoders import BACK_ENDS, load_spec
from semscale.filling import Place, place
from semscale.gpu import device_for
from semscale.model import Encoder
from semscale.options import Options
from semscale.pixels import Device
from semscale.settings import Settings
from semscale_bench.plan import Plan
from semscale_bench.random_clip import SHAPES
from semscale_bench.subjects import RANDOM, exported

_open = ExitStack()
atexit.register(_open.close)


@dataclass(frozen=True, slots=True)
class Tower:
    """An open image tower."""

    model: Path  # the exported folder
    encoder: Encoder
    backend: str
    precision: str
    weights: str  # "random" or "given"
    batch_size: int
    device: Device

    @property
    def name(self) -> str:
        """Back end and precision."""
        return f"{self.backend} {self.precision}"

    @property
    def shares_cores(self) -> bool:
        """Whether the encoder computes on the same cores as the threads that decode."""
        return self.backend in {"onnx", "openvino", "torch", "fake"}


@cache
def exported_folder(model: str) -> Path:
    """The exported folder of a shape with random weights, or of any model that `score` takes; export it if need be.

    What has random weights is removed when this process ends. Raises what the export does.
    """
    if model in SHAPES:
        return _open.enter_context(exported(model))
    return run.prepared(Options(model=model))


def place_of(plan: Plan, model: Path) -> Place:
    """What runs an exported model here, as the plan says. Raises UsageError for what no back end has."""
    return place(model, Options(model=str(model), backend=plan.backend, precision=plan.precision), model)


@contextmanager
def open_tower(plan: Plan) -> Iterator[Tower]:
    """Open the image tower of the plan's model on its back end, as a run does: compared with float32.

    Raises SemscaleError where it cannot be exported or opened, or is too far from float32.
    """
    model = exported_folder(plan.model)
    chosen = place_of(plan, model)
    encoder, _ = open_checked(model / "image", backend=chosen.backend, precision=chosen.precision)
    try:
        weights = "random" if load_spec(model / "image").note == RANDOM else "given"
        size = max(plan.batch_sizes, default=BACK_ENDS[chosen.backend].batch_size)
        device = device_for(encoder.spec, chosen.backend, decode="exact", settings=Settings())
        yield Tower(model, encoder, chosen.backend, chosen.precision, weights, size, device)
    finally:
        encoder.close()
