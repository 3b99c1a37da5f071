import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from semscale.errors import ModelError, UsageError
from semscale.heads import read_linear_head
from semscale.metrics import features, means
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.quality import (
    ANTONYMS,
    LinearHead,
    aesthetic,
    aesthetic_scores,
    clip_iqa,
    clip_iqa_scores,
)
from semscale.metrics.references import PRESETS, ref_clip_score, ref_clip_scores

HEADS = Path(__file__).parents[2] / "shared" / "data" / "aesthetic_heads"
PROGRAM = PRESETS["hessel2021-program"]


def normal(n, d=6, *, seed=0, shift=0.0):
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def spoiled(x):
    return np.insert(np.insert(x, 1, 0.0, axis=0), 3, np.nan, axis=0)


def cosine(a, b):
    return math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))


@pytest.mark.parametrize(("name", "low", "high"), [("b_32", -1.47, 11.01), ("l_14", -2.46, 11.30)])
def test_published_heads_rise_over_the_ratings(name, low, high):
    if not HEADS.exists():
        pytest.skip("the aesthetic heads are not beside this checkout")
    head = read_linear_head(HEADS / f"sa_0_4_vit_{name}_linear.pth")
    means_of_ratings = [np.load(HEADS / f"vit_{name}_embeddings" / f"rating{i}.npy") for i in range(10)]
    found = aesthetic_scores(np.concatenate(means_of_ratings), head)
    assert (np.diff(found) > 0).all()
    assert (found[0], found[-1]) == pytest.approx((low, high), abs=0.005)


def test_aesthetic_is_the_head_over_unit_rows():
    x, head = normal(7), LinearHead(np.arange(6.0), 0.5, "head", "")
    expected = [0.5 + math.fsum(row * head.weight) / math.sqrt(math.fsum(row * row)) for row in x]
    np.testing.assert_allclose(aesthetic_scores(x * 9, head), expected, atol=1e-12)
    score = aesthetic(spoiled(x), head)
    assert score.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert (score.n, score.params["n_invalid"], score.params["head"]) == (7, 2, "head")
    with pytest.raises(UsageError, match="embeddings of 6 numbers, these have 5"):
        aesthetic(x[:, :5], head)


def write_pth(path, tensors):
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)


WRITERS = {
    ".pth": write_pth,
    ".pt": write_pth,
    ".safetensors": lambda path, tensors: save_file(tensors, path),
    ".npz": lambda path, tensors: np.savez(path, **tensors),
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("prefix", ["", "linear."])
def test_a_head_is_read_from_every_kind_of_file(tmp_path, suffix, prefix):
    weight, bias = normal(1, 5).astype(np.float32), np.array([0.25], np.float32)
    path = tmp_path / f"head{suffix}"
    WRITERS[suffix](path, {f"{prefix}weight": weight, f"{prefix}bias": bias})
    head = read_linear_head(path)
    np.testing.assert_array_equal(head.weight, weight[0].astype(np.float64))
    assert (head.bias, head.name) == (0.25, f"head{suffix}")
    assert head.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": np.ones((1, 4))},
        {"weight": np.ones((2, 4)), "bias": np.ones(2)},
        {"weight": np.ones((1, 4)), "bias": np.ones(4)},
        {"weight": np.ones((4, 1)), "bias": np.ones(1)},
        {"layers.0.weight": np.ones((1, 4)), "layers.0.bias": np.ones(1), "layers.2.weight": np.ones((1, 1))},
        {"weight": np.empty((1, 0)), "bias": np.ones(1)},
        {"weight": np.ones((1, 4)), "bias": np.ones(1), "temperature": np.ones(1)},
        {},
    ],
)
def test_what_is_not_one_layer_is_refused_with_its_shapes(tmp_path, tensors):
    np.savez(tmp_path / "head.npz", **tensors)
    with pytest.raises(ModelError, match=r"head\.npz: need .* it holds (weight|layers|nothing)"):
        read_linear_head(tmp_path / "head.npz")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    np.savez(tmp_path / "head.npz", weight=np.array([[1.0, np.nan]]), bias=np.ones(1))
    with pytest.raises(ModelError, match="not finite"):
        read_linear_head(tmp_path / "head.npz")


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_damaged_or_missing_file_is_a_model_error(tmp_path, suffix):
    path = tmp_path / f"head{suffix}"
    with pytest.raises(ModelError, match="no such file"):
        read_linear_head(path)
    path.write_bytes(b"this is no head at all")
    with pytest.raises(ModelError, match="not a file of plain tensors"):
        read_linear_head(path)
    with pytest.raises(ModelError, match=r"a head is read from \.pth"):
        read_linear_head(path.rename(tmp_path / "head.bin"))


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    path = tmp_path / f"head{suffix}"
    WRITERS[suffix](path, {"weight": normal(1, 50).astype(np.float32), "bias": np.ones(1, np.float32)})
    whole = path.read_bytes()
    for size in np.linspace(0, len(whole) - 1, 25).astype(int):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="not a file of plain tensors"):
            read_linear_head(path)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"weight": Harmful(tmp_path / "touched")}, tmp_path / "head.pth")
    np.savez(tmp_path / "head.npz", weight=np.array([Harmful(tmp_path / "touched")], dtype=object))
    for suffix in (".pth", ".npz"):
        with pytest.raises(ModelError, match="not a file of plain tensors"):
            read_linear_head(tmp_path / f"head{suffix}")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [[torch.ones(3)], {"weight": "no tensor"}, torch.ones(3)])
def test_a_torch_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "head.pth")
    with pytest.raises(ModelError, match="not a file of plain tensors"):
        read_linear_head(tmp_path / "head.pth")


def test_clip_iqa_is_the_softmax_over_the_pair():
    x, good, bad = normal(9), normal(1, seed=1)[0], normal(1, seed=2)[0]
    expected = []
    for row in x:
        p, q = math.exp(100 * cosine(row, good)), math.exp(100 * cosine(row, bad))
        expected.append(p / (p + q))
    np.testing.assert_allclose(clip_iqa_scores(x, good, bad), expected, atol=1e-12)
    score = clip_iqa(spoiled(x * 3), good * 5, bad)
    assert score.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert (score.n, score.params["n_invalid"], score.params["preset"]) == (9, 2, "clip-iqa")
    assert clip_iqa(x, good, bad, scale=10).params["preset"] == "scale 10"


@given(st.integers(0, 100), st.floats(0.1, 1e4))
@settings(max_examples=30, deadline=None)
def test_exchanging_the_prompts_gives_what_is_left_to_one(seed, scale):
    x, good, bad = normal(4, seed=seed), normal(1, seed=seed + 1), normal(1, seed=seed + 2)
    one, other = clip_iqa_scores(x, good, bad, scale=scale), clip_iqa_scores(x, bad, good, scale=scale)
    np.testing.assert_allclose(one + other, 1.0, atol=1e-12)
    assert ((one >= 0) & (one <= 1)).all()


def test_clip_iqa_knows_which_prompt_is_which():
    good, bad = np.eye(6)[0], np.eye(6)[1]
    assert clip_iqa(np.stack([good, good + 0.1]), good, bad).value > 0.999
    assert clip_iqa(np.stack([bad, bad + 0.1]), good, bad).value < 0.001
    assert clip_iqa(np.ones((2, 6)), good, bad).value == 0.5
    assert ANTONYMS["quality"] == ("Good photo.", "Bad photo.")


@pytest.mark.parametrize("prompt", [np.zeros(6), np.full(6, np.nan), np.ones(5), np.ones((2, 6))])
def test_prompts_that_do_not_fit_are_refused(prompt):
    for pair in ((prompt, np.ones(6)), (np.ones(6), prompt)):
        with pytest.raises(UsageError, match="prompt"):
            clip_iqa(normal(3), *pair)


@pytest.mark.parametrize("scale", [0, -1, np.inf, np.nan])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(UsageError, match="a scale of"):
        clip_iqa(normal(3), np.ones(6), np.ones(6), scale=scale)


def brute_ref(images, texts, references, owners, clamp):
    found = []
    for i, (image, text) in enumerate(zip(images, texts, strict=True)):
        a = 2.5 * max(cosine(image, text), 0)
        b = max(cosine(text, r) for r, owner in zip(references, owners, strict=True) if owner == i)
        b = max(b, 0) if clamp else b
        found.append(2 * a * b / (a + b) if a + b else math.nan)
    return found


@pytest.mark.parametrize("convention", PRESETS.values(), ids=lambda one: one.name)
def test_ref_clip_score_equals_the_definition(convention):
    images, texts, references = normal(8, shift=0.4), normal(8, seed=1, shift=0.4), normal(20, seed=2, shift=0.2)
    owners = np.concatenate([np.arange(8), np.random.default_rng(3).integers(0, 8, 12)])
    expected = brute_ref(images, texts, references, owners, convention.clamp_references)
    found = ref_clip_scores(images, texts, references, owners=owners, convention=convention)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    score = ref_clip_score(images * 3, texts * 5, references, owners=owners, convention=convention)
    assert score.value == pytest.approx(np.nanmean(expected), abs=1e-12)
    assert (score.params["preset"], score.params["scale"], score.params["n_references"]) == (convention.name, 2.5, 20)


def test_the_scale_is_on_the_image_side_alone():
    image, text, reference = np.array([[1.0, 0]]), np.array([[0.6, 0.8]]), np.array([[0, 1.0]])
    a, b = 2.5 * 0.6, 0.8
    assert ref_clip_scores(image, text, reference)[0] == pytest.approx(2 * a * b / (a + b))
    assert ref_clip_scores(text, text, text)[0] == pytest.approx(2 * 2.5 / 3.5)


def test_conventions_differ_where_a_reference_points_away():
    images, texts = np.array([[1.0, 0], [1, 0]]), np.array([[1.0, 0], [1, 0]])
    references = np.array([[-0.6, 0.8], [0.6, 0.8]])
    np.testing.assert_allclose(ref_clip_scores(images, texts, references), [0, 3 / 3.1])
    a, b = 2.5, -0.6
    np.testing.assert_allclose(
        ref_clip_scores(images, texts, references, convention=PROGRAM), [2 * a * b / (a + b), 3 / 3.1]
    )
    assert ref_clip_score(images, texts, references).params["n_negative_references"] == 1


def test_the_interval_of_the_published_program_holds_its_value():
    """Its harmonic mean has no upper end where the two sides nearly cancel."""
    cosines = np.array([0.2, 0.201, 0.199])
    turn = np.arccos(cosines) + np.arccos(-0.52)
    image, text, reference = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (0 * turn, np.arccos(cosines), turn))
    score = ref_clip_score(image, text, reference, convention=PROGRAM)
    assert score.value > 20
    assert score.interval.low < score.value < score.interval.high


def test_nothing_over_nothing_is_undefined_and_counted():
    images, texts = np.array([[-1.0, 0], [1, 0], [-1, 0], [1, 1]]), np.tile([1.0, 0], (4, 1))
    references = np.array([[-1.0, 0], [-1, 0], [1, 0], [1, 1]])
    score = ref_clip_score(images, texts, references)
    np.testing.assert_allclose(ref_clip_scores(images, texts, references)[:3], [np.nan, 0, 0])
    assert (score.n, score.params["n_undefined"], score.params["n_clamped"]) == (3, 1, 2)
    assert ref_clip_score(images, texts, references).value > 0


def test_images_without_a_valid_reference_are_invalid():
    x = normal(3, shift=1.0)
    references = np.stack([x[0], np.full(6, np.nan), np.zeros(6), x[2], np.full(6, np.inf)])
    score = ref_clip_score(x, x, references, owners=np.array([0, 0, 1, 2, 2]))
    assert (score.n, score.params["n_invalid"], score.params["n_undefined"]) == (2, 1, 0)
    assert score.value == pytest.approx(2 * 2.5 / 3.5)


def test_order_of_references_does_not_matter_and_owners_do():
    images, texts, references = normal(5, shift=0.5), normal(5, seed=1, shift=0.5), normal(9, seed=2, shift=0.5)
    owners = np.array([0, 1, 2, 3, 4, 0, 0, 1, 3])
    forward = ref_clip_scores(images, texts, references, owners=owners)
    np.testing.assert_array_equal(ref_clip_scores(images, texts, references[::-1], owners=owners[::-1]), forward)
    assert (ref_clip_scores(images, texts, references, owners=(owners + 1) % 5) != forward).any()


@pytest.mark.parametrize("owners", [np.array([0, 5, 1]), np.array([-1, 0, 0]), np.array([0.0, 1.0, 2.0])])
def test_owners_that_are_no_row_are_refused(owners):
    with pytest.raises(UsageError, match="owners are whole numbers from 0 to 4"):
        ref_clip_score(normal(5), normal(5), normal(3), owners=owners)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="5 rows beside 4"):
        ref_clip_score(normal(5), normal(4), normal(4))
    with pytest.raises(UsageError, match="3 references and owners for 5"):
        ref_clip_score(normal(5), normal(5), normal(3))
    with pytest.raises(UsageError, match="dimensions"):
        ref_clip_score(normal(5), normal(5), normal(5, 4))


def test_blocks_give_what_the_whole_gives(monkeypatch):
    x, y, r = normal(30), normal(30, seed=1), normal(50, seed=2)
    owners = np.arange(50) % 30
    head = LinearHead(np.arange(6.0), 0.5, "head", "")

    def all_three():
        return ref_clip_score(x, y, r, owners=owners), clip_iqa(x, y[0], y[1]), aesthetic(x, head)

    whole = all_three()
    monkeypatch.setattr(means, "BLOCK", 7)
    monkeypatch.setattr(features, "BLOCK", 7)
    for one, other in zip(whole, all_three(), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-12)


def test_one_image_warns_and_has_no_interval():
    x = normal(1)
    for call in (
        lambda: clip_iqa(x, x[0], -x[0]),
        lambda: aesthetic(x, LinearHead(x[0], 0.0, "head", "")),
        lambda: ref_clip_score(x, x, x),
    ):
        with pytest.warns(FewSamplesWarning, match="of 1 images: below 2"):
            score = call()
        assert (score.n, score.interval) == (1, None)
        assert not np.isnan(score.value)
