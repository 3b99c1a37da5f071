"""Encoder pixels against the slow Hugging Face processor, and the guard of the Python API."""

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semscale import preprocess as room
from semscale.decode import decode
from semscale.errors import UsageError
from semscale.model import Preprocess
from semscale.preprocess import ROUNDED, STRIP, UNROUNDED, preprocess, to_uint8

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "dreambooth"


def spec(size=224, crop=None, name="bicubic"):
    return Preprocess(size, crop or size, name, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def hugging_face(pixels, wanted):
    """What CLIPImageProcessor makes of `pixels`, before it rescales and normalises."""
    transformers = pytest.importorskip("transformers", reason="the oracle is the processor of transformers")
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": wanted.size},
        crop_size={"height": wanted.crop, "width": wanted.crop},
        resample=ROUNDED[wanted.filter],
        do_rescale=False,
        do_normalize=False,
    )
    # Told where the channels are, it does not take an image of 3 rows for channels first.
    batch = processor(Image.fromarray(pixels), input_data_format="channels_last", return_tensors="np")
    return batch["pixel_values"][0].transpose(1, 2, 0)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def patterns(height, width):
    """Hard edges that overshoot, exact ties of rounding, and noise."""
    y, x = np.mgrid[:height, :width]
    yield noise(height, width)
    yield np.repeat((noise(height, width, 1) > 127)[..., :1] * np.uint8(255), 3, axis=2)
    for grey in ((y // 3 + x // 3) % 2 * 255, x % 2 * 255, x * 7 + y * 3, np.where(y // 9 % 2, x // 5 % 2 * 255, 90)):
        yield np.repeat((grey % 256).astype(np.uint8)[..., None], 3, axis=2)


SHAPES = [(1, 1), (2, 3), (17, 31), (223, 224), (224, 224), (225, 226), (333, 500), (640, 480), (301, 100), (512, 512)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_exact_is_bit_equal_to_the_reference(shape, name):
    for pixels in patterns(*shape):
        wanted = spec(224, name=name)
        np.testing.assert_array_equal(preprocess(pixels, wanted), hugging_face(pixels, wanted))


@pytest.mark.parametrize("shape", [(3, 700), (700, 3), (40, 520), (520, 40), (260, 20), (20, 260), (1, 300), (300, 1)])
@pytest.mark.parametrize("name", sorted(ROUNDED))
@pytest.mark.parametrize("size", [16, 40])
def test_strips_are_bit_equal_to_the_reference(shape, name, size):
    assert max(shape) > STRIP * min(shape)
    for pixels in patterns(*shape):
        wanted = spec(size, size, name)
        np.testing.assert_array_equal(preprocess(pixels, wanted), hugging_face(pixels, wanted))


def test_the_longest_strip():
    pixels = noise(1, 5000)
    np.testing.assert_array_equal(preprocess(pixels, spec()), hugging_face(pixels, spec()))


def test_twelve_megapixels():
    pixels = noise(3000, 4000)
    np.testing.assert_array_equal(preprocess(pixels, spec()), hugging_face(pixels, spec()))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    size=st.integers(1, 48),
    extra=st.integers(-9, 9),
    name=st.sampled_from(sorted(ROUNDED)),
    strip=st.sampled_from([2.0, STRIP]),
)
def test_any_size_is_bit_equal_to_the_reference(height, width, size, extra, name, strip):
    pixels = noise(height, width, height * width)
    wanted = spec(size, max(size + extra, 1), name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "STRIP", strip)  # at 2 the crop-only loop serves wide and tall images too
        np.testing.assert_array_equal(preprocess(pixels, wanted), hugging_face(pixels, wanted))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("crop", [20, 21, 32, 33, 41])
def test_crops_smaller_and_larger_than_the_image(crop, exact):
    for shape in ((64, 64), (64, 97), (97, 64), (33, 50)):
        pixels = noise(*shape)
        wanted = spec(32, crop)
        deviation = np.abs(preprocess(pixels, wanted, exact=exact).astype(int) - hugging_face(pixels, wanted))
        assert deviation.max() <= (0 if exact else 2)


def photos(count):
    files = sorted(PHOTOS.rglob("*.jpg"))
    if not files:
        pytest.skip("the dreambooth photos are not beside the repository")
    return [decode(path.read_bytes()) for path in files[:: max(len(files) // count, 1)][:count]]


def test_photos_exact_and_fast():
    for pixels in photos(6):
        reference = hugging_face(pixels, spec()).astype(int)
        np.testing.assert_array_equal(preprocess(pixels, spec()), reference)
        assert np.abs(preprocess(pixels, spec(), exact=False) - reference).max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_fast_is_within_two_and_rarely_off_at_all(shape, name):
    for pixels in patterns(*shape):
        exact, fast = (preprocess(pixels, spec(name=name), exact=e).astype(int) for e in (True, False))
        deviation = np.abs(fast - exact)
        assert deviation.max() <= 2 and (deviation == 2).mean() < 0.01


@pytest.mark.parametrize("shape", [(3, 65_505), (65_505, 3)])
@pytest.mark.parametrize("exact", [True, False])
def test_what_the_crop_drops_is_not_computed(shape, exact, monkeypatch):
    """Resized whole, such a strip would have 224 x 4.9 million pixels."""
    computed = []
    apply = room._Axis.apply

    def counted(axis, samples):
        out = apply(axis, samples)
        computed.append(out.size)
        return out

    monkeypatch.setattr(room._Axis, "apply", counted)
    monkeypatch.setattr(room, "_resize_exactly", lambda *_: pytest.fail("resized whole"))
    monkeypatch.setattr(room, "_resize_fast", lambda *_: pytest.fail("resized whole"))
    pixels = noise(*shape)
    out = preprocess(pixels, spec(), exact=exact)
    assert out.shape == (224, 224, 3) and sum(computed) <= 2 * 224 * 224 * 3
    middle = slice(32_730, 32_775)  # of a length and place that keep every phase
    short = pixels[:, middle] if shape[0] == 3 else pixels[middle]
    np.testing.assert_array_equal(out, preprocess(short, spec()))


SLENDER = [(1, 89_000_000), (89_000_000, 1), (60_000, 1), (2_000, 25_000)]
STOUT = [(2_100, 25_000), (25_000, 2_100)]  # just no strips
MEASURE = """
import sys, numpy as np, fuzz
from semscale.model import Preprocess
from semscale.preprocess import preprocess
spec = Preprocess(224, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
for shape in [(20, 300), (300, 400), *eval(sys.argv[1])]:
    pixels = np.full((*shape, 3), 9, np.uint8)
    before = fuzz.memory("VmRSS"); fuzz.forget_peak()
    assert preprocess(pixels, spec, exact=sys.argv[2] == "exact").max() == 9
    print(fuzz.memory("VmHWM") - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="measured by what Linux tells")
@pytest.mark.parametrize("way", ["exact", "fast"])
def test_no_shape_makes_a_resize_allocate_much(way):
    """Resized whole, the longest of these would have 4 trillion pixels."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", MEASURE, str(SLENDER + STOUT), way]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    taken = dict(zip(SLENDER + STOUT, map(int, out.split()[2:]), strict=True))
    assert all(taken[shape] < 50_000_000 for shape in SLENDER), taken
    assert all(taken[shape] < 50_000_000 + 4 * shape[0] * shape[1] for shape in STOUT), taken


def test_the_arrays_of_other_libraries_are_taken_without_a_warning():
    pixels = noise(300, 400)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for exact in (True, False):
            expected = preprocess(pixels, spec(), exact=exact)
            np.testing.assert_array_equal(preprocess(frozen, spec(), exact=exact), expected)
            np.testing.assert_array_equal(preprocess(pixels[::-1][::-1], spec(), exact=exact), expected)
            planar = np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0)
            np.testing.assert_array_equal(preprocess(planar, spec(), exact=exact), expected)


def test_wrong_pixels_and_filters_are_refused():
    for pixels in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UsageError, match="to_uint8"):
            preprocess(pixels, spec())
    with pytest.raises(UsageError, match="bicubic"):
        preprocess(noise(4, 4), spec(name="nearest"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.sampled_from([np.float16, np.float32, np.float64]), st.booleans())
def test_unit_floats_come_back_as_the_bytes_they_were(seed, dtype, batch):
    images = noise(5, 7, seed)[None] if batch else noise(5, 7, seed)
    floats = (images / 255).astype(dtype)
    once = to_uint8(floats)
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(once, images)
    np.testing.assert_array_equal(to_uint8(once), once)


def test_dark_bytes_are_not_taken_for_unit_values():
    dark = np.ones((4, 4, 3), np.uint8)
    np.testing.assert_array_equal(to_uint8(dark), dark)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.one_of(st.floats(max_value=-1e-6), st.floats(min_value=1.0001), st.just(float("nan"))))
def test_floats_out_of_range_are_refused(value):
    images = np.full((4, 4, 3), 0.5)
    images[1, 2, 0] = value
    with pytest.raises(UsageError, match=r"within \[0, 1\]"):
        to_uint8(images)


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (np.zeros((3, 8, 9), np.uint8), "moveaxis"),
        (np.zeros((2, 3, 8, 9), np.float32), "moveaxis"),
        (np.zeros((8, 9), np.uint8), "channels last"),
        (np.zeros((8, 9, 4), np.uint8), "channels last"),
        (np.zeros((0, 9, 3), np.uint8), "channels last"),
        (np.zeros((8, 9, 3), np.int64), "int64"),
        (np.zeros((8, 9, 3), bool), "bool"),
    ],
)
def test_other_arrays_are_refused_with_a_cure(images, word):
    with pytest.raises(UsageError, match=word):
        to_uint8(images)


def test_decode_then_preprocess_equals_the_reference_from_the_file():
    out = io.BytesIO()
    Image.fromarray(noise(120, 200)).resize((600, 360)).save(out, "JPEG")
    reference = hugging_face(np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("RGB")), spec())
    np.testing.assert_array_equal(preprocess(decode(out.getvalue()), spec()), reference)


def unrounded(name, size=299):
    return Preprocess(size, size, name, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "stretch")


@pytest.mark.parametrize("shape", SHAPES)
def test_stretched_is_bit_equal_to_pillow(shape):
    wanted = Preprocess(48, 48, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "stretch")
    for pixels in patterns(*shape):
        found = preprocess(pixels, wanted)
        np.testing.assert_array_equal(found, Image.fromarray(pixels).resize((48, 48), ROUNDED["bicubic"]))


def test_a_stretched_strip_keeps_both_ends():
    strip = np.zeros((4, 4000, 3), np.uint8)
    strip[:, :2000] = 255
    found = preprocess(strip, Preprocess(8, 8, "bicubic", (0.5,) * 3, (0.5,) * 3, "stretch"))
    assert (found[:, :3] == 255).all() and (found[:, 5:] == 0).all()


def test_floats_of_pillow_are_those_before_it_rounds():
    sharp = preprocess(noise(333, 500), unrounded("bicubic-float"))
    assert sharp.dtype == np.float32 and sharp.min() == 0 and sharp.max() == 255
    pixels = noise(333, 500) // 4 + 96  # the filter overshoots no end, where Pillow would clip between its two passes
    floats = preprocess(pixels, unrounded("bicubic-float"))
    rounded = np.asarray(Image.fromarray(pixels).resize((299, 299), ROUNDED["bicubic"]))
    assert np.abs(floats - rounded).max() < 1.5  # it rounds twice
    assert (floats != np.rint(floats)).mean() > 0.9


def test_tensorflow_1_takes_the_pixel_at_i_times_in_over_out():
    pixels = noise(40, 60)
    np.testing.assert_array_equal(preprocess(pixels[:20, :20], unrounded("bilinear-tf1", 10)), pixels[:20:2, :20:2])
    assert preprocess(pixels, unrounded("bilinear-tf1")).dtype == np.float32
    halves = preprocess(pixels[:20, :20], unrounded("bilinear-tf1", 40)).astype(np.float64)
    source = pixels[:20, :20].astype(np.float64)
    np.testing.assert_allclose(halves[1:38:2, ::2], (source[:-1] + source[1:]) / 2, atol=1e-4)
    np.testing.assert_array_equal(halves[39], halves[38])  # beyond the last pixel there is nothing to mix with


def test_bilinear_by_centres_against_its_formula():
    pixels = noise(37, 53)
    found = preprocess(pixels, unrounded("bilinear-torch", 24))
    places = [np.clip((np.arange(24) + 0.5) * side / 24 - 0.5, 0, None) for side in (37, 53)]
    low = [np.floor(place).astype(int) for place in places]
    down, across = (place - below for place, below in zip(places, low, strict=True))
    corner = [[pixels[np.minimum(low[0] + i, 36)][:, np.minimum(low[1] + j, 52)] for j in (0, 1)] for i in (0, 1)]
    rows = [a * (1 - across[:, None]) + b * across[:, None] for a, b in corner]
    expected = rows[0] * (1 - down[:, None, None]) + rows[1] * down[:, None, None]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_wide_bilinear_is_the_triangle_filter_without_rounding():
    pixels = noise(137, 53)
    found = preprocess(pixels, unrounded("bilinear-wide", 24))
    channels = [
        Image.fromarray(pixels[..., c].astype(np.float32)).resize((24, 24), Image.Resampling.BILINEAR) for c in range(3)
    ]
    np.testing.assert_allclose(found, np.stack([np.asarray(one) for one in channels], axis=-1), atol=1e-3)
    assert np.abs(found - preprocess(pixels, unrounded("bilinear-torch", 24))).max() > 10


@pytest.mark.parametrize("name", UNROUNDED)
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (299, 299), (300, 298)])
def test_unrounded_filters_take_every_shape_and_keep_a_flat_colour(name, shape):
    flat = np.full((*shape, 3), (7, 130, 255), np.uint8)
    np.testing.assert_allclose(preprocess(flat, unrounded(name)), np.broadcast_to(flat[0, 0], (299, 299, 3)), atol=1e-3)
