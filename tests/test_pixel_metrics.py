"""Metrics of pairs of images, against golden numbers of other programs and against slow definitions."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from semscale.errors import UsageError
from semscale.metrics import pixel
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.pixel import MSE, PSNR, mse, mse_score, psnr, psnr_score
from semscale.metrics.structural import (
    MS_SSIM,
    MS_SSIM_PRESETS,
    SSIM,
    SSIM_PRESETS,
    ms_ssim,
    ms_ssim_score,
    ssim,
    ssim_score,
)
from semscale.metrics.windows import luma

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SCIKIT_IMAGE = [  # height, width, seed; mse, psnr, ssim of RGB, ssim of the rounded luma, all by scikit-image 0.26.0
    (11, 11, 0, 397.77134986225894, 22.134468617296076, 0.7331115229063087, 0.8110489652707175),
    (37, 52, 1, 419.98960498960497, 21.898418194022046, 0.8565704013289382, 0.8822976721578698),
    (96, 64, 2, 400.4138997395833, 22.105712159481804, 0.8570223894188757, 0.8832542252294094),
    (201, 180, 3, 400.7033812419385, 22.102573537271493, 0.8583543286623012, 0.8769416525814071),
]
TORCHMETRICS = [  # height, width, seed; ssim of float64 tensors with data_range=255 by torchmetrics 1.9.0
    (6, 7, 0, 0.5282197813851177),
    (11, 11, 0, 0.7351804338298461),
    (37, 52, 1, 0.8280542617141672),
    (96, 64, 2, 0.8315153697395171),
    (201, 180, 3, 0.8527253061900407),
]
PYTORCH_MSSSIM = {"rgb": 0.9676486071029927, "grey": 0.967923335438912}  # 192 x 208, seed 4: 1.0.0, a float64 window


def pair(height, width, seed):
    """A noisy image of coloured squares, and a paler and noisier copy."""
    r = np.random.RandomState(seed)
    coarse = r.randint(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    squares = np.kron(coarse, np.ones((8, 8, 1), int))[:height, :width]
    a = np.clip(squares + r.randint(-12, 13, (height, width, 3)), 0, 255).astype(np.uint8)
    b = np.clip(a * 0.8 + r.randint(0, 41, (height, width, 3)), 0, 255).astype(np.uint8)
    return a, b


def slow_similarity(x, y):
    """Means of SSIM and of its contrast part by the definition: whole windows, variances about the window's mean."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    x, y = (sliding_window_view(plane.astype(np.float64), (11, 11)) for plane in (x, y))

    def mean(values):
        return np.einsum("hwij,ij->hw", values, weights)[..., None, None]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean((x - mx) ** 2), mean((y - my) ** 2), mean((x - mx) * (y - my))
    contrast = (2 * cov + 58.5225) / (vx + vy + 58.5225)
    luminance = (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
    return float((luminance * contrast).mean()), float(contrast.mean())


def slow_multi_scale(x, y):
    factors = []
    for _ in WEIGHTS:
        factors.append(slow_similarity(x, y))
        x, y = slow_half(x), slow_half(y)
    values = [contrast for _, contrast in factors[:-1]] + [factors[-1][0]]
    return math.prod(value**weight for value, weight in zip(values, WEIGHTS, strict=True))


def slow_half(plane):
    rows, columns = (np.minimum(np.arange(side + side % 2), side - 1) for side in plane.shape)
    even = plane.astype(np.float64)[rows][:, columns]
    return even.reshape(len(rows) // 2, 2, len(columns) // 2, 2).mean(axis=(1, 3))


def slow_luma(image):
    return np.floor(image @ np.array([0.298936, 0.587043, 0.114021]) + 0.5)


@pytest.mark.parametrize(("height", "width", "seed", "error", "ratio", "colour", "grey"), SCIKIT_IMAGE)
def test_equal_to_scikit_image(height, width, seed, error, ratio, colour, grey):
    a, b = pair(height, width, seed)
    assert mse(a, b) == pytest.approx(error, abs=1e-10)
    assert psnr(a, b) == pytest.approx(ratio, abs=1e-10)
    assert ssim(a, b) == ssim(a, b, preset="scikit-image") == pytest.approx(colour, abs=1e-10)
    assert ssim(a, b, preset="grey") == pytest.approx(grey, abs=1e-10)


@pytest.mark.parametrize(("height", "width", "seed", "expected"), TORCHMETRICS)
def test_equal_to_torchmetrics(height, width, seed, expected):
    assert ssim(*pair(height, width, seed), preset="torchmetrics") == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("preset", ["grey", "rgb"])
def test_multi_scale_equal_to_pytorch_msssim(preset):
    """On grey it was given the rounded luma; its padding of odd sides differs, so both sides are multiples of 16."""
    assert ms_ssim(*pair(192, 208, 4), preset=preset) == pytest.approx(PYTORCH_MSSSIM[preset], abs=1e-10)


def test_ssim_equals_the_definition_window_by_window():
    a, b = pair(13, 17, 5)
    each = [slow_similarity(a[..., c], b[..., c])[0] for c in range(3)]
    assert ssim(a, b) == pytest.approx(np.mean(each), abs=1e-12)
    assert ssim(a[..., 1], b[..., 1]) == pytest.approx(each[1], abs=1e-12)
    assert ssim(a, b, preset="grey") == pytest.approx(slow_similarity(slow_luma(a), slow_luma(b))[0], abs=1e-12)
    mirrored = [np.pad(image, ((5, 5), (5, 5), (0, 0)), mode="reflect") for image in (a, b)]
    each = [slow_similarity(*(image[..., c] for image in mirrored))[0] for c in range(3)]
    assert ssim(a, b, preset="torchmetrics") == pytest.approx(np.mean(each), abs=1e-12)


def test_multi_scale_equals_the_definition():
    a, b = pair(177, 190, 6)  # odd at four of the five scales
    each = [ms_ssim(a[..., c], b[..., c]) for c in range(3)]
    assert each[2] == pytest.approx(slow_multi_scale(a[..., 2], b[..., 2]), abs=1e-12)
    assert ms_ssim(a, b, preset="rgb") == ms_ssim(b, a, preset="rgb") == pytest.approx(np.mean(each), abs=1e-12)
    grey = slow_multi_scale(slow_luma(a), slow_luma(b))
    assert ms_ssim(a, b) == ms_ssim(b, a) == pytest.approx(grey, abs=1e-12)


def test_mse_is_exact():
    a, b = pair(61, 47, 7)
    total = sum((int(x) - int(y)) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True))
    assert mse(a, b) == total / a.size


@pytest.mark.parametrize("offset", [1, 7, 255])
def test_a_constant_offset(offset):
    a = np.random.RandomState(0).randint(0, 256 - offset, (20, 30, 3)).astype(np.uint8)
    b = a + np.uint8(offset)
    assert mse(a, b) == offset**2
    assert psnr(a, b) == pytest.approx(20 * math.log10(255 / offset), abs=1e-12)


def test_flat_images_differ_in_brightness_alone():
    a, b = np.full((180, 190, 3), 50, np.uint8), np.full((180, 190, 3), 200, np.uint8)
    luminance = (2 * 50 * 200 + 6.5025) / (50**2 + 200**2 + 6.5025)
    for preset in SSIM_PRESETS:
        assert ssim(a, b, preset=preset) == pytest.approx(luminance, abs=1e-10)
    for preset in MS_SSIM_PRESETS:
        assert ms_ssim(a, b, preset=preset) == pytest.approx(luminance**0.1333, abs=1e-10)


def test_one_scale_that_contradicts_leaves_nothing_alike():
    squares = np.kron(np.random.RandomState(8).randint(60, 196, (11, 12)), np.ones((16, 16), int))
    checks = np.indices(squares.shape).sum(axis=0) % 2 * 80 - 40  # gone once averaged over 2 x 2 pixels
    a, b = (squares + checks).astype(np.uint8), (squares - checks).astype(np.uint8)
    assert ssim(a, b) < -0.7
    assert ms_ssim(a, b) == 0.0


@pytest.mark.parametrize("grey", [False, True])
def test_identical_images(grey):
    a, _ = pair(177, 181, 9)
    a = a[..., 0] if grey else a
    assert (mse(a, a.copy()), psnr(a, a.copy())) == (0.0, math.inf)
    assert all(ssim(a, a.copy(), preset=preset) == 1.0 for preset in SSIM_PRESETS)
    assert all(ms_ssim(a, a.copy(), preset=preset) == 1.0 for preset in MS_SSIM_PRESETS)


@given(st.integers(11, 24), st.integers(11, 24), st.integers(0, 999), st.booleans())
@settings(max_examples=25, deadline=None)
def test_symmetry_and_ranges(height, width, seed, grey):
    r = np.random.RandomState(seed)
    shape = (height, width) if grey else (height, width, 3)
    a, b = (r.randint(0, 256, shape).astype(np.uint8) for _ in range(2))
    assert mse(a, b) == mse(b, a) > 0
    assert psnr(a, b) == psnr(b, a) > 0
    for preset in SSIM_PRESETS:
        value = ssim(a, b, preset=preset)
        assert -1 <= value == ssim(b, a, preset=preset) < 1
        flipped = a.swapaxes(0, 1)[::-1], b.swapaxes(0, 1)[::-1]  # not contiguous either
        assert ssim(*flipped, preset=preset) == pytest.approx(value, abs=1e-12)


def test_colour_and_border_move_the_number():
    a, b = pair(180, 176, 11)
    values = [ssim(a, b, preset=preset) for preset in SSIM_PRESETS]
    assert min(abs(x - y) for x in values for y in values if x is not y) > 1e-3
    assert abs(ms_ssim(a, b, preset="grey") - ms_ssim(a, b, preset="rgb")) > 1e-4
    red = np.zeros((20, 20, 3), np.uint8)
    red[::2, :, 0], red[1::2, :, 1] = 96, 49  # two colours of nearly the same luma: grey cannot see them swapped
    assert ssim(red, red[::-1], preset="grey") > 0.99 > ssim(red, red[::-1]) + 0.5


def test_the_border_counts_only_where_the_preset_says_so():
    a, _ = pair(16, 16, 12)
    b = a.copy()
    b[0] = 255 - b[0]
    assert ssim(a, b, preset="torchmetrics") < ssim(a, b) - 0.1


def test_luma_is_rounded_to_the_nearest_level():
    a, _ = pair(40, 30, 13)
    np.testing.assert_array_equal(luma(a), slow_luma(a))


@pytest.mark.parametrize("preset", SSIM_PRESETS)
def test_images_smaller_than_the_window_have_no_similarity(preset):
    smallest = SSIM_PRESETS[preset].smallest_side
    a, b = pair(smallest, 30, 14)
    assert math.isfinite(ssim(a, b, preset=preset))
    assert math.isnan(ssim(a[1:], b[1:], preset=preset))
    assert math.isnan(ssim(a[:, : smallest - 1], b[:, : smallest - 1], preset=preset))
    a, b = pair(176, 180, 15)
    assert math.isnan(ms_ssim(a[1:], b[1:])) and math.isnan(ms_ssim(a[:, :175], b[:, :175], preset="rgb"))
    assert mse(a[:1, :1], b[:1, :1]) > 0  # a single pixel has an error all the same


@pytest.mark.parametrize("metric", [mse, psnr, ssim, ms_ssim])
def test_what_is_not_a_pair_is_refused(metric):
    a, b = pair(20, 24, 16)
    with pytest.raises(UsageError, match=r"\(20, 24, 3\) and \(20, 23, 3\)"):
        metric(a, b[:, 1:])
    with pytest.raises(UsageError, match=r"\(20, 24, 3\) and \(20, 24\)"):
        metric(a, b[..., 0])
    for wrong in (a / 255, a.astype(np.int16), np.dstack([a, a[..., 0]]), a[None], a[:0], a[0, :, 0]):
        with pytest.raises(UsageError, match="need pixels as uint8"):
            metric(wrong, wrong)


def test_unknown_presets_are_refused():
    a, b = pair(20, 24, 17)
    with pytest.raises(UsageError, match="unknown ssim preset 'matlab'; choose from scikit-image, grey, torchmetrics"):
        ssim(a, b, preset="matlab")
    with pytest.raises(UsageError, match="unknown ms-ssim preset 'scikit-image'; choose from grey, rgb"):
        ms_ssim(a, b, preset="scikit-image")


def test_blocks_change_nothing(monkeypatch):
    a, b = pair(183, 176, 18)
    whole = [metric(a, b) for metric in (mse, ssim, ms_ssim)]
    monkeypatch.setattr(pixel, "BLOCK", 1)
    monkeypatch.setattr(pixel, "MIN_ROWS", 7)
    assert [metric(a, b) for metric in (mse, ssim, ms_ssim)] == pytest.approx(whole, abs=1e-12)


def test_memory_does_not_grow_with_the_image():
    a = np.random.RandomState(19).randint(0, 256, (1500, 1000)).astype(np.uint8)
    b = a[::-1].copy()
    tracemalloc.start()
    try:
        mse(a, b)
        ssim(a, b)
        assert tracemalloc.get_traced_memory()[1] < 35e6  # five planes of float64, whole, would be 60 MB
    finally:
        tracemalloc.stop()


def test_psnr_is_averaged_per_image_and_identical_pairs_are_counted():
    score = psnr_score(np.array([20.0, np.inf, 30.0, np.nan, np.inf]))
    assert (score.metric, score.value, score.n, score.higher_is_better) == ("psnr", 25.0, 2, True)
    assert score.params == {"preset": "per-image", "n_identical": 2, "n_invalid": 1}
    assert score.interval.low == 0.0  # 25 - 12.7 * 5 is below what there is
    assert 10 * math.log10(1 / np.mean([1 / 100, 1 / 1000])) < 23 < score.value  # that of the pooled error


def test_psnr_of_identical_pairs_alone_is_no_number():
    with pytest.warns(FewSamplesWarning, match="psnr of 0 pairs of images that differ"):
        score = psnr_score(np.array([np.inf, np.inf]))
    assert math.isnan(score.value)
    assert (score.n, score.params["n_identical"], score.interval) == (0, 2, None)


def test_scores_are_means_over_pairs():
    values = np.array([0.2, np.nan, 0.4, 0.6])
    score = ssim_score(values, preset="torchmetrics")
    assert score.value == pytest.approx(0.4)
    reach = 4.302652729911275 * 0.2 / math.sqrt(3)  # Student's t, 2 degrees of freedom
    assert (score.interval.low, score.interval.high) == pytest.approx((0.4 - reach, 0.4 + reach))
    assert score.params == {"preset": "torchmetrics", "colour": "rgb", "border": "reflected", "n_invalid": 1}
    assert ms_ssim_score(values).params == {"preset": "grey", "colour": "grey", "border": "excluded", "n_invalid": 1}
    assert (mse_score(values).n, mse_score(values).higher_is_better) == (3, False)


def test_few_pairs_are_warned_of_and_values_must_be_a_list():
    for score in (mse_score, psnr_score, ssim_score, ms_ssim_score):
        with pytest.warns(FewSamplesWarning, match="1 pairs of images"):
            assert score(np.array([0.5])).interval is None
        with pytest.raises(UsageError, match="one number for each pair"):
            score(np.ones((2, 2)))


def test_descriptions_name_every_preset():
    assert [one.name for one in (MSE, PSNR, SSIM, MS_SSIM)] == ["mse", "psnr", "ssim", "ms-ssim"]
    assert list(SSIM.presets) == ["scikit-image", "grey", "torchmetrics"]
    assert list(MS_SSIM.presets) == ["grey", "rgb"]
    for described, presets in ((SSIM, SSIM_PRESETS), (MS_SSIM, MS_SSIM_PRESETS)):
        assert all(str(one.smallest_side) in described.estimator for one in presets.values())
