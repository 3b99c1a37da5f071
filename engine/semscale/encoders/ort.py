"""The ONNX Runtime back end on the CPU: float32, the reference every other back end is measured against, and int8.

Rows are independent, so each thread runs some of them through a session that computes on that thread alone. Threads
that share every product wait for each other at its end, and for whichever of them the decoders have taken the core of.

Of texts, a graph that takes any length gets no more than up to the first end-of-text token, rounded up to a multiple of
LENGTHS: what follows is padding, which a causal tower does not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore[reportAttributeAccessIssue]

from semscale.cores import usable_cores
from semscale.encoders import load_spec
from semscale.encoders.batches import fixed
from semscale.encoders.checks import check_inputs, closed
from semscale.encoders.int8 import quantised
from semscale.errors import ModelError, UsageError
from semscale.model import Array, ModelSpec

CPU = "CPUExecutionProvider"
ROWS_AT_ONCE = {"image": 8, "text": 4}  # of a thread's call, at most: larger products are no faster, and fill up more
LENGTHS = 16  # ids; few lengths, so that most texts of a batch share one
THREADS = "encode"  # begins their names
ONNX_TYPES = {"float32": "float"}  # where it has another name than NumPy's
ERRORS_ONLY = 3  # ONNX Runtime's severity
LOAD_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)


class OrtEncoder:
    """An exported tower in ONNX Runtime.

    In fp32, for one batch size B and number of threads, a row's embedding is the same to the last bit wherever it
    stands in the batch and whatever its neighbours are. Between batch sizes it may differ by rounding, because the
    matrix products are cut differently. In int8 it is the same for any batch size: sums of integers are exact.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, precision: str = "fp32", provider: str = CPU
    ) -> None:
        """Load the model and `model.json` from `folder`; quantises the model when it is the first in int8.

        Raises UsageError when this ONNX Runtime has no such provider, ModelError when the model does not load or
        would run somewhere else, and MissingDependencyError when quantising needs the package onnx.
        """
        self.spec = replace(load_spec(folder), precision=precision)
        path = quantised(folder) if precision == "int8" else folder / "model.onnx"
        try:
            session = new_session(path, options_for(1), provider)
        except ModelError:
            if precision != "int8":
                raise
            with suppress(OSError):  # another process did, or `quantised` says why it cannot be written
                path.unlink()  # made here, and damaged since
            session = new_session(path := quantised(folder), options_for(1), provider)
        self._session: onnxruntime.InferenceSession | None = session
        check_shapes(session, self.spec, path)
        self._input = session.get_inputs()[0]
        self._threads = threads or usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=THREADS)

    @classmethod
    def open(cls, folder: Path, *, threads: int | None, precision: str) -> OrtEncoder:
        """Return an encoder on the CPU."""
        return cls(folder, threads=threads, precision=precision)

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32.

        Raises UsageError for another shape or type, or after `close`. An embedding that is not finite is returned as
        it is: whoever scores it counts it as invalid.
        """
        if self._session is None:
            raise closed(self.spec)
        check_inputs(inputs, self.spec)
        if len(inputs) == 0:
            return np.empty((0, self.spec.dim), np.float32)
        size = max(1, min(ROWS_AT_ONCE[self.spec.kind], len(inputs) // self._threads))
        calls = [(rows[part], batch) for rows, same in self._lengths(inputs) for part, batch in fixed(same, size)]
        made = np.empty((len(inputs), self.spec.dim), np.float32)
        run = partial(self._run, self._session)
        for (rows, _), embeddings in zip(calls, self._pool.map(run, (batch for _, batch in calls)), strict=True):
            made[rows] = embeddings[: len(rows)]
        return made

    def close(self) -> None:
        """Free the session and its memory. May be called again."""
        self._session = None
        self._pool.shutdown()

    def _lengths(self, inputs: Array) -> Iterator[tuple[Array, Array]]:
        """Rows that the graph is given at one length: their numbers, and what is given."""
        every = np.arange(len(inputs))
        if not isinstance(self._input.shape[-1], str) or self.spec.tokens is None:
            yield every, inputs
            return
        ends = inputs == self.spec.tokens.eos
        wanted = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, inputs.shape[1])
        lengths = np.minimum(-(-wanted // LENGTHS) * LENGTHS, inputs.shape[1])
        for length in np.unique(lengths):
            rows = every[lengths == length]
            yield rows, inputs[rows, :length]

    def _run(self, session: onnxruntime.InferenceSession, inputs: Array) -> Array:
        return cast(Array, session.run(None, {self._input.name: inputs})[0])


def new_session(
    path: Path, options: onnxruntime.SessionOptions, provider: str, provider_options: Mapping[str, Any] | None = None
) -> onnxruntime.InferenceSession:
    """Open a model on one provider, and on no other.

    Raises UsageError when this ONNX Runtime does not have it, ModelError when the model does not load or came up
    somewhere else.
    """
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise UsageError(f"this ONNX Runtime has no {provider}; it has {available}")
    if not path.is_file():
        raise ModelError(f"{path}: no such file; export the model again")
    chosen = [(provider, dict(provider_options or {}))]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=chosen)
    except LOAD_ERRORS as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}); export the model again") from error
    session.disable_fallback()  # a provider that fails must say so, not become another one
    if session.get_providers()[0] != provider:
        raise ModelError(
            f"{path}: asked for {provider}, and ONNX Runtime chose {session.get_providers()}; it could not load what "
            "the provider needs, and says on standard error what that is"
        )
    return session


def check_shapes(session: onnxruntime.InferenceSession, spec: ModelSpec, path: Path) -> None:
    """Raise ModelError unless a session takes and gives what the specification says."""
    given, made = session.get_inputs()[0], session.get_outputs()[0]
    shape = spec.input_shape if spec.kind == "text" and isinstance(given.shape[-1], str) else tuple(given.shape[1:])
    found = (given.type, shape, tuple(made.shape[1:]))
    wanted = (f"tensor({ONNX_TYPES.get(spec.input_dtype, spec.input_dtype)})", spec.input_shape, (spec.dim,))
    if found != wanted:
        raise ModelError(f"{path}: has {found}, and model.json says {wanted}; export the model again")


def options_for(threads: int | None) -> onnxruntime.SessionOptions:
    """Return the options of every session; `threads` None is every core that this process may use."""
    options = onnxruntime.SessionOptions()
    # A number, never ONNX Runtime's own default: that one pins threads to cores, which fails with noise in containers.
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = ERRORS_ONLY
    return options
