"""The batched resize against `preprocess`: not one value may differ."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale import device_resize
from semscale.device_resize import AXES, CHUNK_PIXELS, DIGIT_BITS, DIGITS, MAX_PIXELS, MAX_SHRINK, TAPS, DeviceResizer
from semscale.errors import UsageError
from semscale.model import Preprocess
from semscale.preprocess import STRIP, kept, preprocess, resized_shape
from semscale.resampling import fixed_weights

FILTERS = ["bicubic", "bilinear"]


def spec(size=64, crop=None, name="bicubic", geometry="crop"):
    return Preprocess(size, crop or size, name, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), geometry)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def patterns(height, width):
    """Noise, hard edges that overshoot, exact ties of rounding, ramps, and the ends of the range."""
    y, x = np.mgrid[:height, :width]
    greys = [(y // k + x // k) % 2 * 255 for k in (1, 3)]
    greys += [x % 2 * 255, y % 2, x * 7 + y * 3, (x > width // 2) * 255, np.where(y // 9 % 2, x // 5 % 2 * 255, 90)]
    greys += [y * 255 // max(height - 1, 1), np.full((height, width), 255)]
    return [
        noise(height, width),
        (noise(height, width, 1) > 127) * np.uint8(255),
        *(np.repeat((grey % 256).astype(np.uint8)[..., None], 3, axis=2) for grey in greys),
    ]


def assert_equal_to_preprocess(images, wanted, device="cpu"):
    found = DeviceResizer(wanted, device)(images)
    assert found.dtype == np.uint8 and found.shape == (len(images), wanted.crop, wanted.crop, 3)
    for image, pixels in zip(images, found, strict=True):
        np.testing.assert_array_equal(pixels, preprocess(image, wanted))


SHAPES = [
    (1, 1),
    (2, 3),
    (31, 17),
    (63, 64),
    (64, 64),
    (65, 66),
    (150, 301),
    (301, 150),
    (40, 470),
    (470, 40),
    (512, 512),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("geometry", ["crop", "stretch"])
def test_every_pattern_is_bit_equal(shape, name, geometry):
    assert_equal_to_preprocess(patterns(*shape), spec(64, name=name, geometry=geometry))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 260),
    width=st.integers(1, 260),
    size=st.integers(1, 60),
    extra=st.integers(-9, 9),
    name=st.sampled_from(FILTERS),
    geometry=st.sampled_from(["crop", "stretch"]),
    seed=st.integers(0, 9),
)
def test_any_size_is_bit_equal(height, width, size, extra, name, geometry, seed):
    wanted = spec(size, max(size + extra, 1), name, geometry)
    images = [noise(height, width, seed), (noise(height, width, seed + 10) > 127) * np.uint8(255)]
    if DeviceResizer(wanted, "cpu").fits(height, width):
        assert_equal_to_preprocess(images, wanted)


def test_the_largest_image_and_the_strongest_shrinking():
    assert_equal_to_preprocess([noise(2048, 1024)], spec(224))
    assert_equal_to_preprocess(patterns(MAX_SHRINK * 8, MAX_SHRINK * 9), spec(8))


def test_sizes_may_be_mixed_and_keep_their_places():
    images = [noise(*shape, seed) for seed, shape in enumerate([(90, 80), (70, 100), (90, 80), (64, 64), (70, 100)])]
    assert_equal_to_preprocess(images, spec(64))
    assert DeviceResizer(spec(64), "cpu")([]).shape == (0, 64, 64, 3)


def test_many_images_of_a_size_go_in_several_rounds(monkeypatch):
    sizes = []
    resized = DeviceResizer._resized

    def counted(resizer, images):
        sizes.append(len(images))
        return resized(resizer, images)

    monkeypatch.setattr(DeviceResizer, "_resized", counted)
    monkeypatch.setattr(device_resize, "CHUNK_PIXELS", 3 * 64 * 80)
    assert_equal_to_preprocess([noise(50, 80, seed) for seed in range(7)], spec(64))
    assert sizes == [3, 3, 1]  # the 50 rows become 64
    monkeypatch.setattr(device_resize, "CHUNK_PIXELS", 50 * 80)
    sizes.clear()
    assert_equal_to_preprocess([noise(50, 80, seed) for seed in range(2)], spec(64))
    assert sizes == [1, 1]


def test_the_largest_image_has_room_in_the_buffer():
    assert MAX_PIXELS <= CHUNK_PIXELS


def test_what_crop_and_image_leave_is_black():
    wanted = spec(32, 45)
    out = DeviceResizer(wanted, "cpu")([np.full((50, 80, 3), 255, np.uint8)])[0]
    assert out[:7].max() == 0 and out[39:].max() == 0 and out[7:39].min() == 255


def test_views_and_read_only_pixels_are_taken():
    pixels = noise(100, 120)
    frozen = pixels[::-1, ::2]
    frozen.flags.writeable = False
    assert_equal_to_preprocess([frozen, pixels.transpose(1, 0, 2)], spec(40))


@pytest.mark.parametrize("name", FILTERS)
def test_factors_have_eight_bits_and_sums_stay_below_two_to_the_24th(name):
    """What makes float32, TF32 and bfloat16 exact: see the module."""
    pairs = [(n_in, n_out) for n_out in (1, 7, 64, 224) for n_in in (1, 2, 63, 225, 1024, MAX_SHRINK * n_out)]
    for n_in, n_out in ((n_in, n_out) for n_in, n_out in pairs if n_in <= MAX_SHRINK * n_out):
        _, fixed = fixed_weights(n_in, n_out, slice(0, n_out), name)
        digits = device_resize._digits(fixed)
        assert np.abs(digits).max() <= 256 and (np.abs(digits) > 0).sum(axis=0).max() <= TAPS
        assert (np.abs(digits).sum(axis=0) * 255).max() < 2**24
        as_half = torch.from_numpy(digits).to(torch.bfloat16)
        np.testing.assert_array_equal(as_half.to(torch.float64).numpy(), digits)
        parts = digits.reshape(len(fixed), DIGITS, -1)
        np.testing.assert_array_equal(sum(parts[:, d] << DIGIT_BITS * d for d in range(DIGITS)), fixed)
        assert (
            np.abs(fixed).sum(axis=0) * 255 + 2**21
        ).max() < 2**31  # int32 holds what the digits are put together to
    assert TAPS * 256 * 255 < 2**24


def test_factors_rounded_as_tf32_does_change_nothing():
    """TF32 keeps 11 bits of a factor; here both are rounded to the 8 of bfloat16, which is coarser."""
    rounded = []

    def coarse(samples, axis):
        half = device_resize._Axis(axis.start, axis.stop, axis.weights.to(torch.bfloat16).to(torch.float32))
        rounded.append(half)
        return resampled(samples.to(torch.bfloat16), half)

    resampled = device_resize._resampled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_resize, "_resampled", coarse)
        assert_equal_to_preprocess(patterns(150, 201), spec(64))
    assert len(rounded) == 2


@pytest.mark.parametrize("precision", ["highest", "high"])  # "medium" makes torch itself crash on some processors
def test_no_global_precision_matters_or_is_touched(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert_equal_to_preprocess(patterns(150, 201), spec(64))
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_fits_leaves_the_large_the_slender_and_the_shrunken_to_preprocess():
    fits = DeviceResizer(spec(224), "cpu").fits
    assert fits(1, 1) and fits(2048, 1024) and fits(100, int(100 * STRIP))
    assert not fits(2048, 1025)
    assert not fits(100, int(100 * STRIP) + 1) and not fits(1, 13)
    small = DeviceResizer(spec(8), "cpu").fits
    assert small(256, 256) and not small(257, 257)


def test_weights_are_made_once_a_size_and_not_kept_for_ever():
    resizer = DeviceResizer(spec(16), "cpu")
    for _ in range(3):
        resizer([noise(30, 40), noise(40, 30)])
    assert resizer._axis.cache_info().misses == 2  # 30 -> 16 and 40 -> 21, across or down
    for side in range(20, 20 + 2 * AXES):
        resizer([noise(side, side)])
    assert resizer._axis.cache_info().currsize == AXES


def test_only_what_the_crop_keeps_is_computed():
    resizer = DeviceResizer(spec(64, 10), "cpu")
    axis = resizer._axis(200, resized_shape(200, 100, spec(64, 10))[0])
    rows = kept(128, 10)
    assert axis.weights.shape[1] == DIGITS * 10
    assert rows.start * 200 / 128 - 5 < axis.start and axis.stop < rows.stop * 200 / 128 + 5


def test_other_filters_pixels_and_sizes_are_refused():
    with pytest.raises(UsageError, match="bilinear-tf1"):
        DeviceResizer(spec(name="bilinear-tf1"), "cpu")
    resizer = DeviceResizer(spec(), "cpu")
    for pixels in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UsageError, match="to_uint8"):
            resizer([pixels])
    with pytest.raises(UsageError, match="fits"):
        resizer([noise(10, 500)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that torch can use")
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_a_gpu_gives_the_same_bits(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        for shape in SHAPES:
            assert_equal_to_preprocess(patterns(*shape), spec(64), "cuda")
    finally:
        torch.set_float32_matmul_precision(before)
