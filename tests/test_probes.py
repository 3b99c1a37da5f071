"""The numeric gate's inputs: the same everywhere, of natural statistics, in groups that mean something."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from semscale.metrics.consistency import scs
from semscale.producers import probes
from semscale.producers.captions import parse
from semscale.producers.probes import (
    COUNT,
    ODD_TEXTS,
    PAINTERS,
    VARIANTS,
    gradients,
    leaves,
    noise,
    probe_groups,
    probe_images,
    probe_texts,
)

SIDE = 96
EXTREMES = 7  # the group of them
SCENES = (2, 10)  # the groups that Pillow draws
PIXELS = "abbd00a28016d84f1f205067b4909657cd5873705b84ad9158c6fac8745b4ce0"
TEXTS = "21076fe9325cdb081a98ee2d7b97dbb6cc55bafc04b6b520d5bba63ae7c00c6e"


@pytest.fixture(scope="module")
def images():
    return probe_images(shape=(SIDE, SIDE, 3))


def of_group(images, group):
    return images[group * VARIANTS : (group + 1) * VARIANTS]


def spectral_slope(image):
    """The exponent of power against spatial frequency, of the grey image under a Hann window."""
    grey = image.astype(np.float64).mean(axis=2)
    window = np.hanning(len(grey))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window * window[:, None])) ** 2
    line = np.fft.fftfreq(len(grey))
    radius = np.hypot(line, line[:, None])
    edges = np.geomspace(3 / len(grey), 0.4, 10)
    rings = [(radius >= low) & (radius < high) for low, high in itertools.pairwise(edges)]
    points = [(np.log(radius[ring].mean()), np.log(power[ring].mean())) for ring in rings]
    return np.polyfit(*zip(*points, strict=True), 1)[0]


def test_same_bytes_on_every_machine():
    """Another digest means other probes: raise VERSION with it, so that old records are measured again."""
    drawn_here = [i for i in range(COUNT) if i // VARIANTS not in SCENES]  # without Pillow
    pixels = probe_images(shape=(64, 64, 3))[drawn_here]
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == PIXELS
    assert hashlib.sha256("\n".join(probe_texts()).encode()).hexdigest() == TEXTS
    assert probes.VERSION == 1


def test_shape_type_and_number(images):
    assert (images.shape, images.dtype) == ((COUNT, SIDE, SIDE, 3), np.uint8)
    assert len(probe_texts()) == len(probe_groups()) == COUNT
    assert probe_images(11, shape=(40, 56, 3)).shape == (11, 40, 56, 3)
    assert probe_images(3, shape=(20, 20, 3)).shape == (3, 20, 20, 3)


def test_fewer_are_the_first_of_more(images):
    np.testing.assert_array_equal(probe_images(20, shape=(SIDE, SIDE, 3)), images[:20])
    assert probe_texts(20) == probe_texts()[:20]
    assert probe_groups(20).tolist() == probe_groups()[:20].tolist()


def test_no_two_are_the_same(images):
    assert len({image.tobytes() for image in images}) == COUNT
    assert len(set(probe_texts())) == COUNT


@pytest.mark.parametrize("group", [g for g in range(len(PAINTERS)) if g != EXTREMES and g not in SCENES])
def test_power_falls_with_about_the_square_of_frequency(images, group):
    slopes = [spectral_slope(image) for image in of_group(images, group)]
    assert -3.0 < np.mean(slopes) < -1.5  # photographs: about -2; white noise: 0


def test_white_noise_would_not_pass_for_natural():
    white = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert abs(spectral_slope(white)) < 0.3


@pytest.mark.parametrize("painter", [noise, leaves, gradients])
def test_channels_are_correlated_and_colours_not_all_grey(painter, images):
    chosen = [g for g, made in enumerate(PAINTERS) if getattr(made, "args", None) == (painter,)]
    pixels = np.concatenate([of_group(images, group) for group in chosen]).reshape(-1, 3).astype(np.float64)
    correlations = np.corrcoef(pixels.T)[np.triu_indices(3, 1)]
    assert (correlations > 0.5).all() and (correlations < 0.99).all()


def test_leaves_have_edges_and_gradients_have_none(images):
    def kurtosis(group):
        grey = of_group(images, group).astype(np.float64).mean(axis=3)
        steps = np.diff(grey[:, ::2], axis=2).ravel()
        return np.mean((steps - steps.mean()) ** 4) / steps.var() ** 2

    groups = {made.args[0]: g for g, made in enumerate(PAINTERS) if hasattr(made, "args")}
    assert kurtosis(groups[leaves]) > 4 > kurtosis(groups[gradients])  # Gaussian: 3


def test_extremes_reach_both_ends(images):
    black, white, fine, coarse, halves, coin, grey, red = of_group(images, EXTREMES)
    assert (black.max(), white.min()) == (0, 255)
    for image in (fine, coarse, halves, coin):
        assert set(np.unique(image)) == {0, 255}
        assert 100 < image.mean() < 155
    assert (fine[0, 0] != fine[0, 1]).all() and (coarse[0, 0] == coarse[15, 15]).all()
    assert set(np.unique(grey)) == {127}
    assert (red == [255, 0, 0]).all()


def test_variants_of_a_scene_are_alike_and_scenes_are_not(images):
    small = images.reshape(COUNT, 8, SIDE // 8, 8, SIDE // 8, 3).mean(axis=(2, 4)).reshape(COUNT, -1)
    units = small - small.mean(axis=0)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    groups = probe_groups()
    within = [scs(units[groups == group]) for group in range(len(PAINTERS)) if group != EXTREMES]
    between = [scs(units[groups % len(PAINTERS) != EXTREMES][start::VARIANTS]) for start in range(VARIANTS)]
    assert np.median(within) > 2 * np.mean(between)
    assert all(0 < score < 100 for score in within)


def test_texts_of_a_group_differ_in_one_attribute():
    texts = probe_texts()
    for start in range(0, COUNT - VARIANTS, VARIANTS):
        base, *others = (parse(text) for text in texts[start : start + VARIANTS])
        for other in others:
            changed = [f for f in ("relation", "background", "style") if getattr(base, f) != getattr(other, f)]
            things = [(base.first, other.first), (base.second, other.second)]
            changed += [
                f
                for one, two in things
                if one is not None
                for f in ("object", "count", "colour", "size", "texture")
                if getattr(one, f) != getattr(two, f)
            ]
            assert len(changed) == 1
    assert texts[-VARIANTS:] == list(ODD_TEXTS)
