"""LPIPS: how different two images look, by what a network trained to tell objects apart makes of them.

An exported folder holds `model.onnx`, two batches of images in and their distances out, and `distance.json`. ONNX
Runtime runs it on the CPU; on a GPU it was never run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from semscale.encoders import graph_sha256
from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.model import Array

FORMAT = 1
GRAPH, SPEC = "model.onnx", "distance.json"
PIXELS = 1 << 18  # of one side's images that run at once: at VGG's width of 64 channels about half a gigabyte
OVERSHOOT = 0.5  # beyond 0..1 that a generator's images may reach; 0..255 and -1..1 go further


class Session(Protocol):
    """What is needed of ONNX Runtime's session."""

    def run(self, output_names: None, input_feed: Mapping[str, Array], /) -> Sequence[Array]:
        """Inputs by name -> every output."""
        ...


@dataclass(frozen=True, slots=True)
class DistanceSpec:
    """The contract between export and engine: `distance.json`, beside the graph."""

    net: str  # the trunk: "alex", "vgg" or "squeeze"
    version: str  # of LPIPS
    trunk_sha256: str  # of the file of the trunk's weights
    heads_sha256: str  # of the file of the heads
    graph: str  # SHA-256 of model.onnx
    smallest_side: int  # of an image, pixels

    def to_json(self) -> str:
        """Return the text of `distance.json`."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> DistanceSpec:
        """Read the text of `distance.json`; `where` names the file in errors.

        Raises ModelError when it is not a specification this version understands.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise ModelError(f"{where}: made by another version of semscale; export the distance again")
            spec = cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{where}: not a distance's specification ({error!r}); export it again") from error
        if not isinstance(spec.smallest_side, int) or not all(isinstance(one, str) for one in (spec.net, spec.graph)):
            raise ModelError(f"{where}: its values are not of the types that semscale writes; export it again")
        return spec


class PairDistance:
    """A distance of two images, by a graph. May be called from several threads."""

    def __init__(self, spec: DistanceSpec, session: Session) -> None:
        """Take a session of the graph that `spec` describes; `open_distance` makes both."""
        self.spec = spec
        self._session = session

    def __call__(self, a: Array, b: Array) -> Array:
        """(B, H, W, 3), (B, H, W, 3) RGB images -> (B,) float64 distances of image i to image i, 0 or more.

        Images are uint8 from 0 to 255, or float32 or float64 from 0 to 1, where a generator's may overshoot a little.
        A pair with a number that is not finite is NaN away. LPIPS (Zhang et al. 2018, arXiv 1801.03924) is symmetric
        and 0 between an image and itself; images are compared at the size they have. Raises UsageError for another
        type or range, for two shapes, and for images smaller than the network can take.
        """
        a, b = np.asarray(a), np.asarray(b)
        self._check(a, b)
        distances = np.empty(len(a))
        step = max(1, PIXELS // (a.shape[1] * a.shape[2]))
        for start in range(0, len(a), step):
            rows = slice(start, start + step)
            left, right = _levels(a[rows]), _levels(b[rows])
            finite = np.isfinite(left).all(axis=(1, 2, 3)) & np.isfinite(right).all(axis=(1, 2, 3))
            # A ReLU makes 0 of NaN, so the graph cannot be relied on to hand it through.
            distances[rows] = np.where(finite, self._session.run(None, {"a": left, "b": right})[0], np.nan)
        return distances

    def _check(self, a: Array, b: Array) -> None:
        if a.shape != b.shape or a.ndim != 4 or a.shape[3] != 3:
            raise UsageError(f"LPIPS compares images of one size, (B, H, W, 3) twice; got {a.shape} and {b.shape}")
        side = self.spec.smallest_side
        if min(a.shape[1:3]) < side:
            raise UsageError(
                f"LPIPS with {self.spec.net} takes images of {side} x {side} pixels or more, not "
                f"{a.shape[1]} x {a.shape[2]}; enlarge them, or choose a net that takes smaller ones"
            )


def open_distance(folder: str | Path, *, threads: int | None = None) -> PairDistance:
    """Open the LPIPS that was exported into `folder`, on `threads` threads (None: every core this process may use).

    Raises ModelError when there is none, or when the graph is not the one that `distance.json` was written for, and
    MissingDependencyError when ONNX Runtime is not installed.
    """
    folder = Path(folder)
    spec = _load_spec(folder / SPEC)
    if graph_sha256(folder / GRAPH) not in {spec.graph, ""}:  # without it, opening says what is missing
        raise ModelError(f"{folder / GRAPH}: not the file that was exported with {SPEC}; export the distance again")
    try:
        from semscale.encoders import ort
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingDependencyError("LPIPS", "onnxruntime", "cpu") from error
    session = ort.new_session(folder / GRAPH, ort.options_for(threads), ort.CPU)
    return PairDistance(spec, cast(Session, session))


def _load_spec(path: Path) -> DistanceSpec:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); give the folder that the distance was exported into"
        ) from error
    return DistanceSpec.from_json(text, where=str(path))


def _levels(images: Array) -> Array:
    """Images as `PairDistance` takes them -> float32 of 0 to 255."""
    if images.dtype == np.uint8:
        return images.astype(np.float32)
    if images.dtype not in (np.float32, np.float64):
        raise UsageError(f"LPIPS compares images of uint8, float32 or float64, not {images.dtype}; convert them")
    outside = images[(images < -OVERSHOOT) | (images > 1 + OVERSHOOT)]
    if outside.size:
        raise UsageError(
            f"LPIPS takes images of floats from 0 to 1; these hold {outside.flat[0]:g}: divide 0..255 by 255, and "
            "bring -1..1 to 0..1 with (x + 1) / 2"
        )
    return (images * 255).astype(np.float32)
