"""The perceptual path length: its arithmetic, its steps through the latent space, and a generator known in closed form.

With linear images G(z) = z A and the squared L2 distance, a straight step of epsilon is exactly epsilon^2 times
|(z2 - z1) A|^2 apart, wherever it lies; the mean of that over normal ends is 2 |A|^2.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.path_length import Paths, path_distances, path_length, steps
from semscale.metrics.perceptual import EPSILON, PPL, ppl

DIM, SIDE = 6, 4
MAP = np.random.default_rng(7).standard_normal((DIM, SIDE * SIDE * 3)) / 20


def linear(latents):
    return (0.5 + latents.astype(np.float64) @ MAP).reshape(-1, SIDE, SIDE, 3)


def squared(a, b):
    return np.square(a - b).sum(axis=(1, 2, 3))


def quietly(function, *arguments, **options):
    """A score of few samples, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)
        return function(*arguments, **options)


def heavy(n=2000, seed=0):
    return np.random.default_rng(seed).lognormal(0, 1.5, n) * EPSILON**2


# The arithmetic


def test_extremes_are_left_out_as_in_the_published_program():
    distances = heavy(1010)
    score = ppl(distances)
    ordered = np.sort(distances) / EPSILON**2
    low, high = int(np.floor(0.01 * 1009)), int(np.ceil(0.99 * 1009))  # rounded outwards, and both stay
    assert score.value == pytest.approx(ordered[low : high + 1].mean(), rel=1e-12)
    assert (score.n, score.params["n_left_out"]) == (high - low + 1, 1010 - (high - low + 1))
    assert score.value < ordered.mean()
    assert (score.metric, score.higher_is_better, score.params["epsilon"]) == ("ppl", False, 1e-4)


def test_all_quantiles_are_the_plain_mean_and_interval():
    distances = heavy(1500)
    score = ppl(distances, 1e-3, lower=0, upper=1)
    values = distances / 1e-6
    reach = 1.9615 * values.std(ddof=1) / np.sqrt(1500)
    assert score.value == pytest.approx(values.mean(), rel=1e-12)
    assert score.interval.low == pytest.approx(values.mean() - reach, rel=1e-4)
    assert score.params["n_left_out"] == 0


def test_each_end_is_left_out_for_itself():
    distances = heavy()
    ordered = np.sort(distances) / EPSILON**2
    assert ppl(distances, lower=0.1, upper=1).value == pytest.approx(ordered[199:].mean(), rel=1e-12)
    assert ppl(distances, lower=0, upper=0.9).value == pytest.approx(ordered[:1801].mean(), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**20), st.floats(1e-6, 1e-1))
def test_order_and_unit_of_distances_do_not_matter(n, seed, epsilon):
    distances = heavy(n, seed)
    score = quietly(ppl, distances, epsilon)
    shuffled = quietly(ppl, np.random.default_rng(seed).permutation(distances), epsilon)
    assert shuffled.value == pytest.approx(score.value, rel=1e-12)
    assert quietly(ppl, distances, 2 * epsilon).value == pytest.approx(score.value / 4, rel=1e-12)
    assert score.interval.low <= score.value <= score.interval.high


def test_invalid_distances_are_counted_and_take_no_place_among_the_extremes():
    distances = heavy()
    score = ppl(np.concatenate([[np.nan, np.inf], distances, [np.nan]]))
    expected = ppl(distances)
    assert (score.value, score.n, score.interval) == (expected.value, expected.n, expected.interval)
    assert (score.params["n_invalid"], expected.params["n_invalid"]) == (3, 0)


def test_interval_holds_the_truth_as_often_as_it_says():
    """The interval of what is left alone, blind to the trimming, held it 88 to 92 % of the time in a longer run."""
    rng = np.random.default_rng(3)
    large = rng.lognormal(0, 1, 400_000)
    low, high = np.quantile(large, (0.01, 0.99))
    truth = large[(low <= large) & (large <= high)].mean()
    intervals = [ppl(rng.lognormal(0, 1, 1000), 0.5, lower=0.01).interval for _ in range(400)]
    held = np.mean([one.low <= truth * 4 <= one.high for one in intervals])
    assert 0.92 <= held <= 0.975


@pytest.mark.parametrize("n", [0, 1])
def test_of_nothing_and_of_one_there_is_no_interval(n):
    with pytest.warns(FewSamplesWarning, match=f"ppl of {n} pairs of images: below {PPL.smallest_n}"):
        score = ppl(np.full(n, 3e-8))
    assert score.interval is None
    assert score.value == pytest.approx(3.0) if n else np.isnan(score.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epsilon": 0}, "an epsilon of 0"),
        ({"epsilon": np.nan}, "an epsilon of nan"),
        ({"lower": 0.99, "upper": 0.01}, r"quantiles from 0\.99 to 0\.01"),
        ({"lower": -0.1}, r"quantiles from -0\.1"),
        ({"upper": 99}, "quantiles from .* to 99"),
        ({"distances": np.zeros((3, 1))}, r"shape \(3, 1\)"),
        ({"distances": np.array([1.0, -1.0])}, "a distance of -1; there are none below 0"),
    ],
)
def test_what_makes_no_path_length_is_refused(change, reason):
    with pytest.raises(UsageError, match=reason):
        ppl(**{"distances": heavy(), **change})


# The steps


def joined(paths):
    starts, ends = zip(*steps(paths), strict=True)
    return np.concatenate(starts).astype(np.float64), np.concatenate(ends).astype(np.float64)


def test_spherical_steps_are_an_angle_of_epsilon_times_that_between_two_normal_latents():
    starts, ends = joined(Paths(DIM, n=4000, epsilon=0.01, batch=500))
    assert np.linalg.norm(starts, axis=1) == pytest.approx(np.ones(4000), abs=1e-6)
    assert np.linalg.norm(ends, axis=1) == pytest.approx(np.ones(4000), abs=1e-6)
    angles = 2 * np.arcsin(np.linalg.norm(ends - starts, axis=1) / 2) / 0.01
    assert 0 < angles.min() < angles.max() < np.pi
    assert angles.mean() == pytest.approx(np.pi / 2, abs=0.03)  # that of two independent directions


def test_a_whole_step_ends_where_the_path_does():
    half = Paths(DIM, n=50, epsilon=0.5, sampling="end")
    one, middle = joined(half)
    _, close = joined(replace(half, epsilon=0.999999))
    assert middle == pytest.approx((one + close) / np.linalg.norm(one + close, axis=1, keepdims=True), abs=1e-5)


def test_straight_steps_lie_on_lines_between_normal_latents():
    end = Paths(DIM, n=4000, epsilon=0.25, interpolation="lerp", sampling="end", batch=500)
    starts, ends = joined(end)
    assert (starts.std(), starts.mean()) == (pytest.approx(1, abs=0.02), pytest.approx(0, abs=0.02))
    across = (ends - starts) / 0.25
    assert across.var() == pytest.approx(2, abs=0.05)
    inside, beyond = joined(replace(end, sampling="full"))
    assert beyond - inside == pytest.approx(ends - starts, abs=1e-5)
    t = ((inside - starts) * across).sum(axis=1) / (across**2).sum(axis=1)
    assert inside == pytest.approx(starts + t[:, None] * across, abs=1e-5)
    assert 0 <= t.min() < 0.01
    assert 0.99 < t.max() < 1
    assert t.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
@pytest.mark.parametrize("interpolation", ["slerp", "lerp"])
def test_steps_depend_on_the_seed_and_not_on_the_batch(batch, interpolation):
    paths = Paths(DIM, n=100, interpolation=interpolation, batch=batch, seed=3)
    assert np.array_equal(joined(paths), joined(replace(paths, batch=16)))
    assert not np.array_equal(joined(paths), joined(replace(paths, seed=4)))
    assert all(len(one) <= batch and one.dtype == np.float32 for one, _ in steps(paths))


@pytest.mark.parametrize(
    "change",
    [
        *({"dim": 1}, {"n": 0}, {"batch": 0}, {"seed": -1}, {"epsilon": 0}, {"epsilon": 1.5}),
        *({"interpolation": "cubic"}, {"sampling": "start"}, {"dim": 0, "interpolation": "lerp"}),
    ],
)
def test_impossible_paths_are_refused(change):
    with pytest.raises(UsageError, match="path length: "):
        Paths(**{"dim": DIM, **change})


# A generator


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_linear_generator_has_the_length_of_its_map(sampling):
    paths = Paths(DIM, n=4000, epsilon=1e-2, interpolation="lerp", sampling=sampling, batch=500)
    values = path_distances(linear, squared, paths) / paths.epsilon**2
    starts, ends = joined(paths)
    assert values == pytest.approx(np.square((ends - starts) / 1e-2 @ MAP).sum(axis=1), rel=1e-6)
    assert values.mean() == pytest.approx(2 * np.square(MAP).sum(), rel=0.05)
    score = path_length(linear, squared, paths)
    assert score.value == ppl(values, 1.0).value
    assert score.value < values.mean()  # the long tail is left out


def test_on_a_sphere_the_length_is_the_mean_squared_angle():
    """Of a generator that keeps lengths: the angle of two directions in 3 dimensions has density sin(x) / 2, and so
    the mean square (pi^2 - 4) / 2."""

    def same(latents):
        return np.pad(latents[:, None, None, :].astype(np.float64), ((0, 0), (0, 1), (0, 1), (0, 0)))

    paths = Paths(3, n=20_000, epsilon=1e-3, batch=5000, seed=1)
    values = path_distances(same, squared, paths) / 1e-6
    assert values.mean() == pytest.approx((np.pi**2 - 4) / 2, rel=0.02)


def test_score_says_how_it_was_made():
    score = path_length(linear, squared, Paths(DIM, n=1000, batch=250, seed=5))
    assert score.params == {
        "preset": "karras2019",
        "interpolation": "slerp",
        "sampling": "full",
        "dim": DIM,
        "seed": 5,
        "epsilon": 1e-4,
        "lower": 0.01,
        "upper": 0.99,
        "n_left_out": 18,
        "n_invalid": 0,
    }
    assert score.n == 982
    assert path_length(linear, squared, Paths(DIM, n=1000, sampling="end")).params["preset"] == "karras2019-end"
    assert path_length(linear, squared, Paths(DIM, n=1000, interpolation="lerp")).params["preset"] is None
    assert set(PPL.presets) == {"karras2019", "karras2019-end"}


def test_same_seed_gives_the_same_score_at_any_batch():
    first, again = (path_length(linear, squared, Paths(DIM, n=1000, batch=batch)) for batch in (16, 333))
    assert again.value == pytest.approx(first.value, rel=1e-9)
    assert path_length(linear, squared, Paths(DIM, n=1000, seed=1)).value != first.value


def test_rounding_to_8_bits_would_be_most_of_the_number():
    """Why images of uint8 are refused."""
    paths = Paths(DIM, n=1000, interpolation="lerp")
    smooth = path_length(linear, squared, paths).value
    rounded = path_length(lambda latents: np.round(linear(latents) * 255) / 255, squared, paths).value
    assert rounded > 10 * smooth


@pytest.mark.parametrize(
    ("produce", "reason"),
    [
        (lambda z: np.zeros((len(z), 4, 4, 3), np.uint8), "images of uint8, and rounding them"),
        (lambda z: np.zeros((len(z), 4, 4, 3), np.float16), "images of float16"),
        (lambda z: np.zeros((len(z), 3, 4, 4)), r"shape \(8, 3, 4, 4\) for 8 latents"),
        (lambda z: np.zeros((1, 4, 4, 3)), r"shape \(1, 4, 4, 3\) for 8 latents"),
        (lambda z: np.zeros((len(z), 48)), r"shape \(8, 48\)"),
    ],
    ids=["uint8", "float16", "channels first", "too few", "flat"],
)
def test_images_that_cannot_be_compared_are_refused(produce, reason):
    with pytest.raises(UsageError, match=reason):
        path_length(produce, squared, Paths(DIM, n=8))


def test_a_distance_for_each_pair_is_needed():
    with pytest.raises(UsageError, match=r"distances of the shape \(\) for 8 pairs"):
        path_length(linear, lambda a, b: squared(a, b).mean(), Paths(DIM, n=8))


def test_a_producer_that_fails_now_and_then_is_counted():
    def failing(latents):
        images = linear(latents)
        images[::4] = np.nan
        return images

    score = path_length(failing, squared, Paths(DIM, n=2000, batch=8))
    assert (score.params["n_invalid"], score.n) == (500, 1500 - score.params["n_left_out"])
    assert np.isfinite(score.value)
