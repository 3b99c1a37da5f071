"""ONNX graph -> serialised TensorRT engine, with what TensorRT logs raised as our own error.

The builder of TensorRT-RTX was run with these lines, without a GPU. That of `tensorrt`, which needs one, never was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.encoders.trt_driver import driver_problem
from semscale.encoders.trt_files import Profile
from semscale.encoders.trt_library import Library, Watch
from semscale.errors import UsageError

SMALL_BATCH = 8  # a query, a few texts
FLAGS = ("strongly typed", "no TF32")  # what `build_engine` sets; part of the engine's key
HINT = "remove the folder tensorrt beside the model and build again, or choose --backend onnx"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a network."""

    name: str
    dtype: str  # as TensorRT calls it: UINT8, INT64, HALF, FLOAT
    shape: tuple[int, ...]  # -1 where it is dynamic


@dataclass(frozen=True, slots=True)
class Network:
    """What TensorRT understood of a graph."""

    input: Tensor
    output: Tensor
    normalizations: int  # layers that are whole LayerNormalizations


def profiles_for(max_batch: int) -> tuple[Profile, ...]:
    """A profile for small batches and one for full ones, or one for both. Raises UsageError for less than one."""
    if max_batch < 1:
        raise UsageError(f"--max-batch {max_batch}: must be at least 1")
    full = Profile(1, max_batch, max_batch)
    return (full,) if max_batch <= SMALL_BATCH else (Profile(1, SMALL_BATCH, SMALL_BATCH), full)


def build_engine(library: Library, graph: Path, profiles: Sequence[Profile]) -> bytes:
    """Build an engine for `graph` with the given batch sizes; the same bytes each time with TensorRT-RTX.

    Raises UsageError when the library needs a GPU and there is none, and ModelError with TensorRT's own log when it
    cannot read the graph, takes it apart, or builds nothing.
    """
    check_can_build(library)
    with library.watched(str(graph), HINT) as watch:
        builder, network, _parser = _parse(library, graph, watch)
        _check_network(library, network, graph, watch)
        config = watch.need(builder.create_builder_config(), "made no builder configuration")
        config.clear_flag(library.module.BuilderFlag.TF32)  # or float32 would be rounded to ten bits
        for profile in profiles:
            index = config.add_optimization_profile(_profile(builder, network.get_input(0), profile, watch))
            watch.need(index >= 0, f"refused {profile}")
        return bytes(watch.need(builder.build_serialized_network(network, config), "built no engine"))


def inspect_graph(library: Library, graph: Path) -> Network:
    """Parse `graph` and say what TensorRT understood, building nothing. Raises as `build_engine`."""
    check_can_build(library)
    with library.watched(str(graph), HINT) as watch:
        _builder, network, _parser = _parse(library, graph, watch)
        return _describe(library, network)


def check_can_build(library: Library) -> None:
    """Raise UsageError when the library needs a GPU to build and there is none; builds nothing."""
    if not library.portable and (problem := driver_problem()):
        raise UsageError(
            f"{library.flavour} builds engines on the GPU that runs them, and {problem}; build there, "
            "or install tensorrt-rtx, which builds anywhere"
        )


def _parse(library: Library, graph: Path, watch: Watch) -> tuple[Any, Any, Any]:
    # The parser comes back too: the network's weights live in it.
    trt = library.module
    builder = watch.need(trt.Builder(library.log), "made no builder")
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # required by 10, ignored by 11
    network = watch.need(builder.create_network(typed), "made no network")
    parser = watch.need(trt.OnnxParser(network, library.log), "made no parser")
    watch.need(parser.parse_from_file(str(graph)), "cannot read the graph")
    return builder, network, parser


def _check_network(library: Library, network: Any, graph: Path, watch: Watch) -> None:
    import onnx  # only the exporter has it

    found = _describe(library, network).normalizations
    nodes = onnx.load(graph, load_external_data=False).graph.node
    wanted = sum(node.op_type == "LayerNormalization" for node in nodes)
    if found != wanted:
        raise watch.error(f"made {found} normalization layers of {wanted} LayerNormalizations, which half cannot bear,")


def _describe(library: Library, network: Any) -> Network:
    kinds = [network.get_layer(i).type for i in range(network.num_layers)]
    norms = kinds.count(library.module.LayerType.NORMALIZATION)
    return Network(_tensor(network.get_input(0)), _tensor(network.get_output(0)), norms)


def _tensor(tensor: Any) -> Tensor:
    return Tensor(tensor.name, tensor.dtype.name, tuple(tensor.shape))


def _profile(builder: Any, tensor: Any, profile: Profile, watch: Watch) -> Any:
    made = watch.need(builder.create_optimization_profile(), "made no profile")
    sizes = ((size, *tuple(tensor.shape)[1:]) for size in (profile.low, profile.best, profile.high))
    made.set_shape(tensor.name, *sizes)
    return made
