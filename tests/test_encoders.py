"""Back ends: opened by name, checked at the door, the same bytes wherever a row stands."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from semscale import encoders
from semscale.encoders import BackEnd, find_exported, load_spec, open_encoder
from semscale.encoders.fake import FakeEncoder
from semscale.errors import MissingDependencyError, ModelError, UsageError

TOWERS = ["image", "text"]


def random_inputs(spec, count, seed=0):
    high = 256 if spec.kind == "image" else spec.tokens.eos + 1
    return np.random.default_rng(seed).integers(0, high, (count, *spec.input_shape)).astype(spec.input_dtype)


def identity_tower(folder, tiny_export, *, factor):
    """A text tower whose graph divides its ids by `factor`."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(tiny_export / "text/model.json", folder / "model.json")
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
    with pytest.raises(UsageError, match=r"unknown back end 'tpu'; choose from \['fake', 'onnx'\]"):
        open_encoder(tiny_export / "image", backend="tpu")


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
    with pytest.raises(ModelError, match="ONNX Runtime cannot load it"):
        open_encoder(tmp_path)


def test_provider_that_is_not_there_is_refused(tiny_export):
    from semscale.encoders.ort import OrtEncoder

    with pytest.raises(UsageError, match="has no TensorrtExecutionProvider"):
        OrtEncoder(tiny_export / "image", provider="TensorrtExecutionProvider")


@pytest.mark.parametrize("backend", ["onnx", "fake"])
@pytest.mark.parametrize("tower", TOWERS)
class TestContract:
    """What every back end keeps."""

    @pytest.fixture
    def encoder(self, tiny_export, tower, backend):
        encoder = open_encoder(tiny_export / tower, backend=backend)
        yield encoder
        encoder.close()

    def test_unit_rows_of_the_stated_shape(self, encoder):
        embeddings = encoder.encode(random_inputs(encoder.spec, 5))
        assert (embeddings.shape, embeddings.dtype) == ((5, 32), np.float32)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)

    def test_different_inputs_get_different_embeddings(self, encoder):
        embeddings = encoder.encode(random_inputs(encoder.spec, 6))
        others = (embeddings @ embeddings.T)[~np.eye(6, dtype=bool)]
        assert others.max() < 0.9999

    def test_no_inputs(self, encoder):
        assert encoder.encode(random_inputs(encoder.spec, 0)).shape == (0, 32)

    @pytest.mark.parametrize("size", [2, 3, 8])
    def test_a_row_has_the_same_bytes_wherever_it_stands(self, encoder, size):
        inputs = random_inputs(encoder.spec, size)
        seen = set()
        for position in range(size):
            batch = random_inputs(encoder.spec, size, seed=position + 1)
            batch[position] = inputs[0]
            seen.add(encoder.encode(batch)[position].tobytes())
        assert len(seen) == 1

    def test_batch_size_changes_no_more_than_rounding(self, encoder):
        inputs = random_inputs(encoder.spec, 7)
        whole = encoder.encode(inputs)
        one_by_one = np.concatenate([encoder.encode(inputs[i : i + 1]) for i in range(7)])
        np.testing.assert_allclose(whole, one_by_one, atol=1e-5)

    def test_wrong_shape_and_type_are_refused_with_both(self, encoder):
        spec = encoder.spec
        inputs = random_inputs(spec, 2)
        with pytest.raises(UsageError) as caught:
            encoder.encode(inputs[:, 1:])
        assert str(inputs[:, 1:].shape) in str(caught.value)
        assert ", ".join(map(str, spec.input_shape)) in str(caught.value)
        with pytest.raises(UsageError, match=f"{spec.input_dtype}, not .* float32"):
            encoder.encode(inputs.astype(np.float32))
        with pytest.raises(UsageError):
            encoder.encode(inputs[0])


@pytest.mark.parametrize("tower", TOWERS)
def test_number_of_threads_changes_no_more_than_rounding(tiny_export, tower):
    inputs = random_inputs(load_spec(tiny_export / tower), 4)
    one, three = (open_encoder(tiny_export / tower, threads=threads).encode(inputs) for threads in (1, 3))
    np.testing.assert_allclose(one, three, atol=1e-5)


def test_closed_encoder_says_so(tiny_export):
    encoder = open_encoder(tiny_export / "text")
    encoder.close()
    encoder.close()
    with pytest.raises(UsageError, match="closed"):
        encoder.encode(random_inputs(encoder.spec, 1))


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
