import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semscale.errors import UsageError
from semscale.metrics import distances, features, manifold, means
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.distances import Join, nearest_squares, points_of
from semscale.metrics.features import open_features
from semscale.metrics.frechet import fid_infinity
from semscale.metrics.kernel_distance import cmmd, kid
from semscale.metrics.manifold import PRESETS, prdc
from semscale.metrics.memorisation import MEMORISATION, memorisation_distance, mifid
from semscale.model import Score

pytestmark = pytest.mark.filterwarnings("ignore::semscale.metrics.description.FewSamplesWarning")
GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "metrics" / "golden.json"
NAMES = ("precision", "recall", "density", "coverage")


def values(found):
    return tuple(getattr(found, name).value for name in NAMES)


def brute(real, fake, k, strict):
    """The definition, pair by pair."""
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)

    def squares(a, b):
        return np.array([[math.fsum((x - y) ** 2) for y in b] for x in a])

    def radii(rows):
        apart = squares(rows, rows)
        return np.array([sorted(np.delete(apart[i], i))[k - 1] for i in range(len(rows))])

    inside = np.less if strict else np.less_equal
    between, real_radii, fake_radii = squares(real, fake), radii(real), radii(fake)
    in_real, in_fake = inside(between, real_radii[:, None]), inside(between, fake_radii[None])
    return (
        in_real.any(axis=0).mean(),
        in_fake.any(axis=1).mean(),
        in_real.sum() / (k * len(fake)),
        in_real.any(axis=1).mean(),
    )


def golden_sets():
    r = np.random.RandomState(0)
    return r.randn(400, 32), r.randn(500, 32) * 1.05 + 0.1


def normal(n, d, *, seed=0, shift=0.0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal((n, d)) * scale + shift).astype(np.float32)


@pytest.mark.parametrize(("preset", "field"), [("prdc", "prdc_k5_strict"), ("torch-fidelity", "prc_k3_le")])
def test_golden_numbers_of_both_conventions(preset, field):
    if not GOLDEN.exists():
        pytest.skip("the golden numbers are not beside this checkout")
    golden = json.loads(GOLDEN.read_text())[field]
    convention = PRESETS[preset]
    found = prdc(*golden_sets(), k=convention.k, strict=convention.strict)
    assert values(found) == pytest.approx([golden[name] for name in NAMES], abs=1e-12)
    assert found.precision.params["preset"] == preset


def test_published_numbers_of_the_golden_sets():
    assert values(prdc(*golden_sets())) == pytest.approx((0.692, 0.8825, 0.6624, 0.95), abs=1e-12)
    assert values(prdc(*golden_sets(), k=3, strict=False))[:2] == pytest.approx((0.57, 0.7875), abs=1e-12)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("n", "m", "d", "k"), [(12, 9, 3, 2), (30, 17, 5, 5), (6, 6, 40, 1), (7, 20, 1, 3)])
def test_equals_the_definition(n, m, d, k, strict):
    real, fake = normal(n, d, seed=n), normal(m, d, seed=m + 1, shift=0.3)
    assert values(prdc(real, fake, k=k, strict=strict)) == pytest.approx(brute(real, fake, k, strict), abs=1e-12)


small = st.integers(3, 9).flatmap(lambda n: arrays(np.float32, (n, 2), elements=st.integers(-2, 2).map(float)))


@given(small, small, st.integers(1, 2), st.booleans())
@settings(max_examples=150, deadline=None)
def test_ties_and_repeats_are_decided_as_the_definition_decides_them(real, fake, k, strict):
    found = prdc(real, fake, k=k, strict=strict)
    assert values(found) == pytest.approx(brute(real, fake, k, strict), abs=1e-12)
    assert found.precision.params["n_duplicates_real"] == len(real) - len({tuple(row) for row in real + 0.0})


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_a_set_compared_with_itself_touches_every_surface(shift):
    """Where the radius is the very distance compared, strictness alone decides: rounding must not."""
    rows = normal(200, 33, shift=shift)
    assert prdc(rows, rows.copy(), k=1).density.value == 1.0  # each lies in its own ball alone
    assert prdc(rows, rows.copy(), k=1, strict=False).density.value == 2.0  # and each ball's neighbour on the surface


def test_precision_and_recall_are_not_exchanged():
    real, fake = normal(200, 16, scale=3.0), normal(200, 16, seed=1, scale=0.1)
    found = prdc(real, fake, k=3, strict=False)
    assert found.precision.value > 0.8
    assert found.recall.value < 0.3
    assert found.density.value > 1.0  # crowded in the middle
    assert found.coverage.value < 0.8
    back = prdc(fake, real, k=3, strict=False)
    assert back.precision.value == found.recall.value
    assert back.recall.value == found.precision.value
    assert back.coverage.value != found.coverage.value


def test_density_and_coverage_on_a_line_worked_out_by_hand():
    real = np.array([[0.0], [1.0], [3.0], [10.0]])  # balls of k = 1: radius 1, 1, 2, 7
    fake = np.array([[0.5], [0.6], [4.0], [100.0]])  # radius 0.1, 0.1, 3.4, 96
    found = prdc(real, fake, k=1)
    # 0.5 and 0.6 lie in the balls of 0 and 1, 4.0 in those of 3 and 10, 100.0 in none
    assert found.precision.value == 0.75
    assert found.density.value == 6 / 4
    assert found.coverage.value == 1.0
    assert found.recall.value == 3 / 4  # 4.0 reaches to 0.6 and 7.4, 100.0 to 4: so 1, 3 and 10, not 0


@pytest.mark.parametrize("strict", [True, False])
def test_blocks_give_what_the_whole_gives(monkeypatch, strict):
    real, fake = np.repeat(normal(40, 6), 2, axis=0), normal(50, 6, seed=1)
    fake[:9] = real[:9]
    whole = prdc(real, fake, k=2, strict=strict)
    monkeypatch.setattr(means, "BLOCK", 7)
    monkeypatch.setattr(features, "BLOCK", 7)
    monkeypatch.setattr(distances, "CHUNK_BYTES", 200)
    assert prdc(real, fake, k=2, strict=strict) == whole


@pytest.mark.parametrize("crowd", [0, 1, 1000])
def test_which_candidates_are_looked_at_first_changes_nothing(monkeypatch, crowd):
    rows = np.concatenate([normal(60, 4), normal(60, 4, shift=1e3), normal(30, 4)[:20].repeat(4, axis=0)])
    monkeypatch.setattr(means, "BLOCK", 50)
    monkeypatch.setattr(distances, "CROWD", crowd)
    (points,) = points_of(open_features(rows))
    apart = np.square(rows[:, None].astype(np.float64) - rows[None]).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(nearest_squares(points, 3) / points.scale**2, np.sort(apart)[:, 2], rtol=1e-13)


@pytest.mark.parametrize("shift", [0.0, 50.0, 1e6])
@pytest.mark.parametrize("d", [1, 33, 512])
def test_bounds_of_reduced_distances_hold(shift, d):
    left, right = normal(90, d, shift=shift), normal(70, d, seed=1, shift=shift)
    right[:30] = left[:30]
    left[-1] *= 1e3
    join = Join(*points_of(open_features(left), open_features(right)))
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(90), np.arange(70), indexing="ij"))
    (tile,) = join.tiles(slice(0, 90))
    low, exact = tile.low.astype(np.float64).ravel(), join.exact(i, j)
    assert (low <= exact).all()
    assert (low + join._width(i, j) >= exact).all()
    assert (exact.reshape(90, 70)[np.arange(30), np.arange(30)] == 0).all()


def test_few_distances_are_computed_twice(monkeypatch):
    looked = []
    exact = Join.exact
    monkeypatch.setattr(Join, "exact", lambda self, i, j: looked.append(len(i)) or exact(self, i, j))
    prdc(normal(600, 64, shift=50.0), normal(500, 64, seed=1, shift=50.0))
    assert sum(looked) < 0.1 * (600**2 + 500**2 + 600 * 500)


def test_a_large_mean_takes_no_digits():
    real, fake = normal(300, 8).astype(np.float64), normal(300, 8, seed=1).astype(np.float64)
    far = 2.0**20  # exact for these rows once they are rounded to 2^-20
    real, fake = np.round(real * 2**20) / 2**20, np.round(fake * 2**20) / 2**20
    assert values(prdc(real + far, fake + far)) == values(prdc(real, fake))


@pytest.mark.parametrize("scale", [2.0**-1015, 2.0**-600, 2.0**-40, 2.0**60, 2.0**500, 2.0**1020])
def test_the_unit_of_the_features_does_not_matter(scale):
    real, fake = normal(60, 5).astype(np.float64), normal(50, 5, seed=1).astype(np.float64)
    assert values(prdc(real * scale, fake * scale)) == values(prdc(real, fake))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_the_type_of_the_features_does_not_matter(dtype):
    real, fake = (normal(60, 5, scale=4.0).astype(dtype), normal(50, 5, seed=1, scale=4.0).astype(dtype))
    assert values(prdc(real, fake)) == values(prdc(real.astype(np.float64), fake.astype(np.float64)))


def test_the_order_of_rows_does_not_matter():
    real, fake = normal(50, 4), normal(40, 4, seed=1)
    assert values(prdc(real[::-1], np.roll(fake, 7, axis=0))) == values(prdc(real, fake))


def test_repeated_rows_empty_their_balls_and_are_counted():
    real, fake = np.repeat(normal(30, 4), 4, axis=0), normal(40, 4)
    found = prdc(real, fake, k=3)
    assert (found.precision.value, found.density.value, found.coverage.value) == (0.0, 0.0, 0.0)
    assert found.precision.params["n_duplicates_real"] == 90
    assert found.precision.params["n_empty_balls_real"] == 120
    assert found.precision.params["n_duplicates"] == 90
    on_the_surface = prdc(real, fake, k=3, strict=False)  # the first 30 of `fake` are these very images
    assert on_the_surface.precision.value == 30 / 40
    assert on_the_surface.coverage.value == 1.0


def test_constant_features_are_all_or_nothing():
    same = np.full((64, 3), 0.1, np.float32)
    assert values(prdc(same, same)) == (0.0, 0.0, 0.0, 0.0)
    assert values(prdc(same, same, strict=False)) == (1.0, 1.0, 64 / 5, 1.0)
    assert prdc(same, same).density.params["n_duplicates"] == 126


def test_zero_and_minus_zero_are_one_number():
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 0.0]])
    assert prdc(rows, rows, k=1).recall.params["n_duplicates_real"] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_invalid_rows_are_left_out_and_counted(bad):
    real, fake = normal(30, 4), normal(20, 4, seed=1)
    found = prdc(np.insert(real, 3, bad, axis=0), np.insert(fake, [0, 20], bad, axis=0))
    assert values(found) == values(prdc(real, fake))
    assert (found.precision.n, found.recall.n) == (20, 30)
    assert found.coverage.params["n_invalid"] == 3


def test_a_row_of_zeros_is_a_point_like_any_other():
    real = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert prdc(real, np.array([[0.1, 0.0], [0.0, 0.1]]), k=1).precision.params["n_invalid"] == 0


def test_what_is_undefined_is_not_a_number():
    few, many = normal(5, 3), normal(30, 3, seed=1)
    found = prdc(few, many)  # five images have no fifth neighbour
    assert np.isnan([found.precision.value, found.density.value, found.coverage.value]).all()
    assert not np.isnan(found.recall.value)
    assert np.isnan(prdc(many, few).recall.value)
    assert not np.isnan(prdc(many, few).precision.value)
    assert np.isnan(values(prdc(many, few[:0]))).all()
    assert np.isnan(values(prdc(few[:0], few[:0]))).all()


def test_few_samples_warn_once_with_the_number_needed():
    with pytest.warns(FewSamplesWarning, match="precision, recall, density and coverage of 20 .* below 1000") as seen:
        prdc(normal(30, 3), normal(20, 3))
    assert len(seen) == 1


def test_mapped_files_are_read_in_place(tmp_path):
    np.save(tmp_path / "real.npy", normal(60, 4))
    mapped = np.load(tmp_path / "real.npy", mmap_mode="r")
    assert values(prdc(mapped, normal(50, 4, seed=1))) == values(prdc(np.array(mapped), normal(50, 4, seed=1)))


def test_wrong_arguments_are_refused():
    with pytest.raises(UsageError, match="k of 0"):
        prdc(normal(9, 3), normal(9, 3), k=0)
    with pytest.raises(UsageError, match="4 and of 3 dimensions"):
        prdc(normal(9, 4), normal(9, 3))


def test_scores_say_what_they_are():
    found = prdc(*golden_sets(), k=4)
    for name in NAMES:
        score = getattr(found, name)
        assert (score.metric, score.higher_is_better, score.interval) == (name, True, None)
        assert score.params["preset"] == "k 4, <"
        assert {"k", "strict", "n_real", "n_fake", "n_invalid", "n_duplicates"} <= set(score.params)
    described = (manifold.PRECISION, manifold.RECALL, manifold.DENSITY, manifold.COVERAGE)
    assert tuple(one.name for one in described) == NAMES
    assert len({one.formula for one in described}) == 4


def brute_memorisation(ours, theirs):
    def cosine(a, b):
        return abs(math.fsum(a * b)) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))

    return np.mean([min(1 - cosine(a, b) for b in theirs) for a in ours])


def test_memorisation_is_the_mean_distance_of_generated_images_to_the_nearest_real_one():
    real, fake = normal(30, 6).astype(np.float64), normal(20, 6, seed=1).astype(np.float64)
    score = memorisation_distance(real, fake)
    assert score.value == pytest.approx(brute_memorisation(fake, real), abs=1e-12)
    assert (score.n, score.params["preset"]) == (20, "bai2021")
    other = memorisation_distance(real, fake, preset="torchmetrics")
    assert other.value == pytest.approx(brute_memorisation(real, fake), abs=1e-12)
    assert abs(other.value - score.value) > 0.01
    assert other.n == 30


def test_memorisation_sees_copies_mirrored_and_rescaled():
    real = normal(50, 8)
    copies = real[:20] * np.float32(-3.0)
    assert memorisation_distance(real, copies).value == pytest.approx(0.0, abs=1e-6)
    assert memorisation_distance(real, copies).value >= 0.0
    assert memorisation_distance(real, copies, preset="torchmetrics").value > 0.05


def test_memorisation_in_blocks_and_without_invalid_rows(monkeypatch):
    real, fake = normal(30, 6), normal(20, 6, seed=1)
    whole = memorisation_distance(real, fake).value
    monkeypatch.setattr(features, "BLOCK", 7)
    spoiled = np.insert(np.insert(real, 4, 0.0, axis=0), 9, np.nan, axis=0)
    score = memorisation_distance(spoiled, np.insert(fake, 2, np.inf, axis=0))
    assert score.value == pytest.approx(whole, abs=1e-12)
    assert score.params["n_invalid"] == 3
    assert np.isnan(memorisation_distance(real, fake[:0]).value)
    with pytest.raises(UsageError, match="unknown MiFID preset"):
        memorisation_distance(real, fake, preset="kaggle")


def frechet_score(value, n=5000):
    return Score("fid", value, n, None, False, {"n_a": n, "n_b": n, "n_invalid": 0, "dim": 2048, "ddof": 1})


def memorised(value):
    return Score(MEMORISATION.name, value, 100, None, True, {"preset": "bai2021"})


@pytest.mark.parametrize(
    ("frechet", "m", "expected"),
    [(8.0, 0.05, 160.0), (8.0, 0.1, 8.0), (8.0, 0.4, 8.0), (8.0, 0.0, 8e14), (0.0, 0.0, 0.0), (-1e-12, 0.05, 0.0)],
)
def test_mifid_divides_by_a_small_distance_alone(frechet, m, expected):
    score = mifid(frechet_score(frechet), memorised(m))
    assert score.value == pytest.approx(expected, rel=1e-9)
    assert (score.metric, score.higher_is_better, score.params["frechet"]) == ("mifid", False, frechet)
    assert score.params["penalised"] == (m < 0.1)


def test_mifid_of_what_is_not_known_is_not_known():
    for frechet, m in itertools.product((np.nan, 3.0), (np.nan, 0.05)):
        assert np.isnan(mifid(frechet_score(frechet), memorised(m)).value) == bool(np.isnan(frechet + m))
    with pytest.warns(FewSamplesWarning, match="mifid of 30"):
        mifid(frechet_score(3.0, n=30), memorised(0.5))
    with pytest.raises(UsageError, match="MiFID: got fid and fid"):
        mifid(frechet_score(3.0), frechet_score(3.0))
    real, fake = normal(120, 4), normal(120, 4, seed=1)
    for other in (kid(real, fake, subsets=None), kid(real, fake, subsets=2, subset_size=50), cmmd(real, fake)):
        with pytest.raises(UsageError, match=f"MiFID: got {other.metric} and memorisation-distance"):
            mifid(other, memorised(0.05))
    assert mifid(fid_infinity(real, fake), memorised(0.5)).params["frechet_metric"] == "fid-infinity"
