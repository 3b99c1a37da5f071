"""The TensorRT runtime on a fake library and a fake GPU: binding, padding, cutting, the order of work, every refusal.

The fake GPU does queued work only when someone waits for it, so that a result read too early is wrong here too.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.encoders import graph_sha256, trt, trt_driver, trt_files, trt_library
from semscale.encoders.trt import LANES, TrtEncoder
from semscale.encoders.trt_device import TorchDevice
from semscale.encoders.trt_driver import ANY_GPU, Gpu
from semscale.encoders.trt_files import EngineKey, EngineRecord, Profile
from semscale.encoders.trt_library import Library, load_library
from semscale.encoders.trt_runner import cut, load_engine
from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.model import ModelSpec, Preprocess

H200 = Gpu("NVIDIA H200", "9.0", "13.0")
PROFILES = (Profile(1, 2, 2), Profile(1, 5, 5))
SPEC = ModelSpec(
    name="made-up",
    sha256="0" * 64,
    kind="image",
    input_shape=(4, 4, 3),
    input_dtype="uint8",
    dim=6,
    normalized=True,
    precision="fp16",
    preprocess=Preprocess(4, 4, "bicubic", (0.5,) * 3, (0.5,) * 3),
)


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SPEC.input_shape), np.uint8)


def embed(rows):
    """What the fake engine computes: tells rows apart, each by itself."""
    return rows.reshape(len(rows), 48)[:, : SPEC.dim].astype(np.float32) * 2 + 1


class Refusals:
    """Which calls of the fake library answer None or False, and what they log then."""

    def __init__(self, *names):
        self.names = names

    def answer(self, name, value, log):
        if name not in self.names:
            return value
        log.log("error", f"Error Code 7:\n {name} is broken")
        log.log("info", "not worth keeping")
        return False if value is True else None


class FakeGpu:
    """Memory by address, streams that do nothing until waited for, and a diary of all calls."""

    def __init__(self):
        self.memory, self.streams, self.diary, self.allocated = {}, [], [], []

    def pinned(self, shape, dtype):
        self.allocated.append(shape)
        return SimpleNamespace(array=np.full(shape, 99).astype(dtype))

    def allocate(self, shape, dtype):
        address = 4096 * (len(self.memory) + 1)
        self.memory[address] = np.full(shape, 77).astype(dtype)
        return SimpleNamespace(address=address)

    def stream(self):
        self.streams.append(FakeStream(self, len(self.streams)))
        return self.streams[-1]


class FakeStream:
    def __init__(self, gpu, handle):
        self.gpu, self.handle, self.queued = gpu, handle, []

    def queue(self, what, work):
        self.gpu.diary.append((what, self.handle))
        self.queued.append(work)

    def upload(self, source, target):
        self.queue("upload", lambda: np.copyto(self.gpu.memory[target.address], source.array))

    def download(self, source, target):
        self.queue("download", lambda: np.copyto(target.array, self.gpu.memory[source.address]))

    def capture(self, work):
        before, self.queued = self.queued, []
        diary, self.gpu.diary = self.gpu.diary, []
        work()
        captured, self.queued, self.gpu.diary = self.queued, before, diary
        self.gpu.diary.append(("capture", self.handle))
        return lambda: self.queue("replay", lambda: [step() for step in captured])

    def wait(self):
        self.gpu.diary.append(("wait", self.handle))
        for work in self.queued:
            work()
        self.queued = []


class FakeContext:
    def __init__(self, module, config):
        self.module, self.config, self.bound, self.shape = module, config, {}, None

    def answer(self, name):
        return self.module.refusals.answer(name, True, self.module.log)

    def set_optimization_profile_async(self, index, handle):
        self.high = PROFILES[index].high
        return self.answer("set_optimization_profile_async")

    def set_input_shape(self, name, shape):
        assert name == "pixels"
        self.shape = shape
        return shape[0] <= self.high and self.answer("set_input_shape")

    def set_tensor_address(self, name, address):
        self.bound[name] = address
        return self.answer("set_tensor_address")

    def execute_async_v3(self, handle):
        memory = self.module.gpu.memory
        source, target = memory[self.bound["pixels"]], memory[self.bound["embedding"]]
        self.module.shapes.append(self.shape)

        def compute():
            self.module.seen.append(source.copy())
            target[:] = embed(source)

        self.module.gpu.streams[handle].queue("compute", compute)
        return self.answer("execute_async_v3")


class FakeConfig:
    """A fake IRuntimeConfig and, of the module's kernels, its IRuntimeCache."""

    def __init__(self, module):
        self.module, self.cache = module, None

    def create_runtime_cache(self):
        return self.module.refusals.answer("create_runtime_cache", self, self.module.log)

    def set_runtime_cache(self, cache):
        self.cache = cache
        return self.module.refusals.answer("set_runtime_cache", True, self.module.log)

    def deserialize(self, blob):
        self.module.offered.append(bytes(blob))
        return self.module.refusals.answer("deserialize", True, self.module.log)

    def serialize(self):
        return self.module.kernels


class FakeHandle:
    """A fake ICudaEngine."""

    num_io_tensors = 2

    def __init__(self, module, tensors):
        self.module, self.tensors = module, tensors

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        return SimpleNamespace(name=self.tensors[name][0])

    def get_tensor_dtype(self, name):
        return self.tensors[name][1]

    def get_tensor_shape(self, name):
        return (-1, *self.tensors[name][2])

    def create_runtime_config(self):
        made = self.module.refusals.answer("create_runtime_config", FakeConfig(self.module), self.module.log)
        self.module.configs.append(made)
        return made

    def create_execution_context(self, config=None):
        made = FakeContext(self.module, config)
        return self.module.refusals.answer("create_execution_context", made, self.module.log)


class FakeTensorRT:
    """As much of the library's module as the runtime uses."""

    __version__ = "10.14.1"

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR="internal", ERROR="error")

    def __init__(self, *refused, strategies=False):
        self.refusals, self.gpu = Refusals(*refused), FakeGpu()
        self.seen, self.shapes, self.configs, self.runtimes = [], [], [], 0
        self.kernels, self.offered = b"kernels", []  # what it compiled, and what it was given to start from
        self.tensors = {"pixels": ("INPUT", np.uint8, (4, 4, 3)), "embedding": ("OUTPUT", np.float32, (6,))}
        if strategies:
            self.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")

    def nptype(self, dtype):
        return dtype

    def Runtime(self, log):
        self.log, self.runtimes = log, self.runtimes + 1
        return self.refusals.answer("Runtime", self, log)

    def deserialize_cuda_engine(self, data):
        assert data == b"an engine"
        return self.refusals.answer("deserialize_cuda_engine", FakeHandle(self, self.tensors), self.log)


def library_of(module, flavour="tensorrt"):
    return Library(module, flavour, module.__version__, trt_library._logger(module))


def encoder_of(module, tmp_path, profiles=PROFILES):
    file = tmp_path / "x.engine"
    engine = load_engine(library_of(module), b"an engine", file, profiles=profiles, spec=SPEC, gpu=H200)
    return TrtEncoder(engine, SPEC, module.gpu)


# --- Cutting -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 400), st.lists(st.integers(1, 64), min_size=1, max_size=3))
def test_chunks_cover_every_row_once_in_the_fewest_runs_each_with_the_smallest_profile(count, highs):
    profiles = [Profile(1, high, high) for high in highs]
    chunks = cut(count, profiles)
    assert [row for chunk in chunks for row in range(chunk.start, chunk.stop)] == list(range(count))
    assert len(chunks) == -(-count // max(highs))
    for chunk in chunks:
        size = chunk.stop - chunk.start
        assert highs[chunk.profile] == min(high for high in highs if high >= size)


# --- Running -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 23), min_size=1, max_size=4), st.booleans())
def test_every_batch_size_gives_every_row_its_embedding_call_after_call(tmp_path_factory, counts, strategies):
    encoder = encoder_of(FakeTensorRT(strategies=strategies), tmp_path_factory.getbasetemp())
    inputs = [pixels(count, seed) for seed, count in enumerate(counts)]
    outputs = [encoder.encode(rows) for rows in inputs]
    for rows, out in zip(inputs, outputs, strict=True):  # after all calls: an output is nobody's buffer
        assert out.dtype == np.float32
        np.testing.assert_array_equal(out, embed(rows))


def test_a_batch_is_padded_with_its_last_row_to_the_largest_batch_of_its_profile(tmp_path):
    module = FakeTensorRT()
    encoder = encoder_of(module, tmp_path)
    rows = pixels(8)  # 5 of the large profile, then 3, too many for the small one
    encoder.encode(rows)
    assert module.shapes[:2] == [(5, 4, 4, 3)] * 2
    np.testing.assert_array_equal(module.seen[0], rows[:5])
    np.testing.assert_array_equal(module.seen[1], rows[[5, 6, 7, 7, 7]])
    module.seen.clear()
    encoder.encode(rows[:1])
    np.testing.assert_array_equal(module.seen[0], rows[[0, 0]])


def test_few_rows_need_no_buffers_for_a_full_batch(tmp_path):
    module = FakeTensorRT()
    encoder_of(module, tmp_path).encode(pixels(2))
    assert {shape[0] for shape in module.gpu.allocated} == {2}


def test_two_streams_take_turns_and_the_next_copy_is_queued_before_the_last_result_is_awaited(tmp_path):
    module = FakeTensorRT(strategies=True)
    encoder = encoder_of(module, tmp_path)
    encoder.encode(pixels(10))  # makes both lanes
    module.gpu.diary.clear()
    encoder.encode(pixels(20))
    run = ["upload", "compute", "download"]
    expected = [(step, 0) for step in run] + [(step, 1) for step in run]
    expected += [("wait", 0), *((step, 0) for step in run), ("wait", 1), *((step, 1) for step in run)]
    assert module.gpu.diary == [*expected, ("wait", 0), ("wait", 1)]
    assert LANES == len(module.gpu.streams) == 2


def test_each_runner_is_captured_once_after_its_first_batch_and_then_only_replayed(tmp_path):
    module = FakeTensorRT()
    encoder = encoder_of(module, tmp_path)
    encoder.encode(pixels(20))
    steps = [step for step, _ in module.gpu.diary]
    assert steps.count("capture") == 2
    assert steps.count("compute") == 2  # the first of each lane
    assert steps.count("replay") == 2
    module.gpu.diary.clear()
    np.testing.assert_array_equal(encoder.encode(pixels(10, seed=3)), embed(pixels(10, seed=3)))
    assert [step for step, _ in module.gpu.diary] == ["replay", "replay", "wait", "wait"]


def test_a_library_that_captures_by_itself_is_asked_to(tmp_path):
    module = FakeTensorRT(strategies=True)
    encoder_of(module, tmp_path).encode(pixels(20))
    assert [config.cuda_graph_strategy for config in module.configs] == ["whole"]  # all contexts share it
    assert "capture" not in {step for step, _ in module.gpu.diary}


def test_wrong_inputs_and_a_closed_encoder_are_refused(tmp_path):
    encoder = encoder_of(FakeTensorRT(), tmp_path)
    with pytest.raises(UsageError, match=r"takes \(B, 4, 4, 3\) uint8"):
        encoder.encode(pixels(2).astype(np.float32))
    encoder.encode(pixels(2))
    encoder.close()
    encoder.close()
    with pytest.raises(UsageError, match="made-up is closed; open it again"):
        encoder.encode(pixels(2))


# --- Refusals ----------------------------------------------------------------------------------------------------

STEPS = {
    "Runtime": "made no runtime",
    "deserialize_cuda_engine": "refuses the engine",
    "create_execution_context": "made no context",
    "set_optimization_profile_async": "has no profile 0",
    "set_input_shape": r"does not take \(2, 4, 4, 3\)",
    "set_tensor_address": "refused the input's address",
    "execute_async_v3": "did not run the engine",
}


@pytest.mark.parametrize(("step", "said"), STEPS.items())
def test_what_the_library_refuses_is_our_error_with_its_log(tmp_path, step, said):
    with pytest.raises(ModelError) as refused:
        encoder_of(FakeTensorRT(step), tmp_path).encode(pixels(1))
    assert refused.match(rf"x\.engine: tensorrt 10\.14\.1 {said} \(Error Code 7: {step} is broken\); check the GPU")


@pytest.mark.parametrize(
    ("step", "said"),
    {
        "create_runtime_config": "made no runtime configuration",
        "create_runtime_cache": "made no runtime cache",
        "set_runtime_cache": "refused the runtime cache",
    }.items(),
)
def test_a_refused_runtime_configuration_is_said(tmp_path, step, said):
    with pytest.raises(ModelError, match=said):
        encoder_of(FakeTensorRT(step, strategies=True), tmp_path)


# --- Kernels compiled on the GPU ---------------------------------------------------------------------------------

KERNELS = "x.engine.NVIDIA-H200.kernels"


def test_kernels_are_kept_at_the_end_and_given_back_in_the_next_run(tmp_path):
    first = FakeTensorRT(strategies=True)
    encoder = encoder_of(first, tmp_path)
    encoder.encode(pixels(3))
    assert not (tmp_path / KERNELS).exists()
    encoder.close()
    encoder.close()
    assert (tmp_path / KERNELS).read_bytes() == b"kernels"
    second = FakeTensorRT(strategies=True)
    encoder_of(second, tmp_path)
    assert (first.offered, second.offered) == ([], [b"kernels"])


def test_kernels_that_are_known_are_not_written_again(tmp_path):
    (tmp_path / KERNELS).write_bytes(b"kernels")
    before = (tmp_path / KERNELS).stat().st_mtime_ns
    encoder_of(FakeTensorRT(strategies=True), tmp_path).close()
    assert (tmp_path / KERNELS).stat().st_mtime_ns == before


def test_kernels_that_the_library_refuses_are_replaced_and_no_error(tmp_path):
    (tmp_path / KERNELS).write_bytes(b"of another driver")
    module = FakeTensorRT("deserialize", strategies=True)
    encoder = encoder_of(module, tmp_path)
    assert module.log.lines == []
    np.testing.assert_array_equal(encoder.encode(pixels(4)), embed(pixels(4)))
    encoder.close()
    assert (tmp_path / KERNELS).read_bytes() == b"kernels"


def test_kernels_that_cannot_be_written_are_no_error(tmp_path, monkeypatch):
    encoder = encoder_of(FakeTensorRT(strategies=True), tmp_path)
    encoder.encode(pixels(1))
    monkeypatch.setattr("semscale.files.rename", no_rename)
    encoder.close()
    assert list(tmp_path.iterdir()) == []


def no_rename(path, target):
    raise PermissionError(13, "Permission denied")


def test_a_library_without_kernels_writes_nothing(tmp_path):
    encoder_of(FakeTensorRT(), tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_after_a_failure_nothing_is_in_flight_and_the_next_call_is_right(tmp_path):
    module = FakeTensorRT()
    encoder = encoder_of(module, tmp_path)
    encoder.encode(pixels(5))  # the first lane is captured, the second must still call the library
    module.refusals.names = ("execute_async_v3",)
    with pytest.raises(ModelError, match="did not run the engine"):
        encoder.encode(pixels(10))
    assert all(stream.queued == [] for stream in module.gpu.streams)
    module.refusals.names = ()
    np.testing.assert_array_equal(encoder.encode(pixels(12, seed=1)), embed(pixels(12, seed=1)))


@pytest.mark.parametrize(
    "tensors",
    [
        {"pixels": ("INPUT", np.float32, (4, 4, 3)), "embedding": ("OUTPUT", np.float32, (6,))},
        {"pixels": ("INPUT", np.uint8, (8, 8, 3)), "embedding": ("OUTPUT", np.float32, (6,))},
        {"pixels": ("INPUT", np.uint8, (4, 4, 3)), "embedding": ("OUTPUT", np.float16, (6,))},
        {"pixels": ("INPUT", np.uint8, (4, 4, 3)), "embedding": ("OUTPUT", np.float32, (7,))},
    ],
)
def test_an_engine_of_another_tower_is_refused(tmp_path, tensors):
    module = FakeTensorRT()
    module.tensors = tensors
    with pytest.raises(ModelError, match=r"x\.engine: has .* and the image tower of made-up needs .*; build it again"):
        encoder_of(module, tmp_path)


# --- Opening -----------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """A machine with the fake library as `tensorrt` and an H200."""
    module = FakeTensorRT()
    install(monkeypatch, tensorrt=module, tensorrt_rtx=None)
    monkeypatch.setattr(trt, "find_gpu", lambda: H200)
    monkeypatch.setattr(trt, "TorchDevice", lambda: module.gpu)
    yield module
    load_library.cache_clear()


def install(monkeypatch, **modules):
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    load_library.cache_clear()


def write_tower(tower, *, flavour="tensorrt", gpu=H200, precision="fp16", **changes):
    """A tower's folder with an engine as the exporter leaves it; return the engine's record file."""
    folder = trt_files.precision_folder(tower, precision)
    trt_files.graph_file(folder).parent.mkdir(parents=True, exist_ok=True)
    trt_files.graph_file(folder).write_bytes(b"a graph")
    (tower / "model.json").write_text(replace(SPEC, precision="fp32").to_json())
    onnx = graph_sha256(trt_files.graph_file(folder))
    key = EngineKey(onnx, flavour, "10.14.1", gpu, trt_files.RECIPE, precision, PROFILES, ("strongly typed",))
    record = EngineRecord(replace(key, **changes), "x.engine", hashlib.sha256(b"an engine").hexdigest())
    (folder / "x.engine").write_bytes(b"an engine")
    path = trt_files.record_file(folder, flavour, gpu)
    path.write_text(record.to_json())
    return path


def test_open_runs_the_engine_for_this_gpu(tmp_path, machine):
    path = write_tower(tmp_path)
    assert path.name == "tensorrt-NVIDIA-H200.json"
    encoder = TrtEncoder.open(tmp_path, threads=None)
    assert encoder.spec == SPEC  # with the engine's precision
    np.testing.assert_array_equal(encoder.encode(pixels(7)), embed(pixels(7)))


def test_open_takes_the_precision_asked_for(tmp_path, machine):
    write_tower(tmp_path, precision="fp32")
    assert TrtEncoder.open(tmp_path, threads=3, precision="fp32").spec.precision == "fp32"
    with pytest.raises(ModelError, match=r"fp16: no engine of tensorrt for NVIDIA H200; build it again"):
        TrtEncoder.open(tmp_path, threads=None)
    with pytest.raises(UsageError, match=r"computes in one of \['fp16', 'fp32'\], not in 'int8'"):
        TrtEncoder.open(tmp_path, threads=None, precision="int8")


def test_a_portable_engine_is_found_when_the_preferred_library_has_none(tmp_path, machine, monkeypatch):
    other = FakeTensorRT(strategies=True)
    other.__version__ = "1.7.1.116"
    install(monkeypatch, tensorrt_rtx=other)
    monkeypatch.setattr(trt, "TorchDevice", lambda: other.gpu)
    write_tower(tmp_path, flavour="tensorrt_rtx", gpu=ANY_GPU, version="1.7.1.116")
    np.testing.assert_array_equal(TrtEncoder.open(tmp_path, threads=None).encode(pixels(3)), embed(pixels(3)))
    assert (machine.runtimes, other.runtimes) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "10.13.0"}, "version is 10.14.1, was 10.13.0"),
        ({"gpu": replace(H200, driver="12.8")}, "gpu is NVIDIA H200 9.0 13.0, was NVIDIA H200 9.0 12.8"),
        ({"recipe": 0}, f"recipe is {trt_files.RECIPE}, was 0"),
        ({"onnx": "f" * 64}, r"onnx is [0-9a-f]{12}, was ffffffffffff"),
    ],
)
def test_an_engine_for_something_else_is_refused_with_what_changed(tmp_path, machine, changes, said):
    path = write_tower(tmp_path)
    record = trt_files.read_record(path)
    path.write_text(replace(record, key=replace(record.key, **changes)).to_json())
    with pytest.raises(ModelError, match=f"the engine does not fit, because {said}; build it again: semscale export"):
        TrtEncoder.open(tmp_path, threads=None)
    assert machine.runtimes == 0


def test_an_engine_may_travel_without_its_graph(tmp_path, machine):
    path = write_tower(tmp_path)
    trt_files.graph_file(path.parent).unlink()
    assert len(TrtEncoder.open(tmp_path, threads=None).encode(pixels(1))) == 1


@pytest.mark.parametrize("damage", ["changed", "shortened", "gone", "record"])
def test_a_damaged_engine_is_an_error_that_names_the_file(tmp_path, machine, damage):
    path = write_tower(tmp_path)
    engine = path.with_name("x.engine")
    if damage == "gone":
        engine.unlink()
    elif damage == "record":
        path.write_text(path.read_text()[:-20])
    else:
        engine.write_bytes(b"an ENGINE" if damage == "changed" else b"an eng")
    named = path if damage == "record" else engine
    with pytest.raises(ModelError, match=rf"{named}: .*; build it again: semscale export MODEL -o DIR --tensorrt"):
        TrtEncoder.open(tmp_path, threads=None)
    assert machine.runtimes == 0


def test_without_a_driver_no_runtime_is_made(tmp_path, machine, monkeypatch):
    write_tower(tmp_path)
    monkeypatch.setattr(trt, "find_gpu", trt_driver.find_gpu)
    monkeypatch.setattr(trt_driver, "_library", lambda: None)
    with pytest.raises(UsageError, match=r"no NVIDIA driver here \(libcuda\.so\.1 is not found\).* --backend onnx"):
        TrtEncoder.open(tmp_path, threads=None)
    assert machine.runtimes == 0


def test_without_the_library_the_extra_is_named(tmp_path, machine, monkeypatch):
    write_tower(tmp_path)
    install(monkeypatch, tensorrt=None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'semscale\[tensorrt\]'"):
        TrtEncoder.open(tmp_path, threads=None)


def test_a_torch_that_reaches_no_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"reaches no GPU .*install its CUDA build"):
        TorchDevice()


# --- The driver --------------------------------------------------------------------------------------------------


class FakeDriver:
    """libcuda as ctypes shows it: answers through pointers, and a code."""

    def __init__(self, *, init=0, attribute=0):
        self.init, self.attribute = init, attribute

    def cuInit(self, flags):
        return self.init

    def cuDeviceGetAttribute(self, target, which, device):
        target._obj.value = {75: 9, 76: 0}[which]
        return self.attribute

    def cuDriverGetVersion(self, target):
        target._obj.value = 13010
        return 0

    def cuDeviceGetName(self, buffer, size, device):
        buffer.value = b"NVIDIA H200"
        return 0


def test_the_gpu_is_read_from_the_driver(monkeypatch):
    monkeypatch.setattr(trt_driver, "_library", FakeDriver)
    assert trt_driver.driver_problem() == ""
    assert trt_driver.find_gpu() == Gpu("NVIDIA H200", "9.0", "13.1")


def test_a_driver_without_a_gpu_is_said(monkeypatch):
    monkeypatch.setattr(trt_driver, "_library", lambda: FakeDriver(init=100))
    with pytest.raises(UsageError, match=r"finds no GPU it can use \(cuInit answers 100\)"):
        trt_driver.find_gpu()


def test_a_driver_that_fails_later_is_said(monkeypatch):
    monkeypatch.setattr(trt_driver, "_library", lambda: FakeDriver(attribute=3))
    with pytest.raises(UsageError, match="the NVIDIA driver answers 3 to cuDeviceGetAttribute"):
        trt_driver.find_gpu()
