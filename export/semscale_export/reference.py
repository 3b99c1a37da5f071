"""The torch back end: the checkpoint itself, not its export; float32 as the reference, half precision on a GPU.

Half precision was never run on a GPU, nor was anything compiled for one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from semscale.encoders import load_spec
from semscale.encoders.batches import fixed
from semscale.encoders.checks import check_inputs, closed
from semscale.errors import ModelError, UsageError
from semscale.model import Array, ModelSpec
from semscale_export.checkpoint import DEMO, Checkpoint, find_checkpoint
from semscale_export.families import family_of
from semscale_export.packaged import PACKAGED
from semscale_export.quiet import quiet

if TYPE_CHECKING:
    from semscale_export.towers import Tower

Module = Callable[[Tensor], dict[str, Tensor]]  # of a tower, compiled or not
LINK = "checkpoint"  # beside image/ and text/: the checkpoint's folder, or a link to it
TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
COMPILED = (1, 8, 16, 32, 64, 128, 256)  # rows; fewer than Dynamo compiles of one function before it gives up (8)


class TorchEncoder:
    """The tower of the checkpoint that a folder was exported from, in torch with its scaled-dot-product attention.

    float32 without TF32 on the GPU where torch has one, else on the CPU; half precision on a GPU only. Between batch
    sizes, and positions in a batch, a row's embedding may differ by rounding.
    """

    def __init__(
        self, folder: Path, *, precision: str = "fp32", threads: int | None = None, compiled: bool = False
    ) -> None:
        """Load the checkpoint behind the tower in `folder`.

        `compiled` is for measuring against: torch.compile, with CUDA graphs on a GPU, one program for each batch size
        of COMPILED. That takes seconds to minutes at the first batch of a size; fewer rows are padded, more are cut.

        Raises UsageError for half precision without a GPU, ModelError when the checkpoint is not found or not the one
        that was exported, and MissingDependencyError.
        """
        self._device = _device(precision)
        spec = load_spec(folder)
        tower = _tower(checkpoint_of(folder, spec), spec)
        # The weights are the same, and a file beside them is not.
        if replace(tower.spec, name=spec.name, graph=spec.graph) != spec:
            raise ModelError(f"{folder}: the checkpoint's configuration changed since; export the model again")
        self.spec = replace(spec, precision=precision)
        self._threads = threads
        self._module: nn.Module | None = _prepared(tower, TYPES[precision], self._device)
        self._compiled = _compile(self._module) if compiled else None

    @classmethod
    def open(cls, folder: Path, *, threads: int | None, precision: str) -> TorchEncoder:
        """Return an encoder on the GPU where torch has one, else on the CPU."""
        return cls(folder, threads=threads, precision=precision)

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32.

        Raises UsageError for another shape or type, or after `close`; where it is compiled, what torch raises when it
        finds no compiler.
        """
        if self._module is None:
            raise closed(self.spec)
        check_inputs(inputs, self.spec)
        if len(inputs) == 0:
            return np.empty((0, self.spec.dim), np.float32)
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            _threads(self._threads),
        ):
            return self._run(self._module, inputs) if self._compiled is None else self._padded(self._compiled, inputs)

    def close(self) -> None:
        """Free the weights. May be called again."""
        self._module = self._compiled = None

    def _run(self, module: Module, inputs: Array) -> Array:
        rows = torch.from_numpy(np.ascontiguousarray(inputs)).to(self._device)
        return module(rows)["embedding"].cpu().numpy()

    def _padded(self, module: Module, inputs: Array) -> Array:
        size = next((size for size in COMPILED if size >= len(inputs)), COMPILED[-1])
        embeddings = np.empty((len(inputs), self.spec.dim), np.float32)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.script_method` is deprecated")  # torch about torch
            for rows, batch in fixed(inputs, size):
                embeddings[rows] = self._run(module, batch)[: rows.stop - rows.start]
        return embeddings


def checkpoint_of(folder: Path, spec: ModelSpec) -> Checkpoint:
    """Find the checkpoint that the tower in `folder` was exported from.

    Looks for `checkpoint` beside the tower's folder, then for what the specification's name says (a hub id, or the
    demo encoder). Raises ModelError when there is none, or its weights are others.
    """
    beside = folder.resolve().parent / LINK
    if beside.is_dir():
        found = find_checkpoint(str(beside))
    elif spec.name == DEMO or spec.name in PACKAGED or "/" in spec.name:  # the name of a folder has no slash
        found = find_checkpoint(spec.name)
    else:
        raise ModelError(
            f"{folder}: back end 'torch' runs the checkpoint, and where {spec.name} lies is not known; "
            f"put its folder, or a link to it, at {beside}"
        )
    if found.weights_sha256 != spec.sha256:
        raise ModelError(f"{found.folder}: not the weights that {folder} was exported from; export the model again")
    return found


def _tower(checkpoint: Checkpoint, spec: ModelSpec) -> Tower:
    with quiet():
        return next(tower for tower in family_of(checkpoint).towers(checkpoint) if tower.spec.kind == spec.kind)


def _prepared(tower: Tower, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The tower with its weights in `dtype`; pixels are normalised, and lengths made 1, in float32 all the same."""

    def in_dtype(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(a.to(dtype) if a.is_floating_point() else a for a in arguments)

    module = tower.module.eval().requires_grad_(False)
    module.features.to(dtype).register_forward_pre_hook(in_dtype)
    return module.to(device)


def _compile(module: nn.Module) -> Module:
    # The whole graph or an error: what Dynamo cannot compile it would otherwise run as it is, and say nothing.
    return torch.compile(module, mode="reduce-overhead", dynamic=False, fullgraph=True)


def _device(precision: str) -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if precision != "fp32":
        raise UsageError(
            f"back end 'torch' runs {precision} on an NVIDIA GPU only, and torch {torch.__version__} finds none; "
            "choose --precision fp32"
        )
    return torch.device("cpu")


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads for one call; others use torch too."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
