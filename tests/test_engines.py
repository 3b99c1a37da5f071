"""TensorRT engines: the graph that goes in, the engine that comes out, the cache between, and every refusal.

Engines are really built where TensorRT-RTX is installed, which needs no GPU; running them does.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from checkpoints import write_clip
from onnx import TensorProto, numpy_helper
from transformers import CLIPModel

import semscale_export
from semscale.encoders import graph_sha256, load_spec, open_encoder, trt_driver, trt_files, trt_library
from semscale.encoders.trt_driver import ANY_GPU, Gpu, driver_problem
from semscale.encoders.trt_files import EngineKey, Profile, graph_file, precision_folder, read_record, record_file
from semscale.encoders.trt_library import Library, load_library
from semscale.encoders.trt_runner import load_engine
from semscale.errors import MissingDependencyError, ModelError, ParityError, UsageError
from semscale.locks import planning
from semscale_export import engines, trt_build, trt_graph
from semscale_export.checkpoint import find_checkpoint
from semscale_export.engine_cache import cached_engine
from semscale_export.engines import EngineSettings, add_engines, choose_library, engine_key, export_engines
from semscale_export.families import family_of
from semscale_export.trt_build import Network, Tensor, build_engine, inspect_graph, profiles_for

RTX = "tensorrt_rtx"
SETTINGS = EngineSettings(flavour=RTX, max_batch=16)
TOWERS = ["image", "text"]
MODELS = ["tiny", "demo"]
KEY = EngineKey("a" * 64, "tensorrt", "10.14.1", Gpu("NVIDIA H200", "9.0", "13.0"), 1, "fp16", profiles_for(16), ("x",))


@pytest.fixture(scope="module")
def rtx():
    pytest.importorskip(RTX, reason="tensorrt-rtx is not installed, so no engine can be built here")
    return load_library(RTX)


@pytest.fixture(scope="module")
def checkpoints(tiny_checkpoint):
    return {"tiny": find_checkpoint(str(tiny_checkpoint)), "demo": find_checkpoint("demo")}


@pytest.fixture(scope="module")
def made(tmp_path_factory, checkpoints, rtx):
    """By model: its exported folder with FP16 engines, and the lines that were said."""
    folders = {}
    for name, checkpoint in checkpoints.items():
        lines = []
        out = tmp_path_factory.mktemp("engines") / name
        export_engines(str(checkpoint.folder) if name == "tiny" else "demo", out, SETTINGS, say=lines.append)
        folders[name] = (out, lines)
    return folders


@pytest.fixture(params=MODELS)
def exported(made, request):
    return made[request.param][0]


def graph_of(out, tower, precision="fp16"):
    return graph_file(precision_folder(out / tower, precision))


def random_inputs(spec, count, seed=0):
    high = 256 if spec.kind == "image" else spec.tokens.eos + 1
    return np.random.default_rng(seed).integers(0, high, (count, *spec.input_shape)).astype(spec.input_dtype)


def centred_cosines(actual, expected):
    shared = expected.mean(axis=0)
    a, b = np.float64(actual - shared), np.float64(expected - shared)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def run(folder, inputs):
    encoder = open_encoder(folder)
    try:
        return encoder.encode(inputs)
    finally:
        encoder.close()


# --- The half graph ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", TOWERS)
def test_half_graph_is_whole_where_it_must_be(exported, tower):
    full, half = onnx.load(exported / tower / "model.onnx"), onnx.load(graph_of(exported, tower))
    onnx.checker.check_model(half, full_check=True)
    ops = Counter(node.op_type for node in half.graph.node)
    norms = sum(node.op_type == "LayerNormalization" for node in full.graph.node)
    assert ops["LayerNormalization"] == norms >= 5
    assert ops["Pow"] == ops["ReduceMean"] == 0
    assert half.opset_import[0].version == 20
    types = Counter(tensor.data_type for tensor in half.graph.initializer if len(tensor.dims) > 1)
    assert types[TensorProto.FLOAT16] > 10
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("tower", TOWERS)
def test_the_norm_is_taken_in_float32(exported, tower):
    model = onnx.shape_inference.infer_shapes(onnx.load(graph_of(exported, tower)))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    norm = next(node for node in model.graph.node if node.op_type == "ReduceL2")
    assert types[norm.input[0]] == types[norm.output[0]] == TensorProto.FLOAT


def test_the_causal_mask_is_finite_in_half(exported):
    values = [v for _, v in trt_graph.constants(onnx.load(graph_of(exported, "text"))) if v.dtype.kind == "f"]
    assert min(value.min() for value in values if value.size) == -65504  # else there would be no mask at all
    assert all(np.isfinite(value.astype(np.float16)).all() for value in values)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("model", MODELS)
def test_half_is_close_to_float32_where_it_rounds_and_as_a_graph(made, checkpoints, model, tower):
    out = made[model][0]
    spec = load_spec(out / tower)
    inputs = random_inputs(spec, 12)
    expected = run(out / tower, inputs)
    assert (expected @ expected.T).min() < 0.9  # tells inputs apart, or nothing below could fail
    graph = run(graph_of(out, tower).parent, inputs)
    assert graph.dtype == np.float32
    assert centred_cosines(graph, expected).min() >= 0.9999
    half = trt_graph.typed_module(next(t for t in towers(checkpoints[model]) if t.spec.kind == tower), "fp16")
    with torch.inference_mode():
        rounded = half(torch.from_numpy(inputs))["embedding"].numpy()
    assert centred_cosines(rounded, expected).min() >= 0.9999
    assert np.abs(rounded - expected).max() > 0  # it did round


def towers(checkpoint):
    return family_of(checkpoint).towers(checkpoint)


def test_the_tower_itself_stays_in_float32(checkpoints):
    for tower in towers(checkpoints["tiny"]):
        trt_graph.typed_module(tower, "fp16")
        assert {parameter.dtype for parameter in tower.module.parameters()} == {torch.float32}


def changed_checkpoint(folder, change):
    write_clip(folder)
    model = CLIPModel.from_pretrained(folder)
    with torch.no_grad():
        change(model.vision_model.encoder.layers[0].mlp)
    model.save_pretrained(folder)
    return find_checkpoint(str(folder))


def test_an_overflow_inside_is_seen_though_onnxruntime_hides_it(tmp_path, rtx):
    def change(mlp):  # intermediate values of some 1e6, taken back at once
        mlp.fc1.weight *= 3e4
        mlp.fc1.bias.fill_(1e4)
        mlp.fc2.weight *= 1e-5

    checkpoint = changed_checkpoint(tmp_path / "clip", change)
    semscale_export.export_checkpoint(checkpoint, tmp_path / "out")
    rows = trt_graph.write_graph(towers(checkpoint)[0], tmp_path / "out/image", tmp_path / "graph", precision="fp16")
    assert {row.tower: row.passed for row in rows} == {"image (fp16 in torch)": False, "image (fp16 graph)": True}
    with pytest.raises(ParityError, match=r"image \(fp16 in torch\) tower gives .* --precision fp32$"):
        add_engines(checkpoint, tmp_path / "out", SETTINGS, say=str)
    assert not list((tmp_path / "out/image").rglob("*.engine"))
    assert not graph_of(tmp_path / "out", "image").exists()
    found = add_engines(checkpoint, tmp_path / "out", replace(SETTINGS, precision="fp32"), say=str)
    assert all(engine.built for engine in found)


def test_a_weight_that_does_not_fit_is_named(tmp_path, rtx):
    checkpoint = changed_checkpoint(tmp_path / "clip", lambda mlp: mlp.fc1.bias[:1].fill_(7e4))
    semscale_export.export_checkpoint(checkpoint, tmp_path / "out")
    with pytest.raises(ModelError, match=r"fc1\.bias does not fit into float16 .*65504.*choose --precision fp32"):
        add_engines(checkpoint, tmp_path / "out", SETTINGS, say=str)


def test_a_layer_norm_in_pieces_is_refused(made, tmp_path):
    with pytest.raises(ModelError, match="6 LayerNormalizations for 7 of the model; in pieces they overflow"):
        trt_graph.check_graph(graph_of(made["tiny"][0], "image"), norms=7)


# --- The engine --------------------------------------------------------------------------------------------------


def test_what_tensorrt_understood_of_each_tower(made, rtx):
    norms = {"tiny": {"image": 6, "text": 7}, "demo": {"image": 14, "text": 5}}
    for model, (out, _) in made.items():
        image, text = load_spec(out / "image"), load_spec(out / "text")
        assert inspect_graph(rtx, graph_of(out, "image")) == Network(
            Tensor("pixels", "UINT8", (-1, *image.input_shape)),
            Tensor("embedding", "FLOAT", (-1, image.dim)),
            norms[model]["image"],
        )
        assert inspect_graph(rtx, graph_of(out, "text")) == Network(
            Tensor("input_ids", "INT64", (-1, *text.input_shape)),
            Tensor("embedding", "FLOAT", (-1, text.dim)),
            norms[model]["text"],
        )


@pytest.mark.parametrize("tower", TOWERS)
def test_the_same_graph_gives_the_same_bytes_and_another_profile_others(made, rtx, tower):
    out, _ = made["tiny"]
    path = record_file(precision_folder(out / tower, "fp16"), RTX, ANY_GPU)
    kept = trt_files.read_engine(path, read_record(path))
    assert build_engine(rtx, graph_of(out, tower), profiles_for(16)) == kept
    assert build_engine(rtx, graph_of(out, tower), profiles_for(4)) != kept


@pytest.mark.parametrize("tower", TOWERS)
def test_half_weights_make_a_smaller_engine(made, rtx, tower):
    out, _ = made["demo"]
    path = record_file(precision_folder(out / tower, "fp16"), RTX, ANY_GPU)
    weights = sum(numpy_helper.to_array(t).nbytes for t in onnx.load(out / tower / "model.onnx").graph.initializer)
    assert weights > 1_000_000
    assert graph_of(out, tower).stat().st_size < 0.6 * weights
    assert len(trt_files.read_engine(path, read_record(path))) > 0.4 * weights


def test_profiles_for_small_and_full_batches():
    assert profiles_for(256) == (Profile(1, 8, 8), Profile(1, 256, 256))
    assert profiles_for(8) == (Profile(1, 8, 8),)
    assert profiles_for(1) == (Profile(1, 1, 1),)
    with pytest.raises(UsageError, match="--max-batch 0: must be at least 1"):
        profiles_for(0)


def test_a_graph_that_cannot_be_read_is_our_error_with_the_log(tmp_path, rtx):
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(
        ModelError, match=r"model\.onnx: tensorrt_rtx 1\.\S+ cannot read the graph \(.*parse.*\); remove"
    ):
        build_engine(rtx, tmp_path / "model.onnx", profiles_for(8))


def test_a_missing_profile_is_our_error_with_the_log(made, rtx):
    with pytest.raises(ModelError, match=r"built no engine \(.*no optimization profile has been defined.*\)"):
        build_engine(rtx, graph_of(made["tiny"][0], "text"), ())


def test_an_operation_unknown_to_tensorrt_is_named(tmp_path, rtx):
    value = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4])
    node = onnx.helper.make_node("Unheard", ["x"], ["y"], domain="made.up")
    graph = onnx.helper.make_graph([node], "g", [value], [onnx.helper.make_tensor_value_info("y", 1, ["b", 4])])
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("made.up", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"cannot read the graph \(.*Unheard"):
        build_engine(rtx, tmp_path / "model.onnx", profiles_for(8))


def test_layer_norms_that_tensorrt_took_apart_are_refused(made, rtx, monkeypatch):
    graph = graph_of(made["tiny"][0], "image")
    real = inspect_graph(rtx, graph)
    monkeypatch.setattr(trt_build, "_describe", lambda *_: replace(real, normalizations=2))
    with pytest.raises(ModelError, match="made 2 normalization layers of 6 LayerNormalizations"):
        build_engine(rtx, graph, profiles_for(8))


# --- The cache ---------------------------------------------------------------------------------------------------


def test_the_first_time_builds_and_says_so_and_the_second_finds(made, checkpoints, exported):
    name = exported.name
    lines = made[name][1]
    assert len(lines) == 2
    assert all(re.search(r"tensorrt/fp16: no engine yet; building one with tensorrt_rtx 1\.", line) for line in lines)
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*") if path.is_file()}
    said = []
    found = add_engines(checkpoints[name], exported, SETTINGS, say=said.append)
    assert (said, [engine.built for engine in found]) == ([], [False, False])
    assert {path: path.stat().st_mtime_ns for path in exported.rglob("*") if path.is_file()} == before
    assert {engine.file.parent.parent.parent.name for engine in found} == {"image", "text"}


def test_the_key_holds_everything_here_and_repeats_itself(made, checkpoints, rtx, tmp_path):
    out, _ = made["tiny"]
    key = engine_key(rtx, graph_of(out, "image"), SETTINGS)
    assert key == read_record(record_file(precision_folder(out / "image", "fp16"), RTX, ANY_GPU)).key
    assert (key.flavour, key.version, key.gpu) == (RTX, rtx.version, ANY_GPU)
    assert (key.precision, key.recipe, key.flags) == ("fp16", trt_files.RECIPE, ("strongly typed", "no TF32"))
    semscale_export.export_checkpoint(checkpoints["tiny"], tmp_path / "again")
    trt_graph_again = graph_after_a_second_export(checkpoints["tiny"], tmp_path / "again")
    assert engine_key(rtx, trt_graph_again, SETTINGS) == key


def graph_after_a_second_export(checkpoint, out):
    tower = towers(checkpoint)[0]
    folder = precision_folder(out / "image", "fp16")
    folder.mkdir(parents=True)
    return trt_graph.ensure_graph(tower, out / "image", folder)


def test_weights_beside_the_graph_are_part_of_its_hash(tmp_path):
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"graph")
    alone = graph_sha256(graph)
    (tmp_path / "model.onnx_data").write_bytes(b"weights")
    assert graph_sha256(graph) != alone
    assert graph_sha256(tmp_path / "none" / "model.onnx") == ""


CHANGES = {
    "onnx": ("b" * 64, "onnx is bbbbbbbbbbbb, was aaaaaaaaaaaa"),
    "version": ("11.0.0", "version is 11.0.0, was 10.14.1"),
    "gpu": (Gpu("NVIDIA H200", "9.0", "13.1"), "gpu is NVIDIA H200 9.0 13.1, was NVIDIA H200 9.0 13.0"),
    "recipe": (2, "recipe is 2, was 1"),
    "profiles": (profiles_for(4), "profiles is .*'high': 4.*, was .*'high': 16"),
    "flags": (("x", "y"), r"flags is \['x', 'y'\], was \['x'\]|flags is \('x', 'y'\), was \('x',\)"),
}


@pytest.mark.parametrize(("field", "change"), CHANGES.items())
def test_a_changed_key_builds_again_with_one_line_saying_why(tmp_path, field, change):
    value, said = change
    lines = []
    old = cached_engine(tmp_path, KEY, lambda: b"old", say=str)
    old.file.with_name(f"{old.file.name}.NVIDIA-H200.kernels").write_bytes(b"compiled for the old one")
    new = cached_engine(tmp_path, replace(KEY, **{field: value}), lambda: b"new", say=lines.append)
    assert new.built
    assert len(lines) == 1
    assert re.search(rf"building the engine again, because ({said})", lines[0])
    assert new.file.read_bytes() == b"new"
    assert not old.file.exists()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".engine", ".json"]


@pytest.mark.parametrize(
    "change", [{"gpu": Gpu("NVIDIA L4", "8.9", "13.0")}, {"flavour": RTX, "gpu": ANY_GPU}], ids=["gpu", "library"]
)
def test_machines_of_different_kinds_share_a_folder(tmp_path, change):
    other = replace(KEY, **change)
    built = [cached_engine(tmp_path, key, lambda: b"x", say=str) for key in (KEY, other, KEY, other)]
    assert [engine.built for engine in built] == [True, True, False, False]


@pytest.mark.parametrize("damage", ["changed", "shortened", "gone", "record", "format"])
def test_a_damaged_engine_is_named_and_built_again(tmp_path, damage):
    file = cached_engine(tmp_path, KEY, lambda: b"an engine", say=str).file
    record = record_file(tmp_path, KEY.flavour, KEY.gpu)
    if damage in ("record", "format"):
        record.write_text(record.read_text().replace('"format": 1', '"format": 0') if damage == "format" else "{")
    elif damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"an ENGINE" if damage == "changed" else b"an")
    lines = []
    again = cached_engine(tmp_path, KEY, lambda: b"an engine", say=lines.append)
    assert again.built
    assert len(lines) == 1
    assert lines[0].startswith(str(record if damage in ("record", "format") else file))
    assert again.file.read_bytes() == b"an engine"
    assert not cached_engine(tmp_path, KEY, lambda: b"never", say=str).built


def test_a_build_that_fails_leaves_what_was_there(tmp_path):
    def fail():
        raise ModelError("no")

    before = cached_engine(tmp_path, KEY, lambda: b"x", say=str)
    with pytest.raises(ModelError):
        cached_engine(tmp_path, replace(KEY, recipe=2), fail, say=str)
    assert cached_engine(tmp_path, KEY, fail, say=str) == replace(before, built=False)


def test_a_crash_before_the_record_leaves_no_half_engine(tmp_path, monkeypatch):
    from semscale_export import engine_cache

    def crash(path, data):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        path.write_bytes(data)

    monkeypatch.setattr(engine_cache, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        cached_engine(tmp_path, KEY, lambda: b"x", say=str)
    monkeypatch.undo()
    assert cached_engine(tmp_path, KEY, lambda: b"x", say=str).built


def test_another_process_that_builds_is_waited_for_and_its_engine_found(made, checkpoints, tmp_path):
    out, _ = made["tiny"]
    found = []
    work = threading.Thread(target=lambda: found.extend(add_engines(checkpoints["tiny"], out, SETTINGS, say=str)))
    with planning(precision_folder(out / "image", "fp16")):
        work.start()
        work.join(3)
        assert work.is_alive()
        assert found == []
    work.join(60)
    assert [engine.built for engine in found] == [False, False]


# --- Refusals ----------------------------------------------------------------------------------------------------


class Forbidden:
    """A library whose objects must not be made here: without a driver that can end the process."""

    __version__ = "10.14.1"

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)

    def Builder(self, log):
        raise AssertionError("a builder was made without a driver")

    Runtime = Builder


@pytest.fixture
def enterprise(monkeypatch):
    """`tensorrt` is installed, and there is no driver."""
    module = Forbidden()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(trt_driver, "_library", lambda: None)
    load_library.cache_clear()
    yield Library(module, "tensorrt", module.__version__, trt_library._logger(module))
    load_library.cache_clear()


def test_without_a_driver_nothing_of_enterprise_tensorrt_is_made(enterprise, tmp_path):
    with pytest.raises(UsageError, match=r"builds engines on the GPU that runs them, and there is no NVIDIA driver"):
        build_engine(enterprise, tmp_path / "model.onnx", profiles_for(8))
    with pytest.raises(UsageError, match=r"install tensorrt-rtx, which builds anywhere"):
        export_engines("./no/such", tmp_path, EngineSettings(flavour="tensorrt"), say=str)
    with pytest.raises(UsageError, match="no NVIDIA driver"):
        engine_key(enterprise, write_bytes(tmp_path / "model.onnx"), SETTINGS)


def write_bytes(path):
    path.write_bytes(b"x")
    return path


def test_the_library_that_can_build_here_is_chosen(enterprise, monkeypatch):
    portable = Forbidden()
    portable.__version__ = "1.7.1.116"
    monkeypatch.setitem(sys.modules, RTX, portable)
    load_library.cache_clear()
    assert choose_library().flavour == RTX
    monkeypatch.setattr(engines, "driver_problem", lambda: "")
    assert choose_library().flavour == "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert choose_library().flavour == RTX


def test_libraries_that_are_absent_old_or_unknown(monkeypatch):
    load_library.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, RTX, None)
    with pytest.raises(MissingDependencyError, match=r"needs tensorrt-rtx \(or tensorrt\).*'semscale\[tensorrt-rtx\]'"):
        choose_library()
    with pytest.raises(MissingDependencyError, match=r"needs tensorrt, .*'semscale\[tensorrt\]'"):
        load_library("tensorrt")
    with pytest.raises(UsageError, match="unknown TensorRT library 'trt'; choose from"):
        load_library("trt")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.9.0.34"))
    with pytest.raises(ModelError, match=r"tensorrt 10\.9\.0\.34 is too old, semscale needs 10\.13 or newer"):
        load_library("tensorrt")
    load_library.cache_clear()


def test_a_broken_installation_surfaces_untouched(tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("import a_part_that_is_gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    load_library.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="a_part_that_is_gone"):
        load_library("tensorrt")


def test_an_export_of_other_weights_keeps_its_engines(made, checkpoints):
    out, _ = made["tiny"]
    with pytest.raises(UsageError, match=r"holds an export of other weights .*choose another folder"):
        add_engines(checkpoints["demo"], out, SETTINGS, say=str)


def test_wrong_settings_are_refused_before_any_work(tmp_path, rtx):
    for settings, said in [
        (EngineSettings(precision="int8"), r"one of \['fp16', 'fp32'\], not in 'int8'"),
        (EngineSettings(max_batch=0), "--max-batch 0"),
    ]:
        with pytest.raises(UsageError, match=said):
            export_engines("./no/such/model", tmp_path / "out", settings, say=str)
    assert list(tmp_path.iterdir()) == []


def test_building_is_silent(made, checkpoints, capfd):
    out, _ = made["tiny"]
    built = add_engines(checkpoints["tiny"], out, replace(SETTINGS, precision="fp32"), say=str)
    assert all(engine.built for engine in built)
    assert capfd.readouterr() == ("", "")


def test_a_model_by_name_gets_engines_once_and_an_exported_folder_is_taken_as_it_is(made, tiny_checkpoint):
    lines = []
    folders = {engines.ensure_engines(str(tiny_checkpoint), SETTINGS, say=lines.append) for _ in range(2)}
    assert len(lines) == 2  # one a tower
    assert len(folders) == 1
    assert len(list(folders.pop().rglob("*.engine"))) == 2
    out, _ = made["demo"]
    assert engines.ensure_engines(str(out), replace(SETTINGS, max_batch=3), say=lines.append) == out
    assert len(lines) == 2


def test_the_runtime_is_refused_by_the_real_library_with_its_reason(made, rtx):
    if not driver_problem():
        pytest.skip("there is a driver, so the engine would load")
    out, _ = made["tiny"]
    path = record_file(precision_folder(out / "text", "fp16"), RTX, ANY_GPU)
    data, spec = trt_files.read_engine(path, read_record(path)), load_spec(out / "text")
    with pytest.raises(ModelError, match=rf"text\.engine: {RTX} \S+ refuses the engine \(.*CUDA driver.*\)"):
        load_engine(rtx, data, Path("text.engine"), profiles=profiles_for(16), spec=spec, gpu=ANY_GPU)


def test_the_real_library_has_what_the_runtime_calls(rtx):
    trt = rtx.module
    engine = ["num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_shape"]
    engine += ["create_runtime_config", "create_execution_context"]
    kernels = ["create_runtime_cache", "set_runtime_cache", "cuda_graph_strategy"]
    assert [name for name in kernels if not hasattr(trt.IRuntimeConfig, name)] == []
    assert [name for name in ("serialize", "deserialize") if not hasattr(trt.IRuntimeCache, name)] == []
    context = ["set_optimization_profile_async", "set_input_shape", "set_tensor_address", "execute_async_v3"]
    assert all(hasattr(trt.ICudaEngine, name) for name in engine)
    assert all(hasattr(trt.IExecutionContext, name) for name in context)
    assert hasattr(trt.IRuntimeConfig, "cuda_graph_strategy")
    assert hasattr(trt.CudaGraphStrategy, "WHOLE_GRAPH_CAPTURE")
    assert hasattr(trt.Runtime, "deserialize_cuda_engine")
    assert [trt.TensorIOMode.INPUT.name, trt.TensorIOMode.OUTPUT.name] == ["INPUT", "OUTPUT"]
    kinds = [trt.DataType.UINT8, trt.DataType.INT64, trt.DataType.FLOAT]
    assert [trt.nptype(kind).__name__ for kind in kinds] == ["uint8", "int64", "float32"]


# --- On a GPU ----------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("model", MODELS)
def test_engines_agree_with_onnxruntime_on_a_gpu(checkpoints, tmp_path, model, tower, precision):
    from semscale.encoders.trt import TrtEncoder

    if problem := driver_problem():
        pytest.skip(f"no engine can be run: {problem}")
    out = Path(tmp_path / model)
    semscale_export.export_checkpoint(checkpoints[model], out)
    add_engines(checkpoints[model], out, EngineSettings(precision=precision, max_batch=16), say=str)
    encoder = TrtEncoder.open(out / tower, threads=None, precision=precision)
    for count in (1, 8, 9, 16, 50, 3):  # every regime, cut and uncut, before and after the graphs are captured
        inputs = random_inputs(encoder.spec, count, seed=count)
        expected, actual = run(out / tower, inputs), encoder.encode(inputs)
        assert np.isfinite(actual).all()
        np.testing.assert_array_equal(actual, encoder.encode(inputs))
        tolerance = 1e-3 if precision == "fp16" else 1e-5
        assert (actual * expected).sum(axis=1).min() >= 1 - tolerance
        if count > 2:
            assert centred_cosines(actual, expected).min() >= 1 - tolerance
    encoder.close()
