"""LPIPS: the exported graph against the formulas of the paper, on random weights."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from checkpoints import PHOTOS
from lpips_reference import CHANNELS, reference, write_weights
from PIL import Image

from semscale.errors import UsageError
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.perceptual import LPIPS, lpips
from semscale.perceptual import open_distance
from semscale_export.lpips import export_lpips
from semscale_export.networks.lpips_trunks import ARCHITECTURES, Trunk

NETS = tuple(CHANNELS)
SMALLEST = {"alex": 31, "vgg": 16, "squeeze": 17}
RELATIVE = 2e-5  # of float32 against float64; the largest seen was 8e-6


@pytest.fixture(scope="module")
def distances(tmp_path_factory):
    """Each net, exported and opened."""
    folder = tmp_path_factory.mktemp("lpips")
    for net in NETS:
        trunk, heads = write_weights(net, folder)
        export_lpips(net, folder / net, weights=trunk, heads=heads)
    return {net: open_distance(folder / net, threads=1) for net in NETS}


def pairs(height: int, width: int, n: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise and other noise; the second pair differs by a few levels."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, n, height, width, 3), np.uint8)
    b[1] = np.clip(a[1] + rng.integers(-5, 6, a[1].shape), 0, 255)
    return a, b


# The number


@pytest.mark.parametrize("net", NETS)
def test_distances_are_those_of_the_paper_at_every_size(net, distances):
    side = SMALLEST[net]
    for height, width in ((side, side), (side + 1, side + 2), (side + 3, 2 * side + 5)):
        a, b = pairs(height, width, n=2)
        found = distances[net](a, b)
        assert (found.shape, found.dtype) == ((2,), np.float64)
        assert found == pytest.approx(reference(net, a, b), rel=RELATIVE, abs=0)
        assert found[1] < found[0] / 20  # the pair that differs little


@pytest.mark.parametrize("net", NETS)
def test_no_distance_to_itself_and_the_same_both_ways(net, distances):
    a, b = pairs(40, 33)
    assert np.array_equal(distances[net](a, a.copy()), np.zeros(3))
    assert distances[net](b, a) == pytest.approx(distances[net](a, b), rel=1e-6)
    assert (distances[net](a, b) > 0).all()


@pytest.mark.parametrize("net", NETS)
def test_a_distance_does_not_depend_on_its_batch(net, distances, monkeypatch):
    a, b = pairs(40, 33, n=5)
    whole = distances[net](a, b)
    singles = [distances[net](a[i : i + 1], b[i : i + 1])[0] for i in range(5)]
    assert whole == pytest.approx(singles, rel=RELATIVE)
    monkeypatch.setattr("semscale.perceptual.PIXELS", 2 * 40 * 33)  # two pairs at once, and one is left
    assert distances[net](a, b) == pytest.approx(whole, rel=RELATIVE)
    assert distances[net](a[:0], b[:0]).shape == (0,)


def test_floats_from_0_to_1_are_the_same_images(distances):
    a, b = pairs(40, 33)
    expected = distances["alex"](a, b)
    for kind in (np.float32, np.float64):
        assert distances["alex"](a.astype(kind) / 255, b.astype(kind) / 255) == pytest.approx(expected, rel=1e-4)
    assert distances["alex"](a, b.astype(np.float64) / 255) == pytest.approx(expected, rel=1e-4)


def test_floats_are_not_rounded(distances):
    a = np.random.default_rng(0).random((1, 40, 33, 3))
    b = a + 1e-4
    assert distances["alex"](a, b) == pytest.approx(reference("alex", a * 255, b * 255), rel=0.01)


def test_a_pair_that_is_not_finite_is_no_number_and_leaves_its_neighbours(distances):
    a, b = (images / np.float32(255) for images in pairs(40, 33))
    expected = distances["alex"](a, b)
    b[1, 3, 4, 2] = np.nan
    found = distances["alex"](a, b)
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx(expected[[0, 2]], rel=1e-6)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the DreamBooth photos are not here")
def test_a_photo_is_nearer_to_its_own_blur_than_to_another_photo(distances):
    one, other = (Image.open(PHOTOS / name).convert("RGB").resize((96, 96)) for name in ("dog/00.jpg", "teapot/01.jpg"))
    blurred = one.resize((64, 64)).resize((96, 96))
    a, b = np.stack([one, one]), np.stack([blurred, other])
    for net in NETS:
        near, far = distances[net](np.asarray(a), np.asarray(b))
        assert 0 < near < far / 2


# Images that are refused


@pytest.mark.parametrize("net", NETS)
def test_smallest_side_is_what_the_network_can_take(net, distances):
    side = SMALLEST[net]
    assert ARCHITECTURES[net].smallest_side == distances[net].spec.smallest_side == side
    a, b = pairs(side - 1, 50)
    with pytest.raises(UsageError, match=f"takes images of {side} x {side} pixels or more, not {side - 1} x 50"):
        distances[net](a, b)
    with pytest.raises(RuntimeError, match="too small"), torch.inference_mode():
        Trunk(ARCHITECTURES[net])(torch.zeros(1, 3, side - 1, 50))


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (np.zeros((1, 40, 40, 3), np.uint8), np.zeros((1, 40, 41, 3), np.uint8), r"\(1, 40, 40, 3\) and \(1, 40, 41"),
        (np.zeros((2, 40, 40, 3), np.uint8), np.zeros((1, 40, 40, 3), np.uint8), r"\(2, 40, 40, 3\) and \(1, 40, 40"),
        (np.zeros((1, 3, 40, 40), np.uint8), np.zeros((1, 3, 40, 40), np.uint8), r"\(1, 3, 40, 40\)"),
        (np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40, 3), np.uint8), r"\(40, 40, 3\)"),
        (np.zeros((1, 40, 40, 3), np.int64), np.zeros((1, 40, 40, 3), np.int64), "not int64"),
        (np.zeros((1, 40, 40, 3), np.float16), np.zeros((1, 40, 40, 3), np.float16), "not float16"),
        (np.full((1, 40, 40, 3), 200.0), np.zeros((1, 40, 40, 3)), "hold 200: divide"),
        (np.zeros((1, 40, 40, 3)), np.full((1, 40, 40, 3), -1.0), "hold -1: divide"),
    ],
    ids=["sizes", "numbers", "channels first", "one image", "int64", "float16", "0 to 255", "-1 to 1"],
)
def test_images_of_another_kind_are_refused(a, b, reason, distances):
    with pytest.raises(UsageError, match=reason):
        distances["alex"](a, b)


# The score


def test_score_is_the_mean_over_pairs(distances):
    a, b = pairs(40, 33)
    found = distances["squeeze"](a, b)
    score = lpips(np.append(found, [np.nan, np.inf]), preset="squeeze")
    assert score.value == pytest.approx(found.mean(), rel=1e-12)
    assert (score.metric, score.n, score.higher_is_better) == ("lpips", 3, False)
    assert score.params == {"preset": "squeeze", "version": "0.1", "n_invalid": 2}
    assert score.interval.low >= 0
    assert score.interval.low < score.value < score.interval.high


def test_score_of_too_little_warns_and_of_nonsense_is_refused():
    with pytest.warns(FewSamplesWarning, match="lpips of 1 pairs"):
        assert lpips(np.array([0.5])).interval is None
    with pytest.warns(FewSamplesWarning):
        assert np.isnan(lpips(np.array([np.nan])).value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lpips(np.array([0.0, 0.0])).value == 0
    with pytest.raises(UsageError, match="choose from alex, vgg, squeeze"):
        lpips(np.zeros(3), preset="resnet")
    with pytest.raises(UsageError, match=r"shape \(3, 1\)"):
        lpips(np.zeros((3, 1)))
    with pytest.raises(UsageError, match=r"a distance of -0\.1; there are none below 0"):
        lpips(np.array([0.1, -0.1]))
    assert tuple(LPIPS.presets) == NETS == tuple(ARCHITECTURES)
