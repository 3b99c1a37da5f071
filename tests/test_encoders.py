"""Back ends: opened by name, checked at the door, the same bytes wherever a row stands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from checkpoints import write_clip
from onnx import TensorProto, helper

from semscale import encoders
from semscale.encoders import BackEnd, auto, find_exported, load_spec, open_encoder, ort, ort_cuda
from semscale.encoders.fake import FakeEncoder
from semscale.errors import MissingDependencyError, ModelError, UsageError

TOWERS = ["image", "text"]


def random_inputs(spec, count, seed=0):
    high = 256 if spec.kind == "image" else spec.tokens.eos + 1
    return np.random.default_rng(seed).integers(0, high, (count, *spec.input_shape)).astype(spec.input_dtype)


def edit_spec(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def identity_tower(folder, tiny_export, *, factor):
    """A text tower whose graph divides its ids by `factor`."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(tiny_export / "text/model.json", folder / "model.json")
    edit_spec(folder / "model.json", dim=24, graph="")
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 24])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 24])
    constant = helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "factor"], ["embedding"]),
    ]
    graph = helper.make_graph(nodes, "tower", [ids], [out], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_find_exported(tiny_export, tiny_checkpoint, tmp_path):
    assert find_exported(tiny_export) == tiny_export
    assert find_exported(tiny_checkpoint) is None
    assert find_exported(tmp_path / "absent") is None


def test_unknown_back_end_lists_the_choices(tiny_export):
    with pytest.raises(UsageError, match=r"unknown back end 'tpu'; choose from \['cuda', 'fake', 'onnx', "):
        open_encoder(tiny_export / "image", backend="tpu")


def test_unknown_precision_names_those_there_are(tiny_export):
    with pytest.raises(UsageError, match="'onnx' has no precision 'bf16'; choose from fp32, int8"):
        open_encoder(tiny_export / "image", precision="bf16")


@pytest.mark.parametrize(
    ("state", "default"), [("amx", "bf16"), ("avx512", "bf16"), ("absent", "fp32"), ("broken", "fp32")]
)
def test_the_processor_decides_the_default_of_openvino(monkeypatch, state, default):
    monkeypatch.setattr(encoders, "bf16", lambda: state)
    assert encoders.precision_of("openvino") == default
    assert encoders.precision_of("openvino", "bf16") == "bf16"
    assert encoders.precision_of("onnx") == "fp32"


def test_missing_library_names_the_extra(tiny_export, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "semscale.encoders.ort", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'semscale\[cpu\]'"):
        open_encoder(tiny_export / "image")


def test_another_import_error_surfaces_untouched(tiny_export, tmp_path, monkeypatch):
    (tmp_path / "broken_back_end.py").write_text("import part_of_a_library_that_is_gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(encoders.BACK_ENDS, "onnx", BackEnd("broken_back_end:X", "onnxruntime", "cpu"))
    with pytest.raises(ModuleNotFoundError, match="part_of_a_library_that_is_gone"):
        open_encoder(tiny_export / "image")


def test_missing_or_damaged_model_is_named(tiny_export, tmp_path):
    with pytest.raises(ModelError, match="give the folder of one tower"):
        open_encoder(tiny_export)
    shutil.copyfile(tiny_export / "image/model.json", tmp_path / "model.json")
    with pytest.raises(ModelError, match=r"model\.onnx: no such file"):
        open_encoder(tmp_path)
    (tmp_path / "model.onnx").write_bytes((tiny_export / "image/model.onnx").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"model\.onnx: not the file that was exported with model\.json"):
        open_encoder(tmp_path)
    edit_spec(tmp_path / "model.json", graph="")
    with pytest.raises(ModelError, match="ONNX Runtime cannot load it"):
        open_encoder(tmp_path)


def test_the_graph_of_another_model_is_refused_by_every_back_end(tiny_export, tmp_path):
    folder = Path(shutil.copytree(tiny_export / "image", tmp_path / "image"))
    model = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(model + b"\0")
    for backend in ("onnx", "openvino"):
        with pytest.raises(ModelError, match="not the file that was exported"):
            open_encoder(folder, backend=backend, precision="fp32")
    (folder / "model.onnx").write_bytes(model)
    open_encoder(folder).close()


@pytest.mark.parametrize("changes", [{"dim": 31}, {"input_shape": [32, 64, 3]}, {"input_dtype": "float32"}])
def test_a_specification_that_the_graph_does_not_fit_is_refused(tiny_export, tmp_path, changes):
    folder = Path(shutil.copytree(tiny_export / "image", tmp_path / "image"))
    edit_spec(folder / "model.json", **changes)
    with pytest.raises(ModelError, match=r"and model\.json says .*export the model again"):
        open_encoder(folder)


def test_towers_in_one_anothers_place_are_refused(tiny_export, tmp_path):
    shutil.copytree(tiny_export / "text", tmp_path / "image")
    with pytest.raises(ModelError, match="is of the text tower"):
        load_spec(tmp_path / "image")


@pytest.mark.parametrize("size", [0, -1, 10**9, "large"])
def test_a_specification_with_an_impossible_size_is_refused(tiny_export, tmp_path, size):
    folder = Path(shutil.copytree(tiny_export / "image", tmp_path / "image"))
    spec = json.loads((folder / "model.json").read_text())
    edit_spec(folder / "model.json", preprocess={**spec["preprocess"], "size": size})
    with pytest.raises(ModelError, match=r"model\.json: not a model specification"):
        load_spec(folder)


@pytest.mark.parametrize(
    ("backend", "module", "library", "extra"),
    [("openvino", "ov", "openvino", "openvino"), ("cuda", "ort_cuda", "onnxruntime", "gpu")],
)
def test_every_library_that_is_missing_names_its_extra(tiny_export, monkeypatch, backend, module, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"semscale.encoders.{module}", raising=False)
    with pytest.raises(MissingDependencyError, match=rf"{library}.*pip install 'semscale\[{extra}\]'"):
        open_encoder(tiny_export / "image", backend=backend, precision="fp32")


def test_provider_that_is_not_there_is_refused(tiny_export):
    from semscale.encoders.ort import OrtEncoder

    with pytest.raises(UsageError, match="has no TensorrtExecutionProvider"):
        OrtEncoder(tiny_export / "image", provider="TensorrtExecutionProvider")


@pytest.mark.parametrize("backend", ["onnx", "fake"])
@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_row_has_the_same_bytes_wherever_it_stands(tiny_export, backend, tower, size):
    encoder = open_encoder(tiny_export / tower, backend=backend)
    inputs = random_inputs(encoder.spec, size)
    seen = set()
    for position in range(size):
        batch = random_inputs(encoder.spec, size, seed=position + 1)
        batch[position] = inputs[0]
        seen.add(encoder.encode(batch)[position].tobytes())
    assert len(seen) == 1


def test_embedding_that_is_not_finite_is_handed_on(tiny_export, tmp_path):
    inputs = np.ones((3, 24), np.int64)
    inputs[1, 5] = 0
    good = open_encoder(identity_tower(tmp_path / "good", tiny_export, factor=2.0))
    np.testing.assert_array_equal(good.encode(inputs), inputs / np.float32(2))
    bad = open_encoder(identity_tower(tmp_path / "bad", tiny_export, factor=0.0))
    assert not np.isfinite(bad.encode(inputs)).any()


def test_inputs_need_not_be_contiguous(tiny_export):
    encoder = open_encoder(tiny_export / "image")
    inputs = random_inputs(encoder.spec, 4)
    strided = np.repeat(inputs, 2, axis=0)[::2]
    np.testing.assert_array_equal(encoder.encode(strided), encoder.encode(inputs))


def test_fake_needs_no_model(tiny_export, tmp_path):
    shutil.copyfile(tiny_export / "image/model.json", tmp_path / "model.json")
    opened = open_encoder(tmp_path, backend="fake")
    inputs = random_inputs(opened.spec, 3)
    np.testing.assert_array_equal(opened.encode(inputs), FakeEncoder(opened.spec).encode(inputs))
    black, grey = np.zeros_like(inputs), np.full_like(inputs, 127)
    assert np.isfinite(opened.encode(np.concatenate([black, grey]))).all()


def test_scoring_an_exported_folder_is_light_and_silent(tiny_export):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from semscale_export.cache import ensure_exported\n"
        "from semscale.encoders import open_encoder; from semscale.tokens import Tokenizer\n"
        "folder = ensure_exported(sys.argv[1])\n"
        "images = open_encoder(folder / 'image').encode(np.zeros((2, 64, 64, 3), np.uint8))\n"
        "texts = open_encoder(folder / 'text').encode(Tokenizer(folder / 'text').encode(['a cat', 'a dog'])[0])\n"
        "assert images.shape == texts.shape == (2, 32)\n"
        "print(*sorted({'transformers', 'optimum', 'onnx', 'torch', 'huggingface_hub'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tiny_export)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


class TestInt8:
    @pytest.fixture
    def folder(self, tiny_export, tmp_path):
        return shutil.copytree(tiny_export / "image", tmp_path / "image")

    def test_quantised_once_and_again_when_the_model_is_newer(self, folder):
        def made():
            open_encoder(folder, precision="int8").close()
            return (folder / "model.int8.2.onnx").stat().st_mtime_ns

        first = made()
        assert made() == first
        os.utime(folder / "model.onnx", ns=(first + 10**9, first + 10**9))
        assert made() != first
        assert sorted(os.listdir(folder)) == ["model.int8.2.onnx", "model.json", "model.onnx"]

    def test_needs_onnx_only_to_quantise(self, folder, monkeypatch):
        made = open_encoder(folder, precision="int8")
        monkeypatch.setitem(sys.modules, "onnx", None)
        again = open_encoder(folder, precision="int8")
        inputs = random_inputs(made.spec, 2)
        np.testing.assert_array_equal(again.encode(inputs), made.encode(inputs))
        (folder / "model.int8.2.onnx").unlink()
        with pytest.raises(MissingDependencyError, match="quantising to int8 needs onnx"):
            open_encoder(folder, precision="int8")

    def test_a_damaged_quantised_model_is_made_again(self, folder):
        inputs = random_inputs(load_spec(folder), 3)
        whole = open_encoder(folder, precision="int8").encode(inputs)
        made = folder / "model.int8.2.onnx"
        made.write_bytes(made.read_bytes()[:3000])
        np.testing.assert_array_equal(open_encoder(folder, precision="int8").encode(inputs), whole)

    def test_a_weight_that_is_cut_off_is_told(self, folder):
        model = onnx.load(folder / "model.onnx")
        weight = next(each for each in model.graph.initializer if len(each.dims) == 2 and "MatMul" in each.name)
        weight.raw_data = weight.raw_data[:-4]
        onnx.save(model, folder / "model.onnx")
        edit_spec(folder / "model.json", graph="")
        with pytest.raises(ModelError, match="cannot quantise it"):
            open_encoder(folder, precision="int8")
        assert sorted(os.listdir(folder)) == ["model.json", "model.onnx"]

    def test_damaged_or_missing_model_leaves_nothing_behind(self, folder):
        (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:5000])
        edit_spec(folder / "model.json", graph="")
        with pytest.raises(ModelError, match="cannot quantise it"):
            open_encoder(folder, precision="int8")
        assert sorted(os.listdir(folder)) == ["model.json", "model.onnx"]
        (folder / "model.onnx").unlink()
        with pytest.raises(ModelError, match=r"model\.onnx: no such file"):
            open_encoder(folder, precision="int8")


class Compiled:
    def __init__(self, taken):
        self.taken = taken

    def get_property(self, _):
        return self.taken


class TestOpenVino:
    @pytest.fixture(autouse=True)
    def needs_openvino(self):
        pytest.importorskip("openvino", reason="OpenVINO is not installed")

    def test_missing_or_damaged_model_is_named(self, tiny_export, tmp_path):
        shutil.copyfile(tiny_export / "image/model.json", tmp_path / "model.json")
        with pytest.raises(ModelError, match=r"model\.onnx: no such file"):
            open_encoder(tmp_path, backend="openvino", precision="fp32")
        (tmp_path / "model.onnx").write_bytes((tiny_export / "image/model.onnx").read_bytes()[:5000])
        edit_spec(tmp_path / "model.json", graph="")
        with pytest.raises(ModelError, match="OpenVINO cannot load it"):
            open_encoder(tmp_path, backend="openvino", precision="fp32")

    def test_precision_that_was_not_taken_is_an_error(self, tiny_export, monkeypatch):
        from semscale.encoders import ov

        taken = Compiled(ov.TYPES["bf16"])
        monkeypatch.setattr(ov.openvino, "Core", lambda: Mock(compile_model=Mock(return_value=taken)))
        with pytest.raises(UsageError, match="does not run fp32 on this processor"):
            open_encoder(tiny_export / "image", backend="openvino", precision="fp32")

    def test_amx_that_does_not_work_is_refused_before_it_ends_the_process(self, tiny_export, monkeypatch):
        from semscale.encoders import ov

        monkeypatch.setattr(ov, "bf16", lambda: "broken")
        with pytest.raises(UsageError, match="would end the process here"):
            open_encoder(tiny_export / "image", backend="openvino", precision="bf16")


GPU = auto.Facts(
    modules={"tensorrt", "onnxruntime", "openvino", "transformers"}, gpu_problem="", cuda_provider=True, engine=True,
    bf16="amx",
)  # fmt: skip
CPU = replace(GPU, gpu_problem="there is no NVIDIA driver here", cuda_provider=False, engine=False)


class TestAuto:
    @pytest.mark.parametrize(
        ("facts", "line"),
        [
            (GPU, "tensorrt (fp16): installed, and there is an NVIDIA GPU"),
            (
                replace(GPU, engine=False),
                "cuda (fp32): installed, and there is an NVIDIA GPU; no TensorRT engine of this model",
            ),
            (
                replace(GPU, engine=False, cuda_provider=False),
                "openvino (bf16): installed, and this processor has AMX; no TensorRT engine of this model; "
                "this onnxruntime has no CUDA provider",
            ),
            (CPU, "openvino (bf16): installed, and this processor has AMX; there is no NVIDIA driver here"),
            (
                replace(CPU, bf16="avx512"),
                "onnx (fp32): installed; there is no NVIDIA driver here; openvino passed over, "
                "its bf16 is less exact and only twice as fast here; --backend openvino takes it",
            ),
            (
                replace(CPU, bf16="absent"),
                "onnx (fp32): installed; there is no NVIDIA driver here; openvino passed over, "
                "this processor has no AMX",
            ),
            (
                replace(CPU, modules={"onnxruntime"}),
                "onnx (fp32): installed; there is no NVIDIA driver here; openvino not installed",
            ),
            (
                replace(CPU, modules={"transformers"}),
                "torch (fp32): installed; there is no NVIDIA driver here; openvino not installed; "
                "onnxruntime not installed",
            ),
        ],
    )
    def test_first_that_can_run_and_why(self, facts, line):
        choice = auto.choose(facts)
        assert choice.why == line
        assert line.startswith(f"{choice.backend} ({choice.precision}): ")

    def test_broken_amx_is_told(self):
        choice = auto.choose(replace(CPU, bf16="broken"))
        assert choice.backend == "onnx"
        assert "the AMX that this processor announces does not work" in choice.why

    def test_candidates_may_be_fewer(self):
        assert auto.choose(GPU, ["openvino", "onnx"]).backend == "openvino"

    def test_nothing_installed_says_what_to_install(self):
        with pytest.raises(MissingDependencyError, match=r"semscale\[cpu\]"):
            auto.choose(replace(CPU, modules=set()))

    def test_the_precision_asked_for_is_the_one_told_and_the_one_an_engine_is_looked_for_in(self, tmp_path):
        assert auto.choose(CPU, ["onnx"], "int8").why.startswith("onnx (int8): ")
        for made, asked, found in (("fp16", None, True), ("fp16", "fp32", False), ("fp32", "fp32", True)):
            folder = tmp_path / f"{made}-{asked}"
            (folder / "image/tensorrt" / made).mkdir(parents=True)
            (folder / "image/tensorrt" / made / "tensorrt_rtx.json").write_text("{}")
            assert auto.facts(folder, asked).engine is found
        assert auto.facts(tmp_path, "int8").engine is False

    def test_what_it_chooses_here_opens(self, tiny_export):
        choice = auto.choose(auto.facts(tiny_export))
        encoder = open_encoder(tiny_export / "image", backend=choice.backend, precision=choice.precision)
        assert encoder.spec.precision == choice.precision
        encoder.close()


class FakeOrt:
    """ONNX Runtime with a CUDA provider: the arithmetic is the CPU's, device memory an array."""

    SessionOptions = onnxruntime.SessionOptions
    chosen = ort_cuda.CUDA  # what a session comes up on

    class OrtValue:
        def __init__(self, shape, dtype):
            self.memory = np.full(shape, 7, dtype)

        @classmethod
        def ortvalue_from_shape_and_type(cls, shape, dtype, device, device_id):
            assert (device, device_id) == ("cuda", 0)
            return cls(shape, dtype)

        def update_inplace(self, array):
            assert (array.shape, array.dtype) == (self.memory.shape, self.memory.dtype)
            self.memory[...] = array

        def numpy(self):
            return self.memory.copy()

    class Binding:
        def bind_ortvalue_input(self, name, value):
            self.input = {name: value}

        def bind_ortvalue_output(self, name, value):
            self.output = {name: value}

    def __init__(self):
        self.sessions = []
        self.runs = []  # rows of each

    def get_available_providers(self):
        return [ort_cuda.CUDA, "CPUExecutionProvider"]

    def InferenceSession(self, path, options, providers):
        real = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.sessions.append(providers)

        def run(binding):
            ((name, value),), ((out, target),) = binding.input.items(), binding.output.items()
            self.runs.append(len(value.memory))
            target.memory[...] = real.run([out], {name: value.memory})[0]

        return Mock(
            get_providers=lambda: [self.chosen],
            get_inputs=real.get_inputs,
            get_outputs=real.get_outputs,
            io_binding=self.Binding,
            run_with_iobinding=run,
        )


class TestCuda:
    @pytest.fixture
    def fake(self, monkeypatch):
        fake = FakeOrt()
        monkeypatch.setattr(ort_cuda, "onnxruntime", fake)
        monkeypatch.setattr(ort, "onnxruntime", fake)
        monkeypatch.setattr(ort_cuda, "driver_problem", lambda: "")
        return fake

    @pytest.mark.parametrize(("tower", "runs"), [("image", [32, 32]), ("text", [8] * 5)])
    def test_every_run_has_the_one_shape_and_every_row_its_place(self, fake, tiny_export, tower, runs):
        encoder = open_encoder(tiny_export / tower, backend="cuda")
        inputs = random_inputs(encoder.spec, 40)
        embeddings = encoder.encode(inputs)
        assert fake.runs == runs
        real = onnxruntime.InferenceSession(tiny_export / tower / "model.onnx", providers=["CPUExecutionProvider"])
        expected = real.run(None, {real.get_inputs()[0].name: inputs})[0]
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
        assert encoder.encode(inputs[:0]).shape == (0, 32)
        encoder.close()
        encoder.close()
        with pytest.raises(UsageError, match="closed"):
            encoder.encode(inputs)

    @pytest.mark.parametrize(("precision", "tf32"), [("fp32", 0), ("tf32", 1)])
    def test_one_provider_with_graphs_and_tf32_only_when_asked_for(self, fake, tiny_export, precision, tf32):
        encoder = open_encoder(tiny_export / "text", backend="cuda", precision=precision)
        assert encoder.spec.precision == precision
        options = {"device_id": 0, "enable_cuda_graph": 1, "use_tf32": tf32}
        assert fake.sessions == [[("CUDAExecutionProvider", options)]]

    def test_session_on_another_provider_is_an_error(self, fake, tiny_export):
        fake.chosen = "CPUExecutionProvider"
        with pytest.raises(ModelError, match="asked for CUDAExecutionProvider, and ONNX Runtime chose"):
            open_encoder(tiny_export / "image", backend="cuda")

    def test_no_driver_is_an_error(self, fake, tiny_export, monkeypatch):
        monkeypatch.setattr(ort_cuda, "driver_problem", lambda: "there is no NVIDIA driver here")
        with pytest.raises(UsageError, match="'cuda': there is no NVIDIA driver here"):
            open_encoder(tiny_export / "image", backend="cuda")

    def test_onnxruntime_without_cuda_says_what_to_install(self, tiny_export, monkeypatch):
        monkeypatch.setattr(ort_cuda.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(UsageError, match=r"pip uninstall -y onnxruntime && pip install 'semscale\[gpu\]'"):
            open_encoder(tiny_export / "image", backend="cuda")


class TestTorch:
    @pytest.fixture
    def folder(self, tiny_export, tmp_path):
        return shutil.copytree(tiny_export, tmp_path / "model")

    def test_it_runs_the_checkpoint_beside_the_towers(self, folder, tiny_checkpoint, tmp_path):
        with pytest.raises(ModelError, match=r"where tiny-clip lies is not known; put its folder.*checkpoint"):
            open_encoder(folder / "image", backend="torch")
        (folder / "checkpoint").symlink_to(tiny_checkpoint)
        encoder = open_encoder(folder / "image", backend="torch")
        assert encoder.spec == load_spec(folder / "image")
        inputs = random_inputs(encoder.spec, 3)
        before = torch.get_num_threads()
        one = open_encoder(folder / "image", backend="torch", threads=1)
        np.testing.assert_allclose(one.encode(inputs), encoder.encode(inputs), atol=1e-5)
        assert torch.get_num_threads() == before

    def test_other_weights_are_refused(self, folder, tmp_path):
        (folder / "checkpoint").symlink_to(write_clip(tmp_path / "other", seed=1))
        with pytest.raises(ModelError, match="not the weights that"):
            open_encoder(folder / "text", backend="torch")

    def test_half_precision_needs_a_gpu(self, folder, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(UsageError, match="runs fp16 on an NVIDIA GPU only"):
            open_encoder(folder / "image", backend="torch", precision="fp16")

    @pytest.mark.parametrize("tower", TOWERS)
    def test_half_precision_is_half_inside_alone(self, folder, tiny_checkpoint, monkeypatch, tower):
        from semscale_export import reference

        (folder / "checkpoint").symlink_to(tiny_checkpoint)
        monkeypatch.setattr(reference, "_device", lambda _: torch.device("cpu"))  # slow there, and the same code
        half = open_encoder(folder / tower, backend="torch", precision="fp16")
        inputs = random_inputs(half.spec, 3)
        embeddings, expected = half.encode(inputs), open_encoder(folder / tower).encode(inputs)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
        assert 1e-6 < np.abs(embeddings - expected).max() < 3e-2


def test_int8_of_a_model_without_products_is_refused_and_leaves_nothing(model_without_products):
    with pytest.raises(UsageError, match="no matrix product with constant weights"):
        open_encoder(model_without_products, precision="int8")
    assert sorted(os.listdir(model_without_products)) == ["model.json", "model.onnx"]


@pytest.fixture
def model_without_products(tmp_path):
    from onnx import TensorProto, helper, save
    from test_trt_runtime import SPEC

    flat = helper.make_node("ReduceMean", ["pixels"], ["embedding"], axes=[1, 2], keepdims=0)
    graph = helper.make_graph(
        [helper.make_node("Cast", ["raw"], ["pixels"], to=TensorProto.FLOAT), flat],
        "mean",
        [helper.make_tensor_value_info("raw", TensorProto.UINT8, ["batch", 4, 4, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "model.onnx")
    (tmp_path / "model.json").write_text(SPEC.to_json())
    return tmp_path
