import shutil
import tracemalloc

import numpy as np
import pytest
from images import png, write_tree

import semscale
from semscale.errors import UsageError


@pytest.fixture(scope="module")
def model(tiny_export):
    return str(tiny_export)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + 9 * i, 50, 3), np.uint8) for i in range(3)]


def test_uint8_and_unit_floats_of_the_same_pixels_give_the_same_embeddings(model, pictures):
    expected = semscale.encode_images(pictures, model=model)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-6)
    for dtype in (np.float32, np.float64):
        floats = [picture.astype(dtype) / 255 for picture in pictures]
        np.testing.assert_array_equal(semscale.encode_images(floats, model=model), expected)


@pytest.mark.parametrize(
    "spoil", [lambda p: p * 255.0, lambda p: p - 0.5, lambda p: np.moveaxis(p, -1, 0), lambda p: p[None]]
)
def test_what_might_be_rescaled_twice_is_refused_by_number(model, pictures, spoil):
    floats = [picture / 255 for picture in pictures]
    with pytest.raises(UsageError, match="image 2: "):
        semscale.encode_images([floats[0], floats[1], spoil(floats[2])], model=model)


def test_arrays_and_files_give_the_same_embeddings(model, tmp_path):
    from semscale.decode import decode

    write_tree(tmp_path / "images", ["g/0.png", "g/1.png"])
    store = semscale.embed(tmp_path / "images", tmp_path / "store", model=model, backend="onnx")
    decoded = [decode(png(seed)) for seed in range(2)]
    np.testing.assert_allclose(store.images.take(np.arange(2)), semscale.encode_images(decoded, model=model), atol=1e-6)


def test_texts_with_metrics_on_plain_arrays(model, pictures):
    images = semscale.encode_images(pictures, model=model)
    texts, truncated = semscale.encode_texts(["a cat", "a cat", "a dog " * 50], model=model)
    assert truncated.tolist() == [False, False, True]
    np.testing.assert_array_equal(texts[0], texts[1])
    scores = semscale.metrics.clip_scores(images, texts, semscale.metrics.preset("raw"))
    np.testing.assert_allclose(scores, (images * texts).sum(axis=1), atol=1e-6)
    assert 0 <= semscale.metrics.scs(images) <= 100
    assert semscale.encode_images([], model=model).shape == (0, images.shape[1])


def test_clip_scores_of_mapped_files_are_never_in_memory_whole(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (20_000, 32))
    mapped[:] = np.random.default_rng(0).standard_normal(mapped.shape)
    tracemalloc.start()
    scores = semscale.metrics.clip_scores(mapped, mapped[::-1], semscale.metrics.preset("raw"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores.shape == (20_000,)
    assert peak < 20_000 * 32 * 8 / 1.5


def test_the_package_lists_what_it_offers():
    for name in semscale.__all__:
        assert getattr(semscale, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        semscale.scores  # noqa: B018


@pytest.mark.parametrize("texts", ["hello", [None], [b"a"], ["a", 3]])
def test_texts_that_are_no_list_of_strings_are_refused(model, texts):
    with pytest.raises(UsageError, match="give a list of strings, also for one"):
        semscale.encode_texts(texts, model=model)


def test_no_images_at_all_are_refused(model):
    with pytest.raises(UsageError, match="give a list of arrays, also for one"):
        semscale.encode_images(None, model=model)


def test_a_precision_is_taken_and_has_to_pass_the_gate(tiny_export, tmp_path, pictures, monkeypatch):
    model = str(shutil.copytree(tiny_export, tmp_path / "model"))  # what is found is written beside it
    from semscale import gate
    from semscale.errors import ParityError

    exact, reduced = (semscale.encode_images(pictures, model=model, precision=name) for name in ("fp32", "int8"))
    assert 1e-6 < np.abs(exact - reduced).max() < 0.1
    monkeypatch.setitem(gate.LIMITS, "int8", gate.LIMITS["fp32"])
    with pytest.raises(ParityError, match="onnx int8: the image tower is not used"):
        semscale.encode_images(pictures, model=model, precision="int8")
    with pytest.raises(ParityError, match="onnx int8: the text tower is not used"):
        semscale.encode_texts(["a cat"], model=model, precision="int8")
