"""What every back end keeps, for each back end and precision that runs here; the others are skipped with the reason."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from semscale.encoders import BACK_ENDS, load_spec, open_encoder
from semscale.encoders.ort import OrtEncoder
from semscale.errors import MissingDependencyError, ModelError, UsageError

CASES = [(backend, precision) for backend, entry in BACK_ENDS.items() for precision in entry.precisions]
ABSENT = {
    "openvino": ["OpenVINO's bf16 would end the process here", "does not run bf16 on this processor"],
    "cuda": ["has no CUDAExecutionProvider", "no NVIDIA driver", "no GPU it can use"],
    "tensorrt": ["no NVIDIA driver", "no GPU it can use", "needs tensorrt", "no engine of"],
    "torch": ["on an NVIDIA GPU only"],
}  # why a back end may refuse to open here; any other refusal fails the test


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Of the random CLIP of two and three layers; larger models add up more rounding."""

    reference: float  # largest difference of a coordinate from float32 in ONNX Runtime
    batch: float  # the same between batch sizes and positions; 0: the same bytes
    length: float = 1e-6  # from 1


TOLERANCES = {
    "fp32": Tolerance(1e-5, 1e-5),
    "tf32": Tolerance(5e-3, 1e-3),
    "fp16": Tolerance(5e-3, 1e-3),
    "bf16": Tolerance(3e-2, 1e-2),
    "int8": Tolerance(1e-1, 0.0),
}
ONE_SHAPE = {"openvino", "cuda", "fake"}  # the same bytes whatever comes along


@pytest.fixture(scope="module")
def exported(tiny_export, tiny_checkpoint, tmp_path_factory) -> Path:
    """A copy of `tiny_export` that knows its checkpoint, and may be written to."""
    folder = Path(shutil.copytree(tiny_export, tmp_path_factory.mktemp("backends") / "model"))
    (folder / "checkpoint").symlink_to(tiny_checkpoint)
    return folder


def random_inputs(spec, count, seed=0):
    """Pixels, or texts that end with the end-of-text token, so that the tower sees all of them."""
    rng = np.random.default_rng(seed)
    if spec.kind == "image":
        return rng.integers(0, 256, (count, *spec.input_shape)).astype(spec.input_dtype)
    ids = rng.integers(0, spec.tokens.eos, (count, *spec.input_shape)).astype(spec.input_dtype)
    ids[:, -1] = spec.tokens.eos
    return ids


@dataclass(frozen=True, slots=True)
class Case:
    """One tower on one back end in one precision."""

    model: Path
    tower: str
    backend: str
    precision: str

    def open(self, tower=None, **options):
        folder = self.model / (tower or self.tower)
        try:
            return open_encoder(folder, backend=self.backend, precision=self.precision, **options)
        except (MissingDependencyError, UsageError, ModelError) as error:
            known = any(why in str(error) for why in ABSENT.get(self.backend, []))
            if isinstance(error, MissingDependencyError) or known:
                pytest.skip(f"{self.backend} {self.precision}: {error}")
            raise

    @property
    def tolerance(self):
        stated = TOLERANCES[self.precision]
        return replace(stated, batch=0.0) if self.backend in ONE_SHAPE else stated


PROMISES = []


def promise(function):
    """A test of a Case and its open encoder."""
    PROMISES.append(function)
    return function


@promise
def it_is_close_to_float32(case, encoder):
    if case.backend == "fake":
        return  # its embeddings mean nothing
    inputs = random_inputs(encoder.spec, 37)
    difference = np.abs(encoder.encode(inputs) - OrtEncoder(case.model / case.tower).encode(inputs)).max()
    assert difference <= case.tolerance.reference
    if case.precision != "fp32":
        assert difference > 1e-6  # it really computes in what it says


@promise
def rows_have_the_stated_shape_type_and_length(case, encoder):
    embeddings = encoder.encode(random_inputs(encoder.spec, 5))
    assert (embeddings.shape, embeddings.dtype) == ((5, encoder.spec.dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=0, atol=case.tolerance.length)


@promise
def precision_is_the_one_asked_for_and_nothing_else_of_the_spec_changes(case, encoder):
    assert encoder.spec.precision == case.precision
    before = load_spec(case.model / case.tower)
    assert (encoder.spec.sha256, encoder.spec.preprocess) == (before.sha256, before.preprocess)


@promise
def batch_size_changes_no_more_than_stated(case, encoder):
    inputs = random_inputs(encoder.spec, 67)  # over every fixed batch, and the last one is not full
    whole = encoder.encode(inputs)
    for size in (1, 3, 8, 33):
        pieces = [encoder.encode(inputs[start : start + size]) for start in range(0, len(inputs), size)]
        assert np.abs(whole - np.concatenate(pieces)).max() <= case.tolerance.batch


@promise
def neighbours_and_position_change_no_more_than_stated(case, encoder):
    inputs = random_inputs(encoder.spec, 5)
    for position in range(5):
        others = random_inputs(encoder.spec, 5, seed=position + 1)
        others[position] = inputs[0]
        moved = encoder.encode(others)[position]
        assert np.abs(moved - encoder.encode(inputs)[0]).max() <= case.tolerance.batch


@promise
def the_same_inputs_give_the_same_bytes(case, encoder):
    inputs = random_inputs(encoder.spec, 19)
    np.testing.assert_array_equal(encoder.encode(inputs), encoder.encode(inputs))


@promise
def different_inputs_get_different_embeddings_in_their_order(case, encoder):
    inputs = random_inputs(encoder.spec, 40)
    embeddings = encoder.encode(inputs)
    others = (embeddings @ embeddings.T)[~np.eye(40, dtype=bool)]
    assert others.max() < 0.9999
    backwards = encoder.encode(inputs[::-1])  # not contiguous
    np.testing.assert_array_equal((embeddings @ backwards[::-1].T).argmax(axis=1), np.arange(40))


@promise
def results_are_not_overwritten_by_the_next_batch(case, encoder):
    first = encoder.encode(random_inputs(encoder.spec, 3))
    kept = first.copy()
    encoder.encode(random_inputs(encoder.spec, 3, seed=1))
    np.testing.assert_array_equal(first, kept)


@promise
def no_inputs(case, encoder):
    empty = encoder.encode(random_inputs(encoder.spec, 0))
    assert (empty.shape, empty.dtype) == ((0, encoder.spec.dim), np.float32)


@promise
def two_at_once_do_not_disturb_one_another(case, encoder):
    other = case.open("text" if case.tower == "image" else "image")
    inputs, others = random_inputs(encoder.spec, 11), random_inputs(other.spec, 11)
    alone, other_alone = encoder.encode(inputs), other.encode(others)
    np.testing.assert_array_equal(encoder.encode(inputs), alone)
    other.close()
    np.testing.assert_array_equal(encoder.encode(inputs), alone)
    assert np.isfinite(other_alone).all()


@promise
def threads_change_no_more_than_stated(case, encoder):
    one = case.open(threads=1)
    inputs = random_inputs(encoder.spec, 9)
    assert np.abs(one.encode(inputs) - encoder.encode(inputs)).max() <= TOLERANCES[case.precision].batch + 1e-6
    one.close()


@promise
def wrong_shape_and_type_are_refused_with_both(case, encoder):
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


@promise
def closed_says_so_and_closes_twice(case, encoder):
    encoder.close()
    encoder.close()
    if case.backend != "fake":  # which holds nothing
        with pytest.raises(UsageError, match="closed"):
            encoder.encode(random_inputs(encoder.spec, 1))


@pytest.mark.parametrize("kept", PROMISES, ids=lambda kept: kept.__name__)
@pytest.mark.parametrize("tower", ["image", "text"])
@pytest.mark.parametrize(("backend", "precision"), CASES)
def test_contract(exported, backend, precision, tower, kept):
    case = Case(exported, tower, backend, precision)
    encoder = case.open()  # here and not in a fixture, so that each reason to skip is reported once
    try:
        kept(case, encoder)
    finally:
        encoder.close()
