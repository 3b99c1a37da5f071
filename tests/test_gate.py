"""The numeric gate: every number known by hand, every limit broken alone, every wrong encoder caught."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from semscale import gate
from semscale.encoders import open_encoder
from semscale.errors import ModelError, ParityError, UsageError
from semscale.gate import BATCHES, LIMITS, check_encoder, compare, embed, probes_of

PRECISIONS = list(LIMITS)
COSINES = ("plain_min", "centred_min", "centred_p1")
WORDS = {
    "plain_min": "the smallest cosine is",
    "centred_min": "the smallest centred cosine is",
    "centred_p1": "the 1st percentile of the centred cosines is",
    "overlap": "nearest neighbours kept is",
    "score_change": "a group's consistency score is",
    "length_change": "change of a length over their median is",
}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def turned(first, second, angle):
    return math.cos(angle) * first + math.sin(angle) * second


@pytest.fixture(scope="module")
def clusters():
    """(132, 64) unit rows in 12 groups of 11: the ten nearest neighbours of a row are the rest of its group."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.standard_normal((64, 12)))[0].T
    groups = np.repeat(np.arange(12), 11)
    return unit(centres[groups] + 0.04 * rng.standard_normal((132, 64))), groups


def broken(comparison):
    """The names of the limits that a comparison breaks."""
    return {name for name, words in WORDS.items() if any(words in reason for reason in comparison.reasons)}


class TestByHand:
    """Four orthonormal rows, and the first of them turned by an angle towards the second."""

    angle = 0.3

    @pytest.fixture
    def found(self):
        reference = np.eye(4)
        candidate = reference.copy()
        candidate[0] = turned(reference[0], reference[1], self.angle)
        return compare(reference, candidate, np.array([0, 0, 1, 1]), precision="fp32")

    def test_plain_cosines(self, found):
        cosine = math.cos(self.angle)
        assert found.plain_min == pytest.approx(cosine, abs=1e-12)
        assert found.plain_p1 == pytest.approx(cosine + 0.03 * (1 - cosine), abs=1e-12)  # 3 gaps, the first 1 % of 3

    def test_centred_cosine_takes_off_the_reference_mean(self, found):
        c, s = math.cos(self.angle), math.sin(self.angle)
        expected = (c - (c + s) / 4) / math.sqrt(0.75 * (1.25 - (c + s) / 2))
        assert found.centred_min == pytest.approx(expected, abs=1e-12)
        assert found.centred_p1 == pytest.approx(expected + 0.03 * (1 - expected), abs=1e-12)

    def test_score_changes_by_the_cosine_that_appeared(self, found):
        assert found.score_change == pytest.approx(100 * math.sin(self.angle), abs=1e-10)

    def test_the_rest(self, found):
        assert (found.n, found.invalid, found.invalid_reference) == (4, 0, 0)
        assert found.overlap == 1.0  # of four, every other one is among the ten nearest
        assert found.length_change == pytest.approx(0, abs=1e-12)

    def test_length(self):
        found = compare(np.eye(4), np.diag([1, 1, 0.9, 1.05]), np.zeros(4, int), precision="fp32")
        assert found.length_change == pytest.approx(0.1)
        assert broken(found) == {"length_change"}


def test_overlap_of_twelve_rows_on_an_arc():
    """The ten nearest of twelve are all but the farthest: of the rows left of the middle, the last but one or last."""
    angles = 0.1 * np.arange(12)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    swapped = arc[[*range(10), 11, 10]]
    found = compare(arc, swapped, np.zeros(12, int), precision="fp32")
    assert found.overlap == pytest.approx((6 * 0.9 + 6 * 1.0) / 12)


def test_the_same_passes_everywhere(clusters):
    rows, groups = clusters
    for precision in PRECISIONS:
        found = compare(rows, rows, groups, precision=precision)
        assert found.passed and found.reasons == []
        found.raise_if_failed()
        assert (found.overlap, found.score_change, found.length_change) == (1.0, 0.0, 0.0)
        assert found.plain_min == pytest.approx(1) and found.centred_min == pytest.approx(1)


def test_half_precision_rounding_passes_as_fp16_and_not_as_fp32(clusters):
    rows, groups = clusters
    rounded = rows.astype(np.float16)
    assert compare(rows, rounded, groups, precision="fp16").passed
    assert broken(compare(rows, rounded, groups, precision="fp32")) >= {"length_change"}


@pytest.mark.parametrize("precision", PRECISIONS)
class TestBroken:
    """One thing wrong with the embeddings, caught at every precision."""

    def test_rotated(self, clusters, precision):
        rows, groups = clusters
        rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 64)))[0]
        found = compare(rows, rows @ rotation, groups, precision=precision)
        assert broken(found) == set(COSINES)  # neighbours and scores do not see it
        assert found.score_change < 1e-9

    def test_one_bad_row(self, clusters, precision):
        rows, groups = clusters
        candidate = rows.copy()
        candidate[50] = unit(rows[50] + 0.5 * rows[0])
        found = compare(rows, candidate, groups, precision=precision)
        assert {"plain_min", "centred_min"} <= broken(found)
        assert found.centred_p1 == pytest.approx(1)  # one of 132 is less than 1 %

    def test_nan(self, clusters, precision):
        rows, groups = clusters
        for wrong in (np.nan, np.inf, 0.0):
            candidate = rows.copy()
            candidate[[3, 7]] *= wrong if wrong == 0 else 1
            candidate[[3, 7], 5] = wrong
            found = compare(rows, candidate, groups, precision=precision)
            assert found.reasons == ["2 of 132 embeddings of the candidate are zero or not finite"]
            assert found.invalid == 2

    def test_nan_in_the_reference(self, clusters, precision):
        rows, groups = clusters
        reference = rows.copy()
        reference[9] = np.nan
        found = compare(reference, rows, groups, precision=precision)
        assert found.reasons == ["1 of 132 embeddings of the reference are zero or not finite"]

    def test_nothing_valid(self, clusters, precision):
        rows, groups = clusters
        found = compare(rows, np.full_like(rows, np.nan), groups, precision=precision)
        assert found.invalid == 132 and math.isnan(found.overlap)
        assert broken(found) == set(WORDS) - {"length_change"}

    def test_swapped_rows(self, clusters, precision):
        rows, groups = clusters
        candidate = rows.copy()
        candidate[[0, 40]] = rows[[40, 0]]
        found = compare(rows, candidate, groups, precision=precision)
        assert {"plain_min", "centred_min", "score_change"} <= broken(found)
        assert found.overlap == pytest.approx((130 * 1 - 20 * 0.1) / 132)  # each of two groups of ten lost one of ten

    def test_constant_added(self, clusters, precision):
        """Why there is centring: plain cosines are high whatever is added where all embeddings are alike."""
        rows, groups = clusters
        cone = unit(rows * 0.1 + np.eye(64)[0])
        moved = unit(cone + 0.1 * np.eye(64)[1])
        found = compare(cone, moved, groups, precision=precision)
        assert found.plain_min > 0.99
        assert {"centred_min", "centred_p1"} <= broken(found)
        assert found.centred_min < 0.9

    def test_neighbours_shuffled(self, precision):
        rng = np.random.default_rng(2)
        noise = [np.eye(64) + 2e-5 * rng.standard_normal((64, 64)) for _ in range(2)]
        found = compare(*map(unit, noise), np.arange(64) // 8, precision=precision)
        assert broken(found) == {"overlap"}
        assert found.overlap == pytest.approx(10 / 63, abs=0.1)  # what chance gives

    def test_one_group_drawn_together(self, clusters, precision):
        rows, groups = clusters
        candidate = rows.copy()
        mine = rows[groups == 4]
        pull = {"fp32": 0.002, "tf32": 0.02, "fp16": 0.02, "bf16": 0.1, "int8": 0.15}[precision]
        candidate[groups == 4] = unit((1 - pull) * mine + pull * mine.mean(axis=0))
        assert broken(compare(rows, candidate, groups, precision=precision)) == {"score_change"}

    def test_longer(self, clusters, precision):
        rows, groups = clusters
        assert broken(compare(rows, 2 * rows, groups, precision=precision)) == {"length_change"}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", list(WORDS))
def test_each_limit_alone_is_named_with_both_numbers_and_the_cure(clusters, precision, name):
    rows, groups = clusters
    good = compare(rows, rows, groups, precision=precision)
    limit = getattr(LIMITS[precision], name)
    at_most = name in ("score_change", "length_change")
    assert dataclasses.replace(good, **{name: limit}).passed
    for value in (limit * (1.01 if at_most else 0.99), math.nan):
        found = dataclasses.replace(good, **{name: value}, tower="image", candidate="tpu", reference="onnx fp32")
        assert broken(found) == {name} and len(found.reasons) == 1
        with pytest.raises(ParityError) as caught:
            found.raise_if_failed()
        message = str(caught.value)
        assert f"{WORDS[name]} {value:.6g}, allowed is at {'most' if at_most else 'least'} {limit:g}" in message
        assert message.startswith("tpu: the image tower is not used, for it differs from onnx fp32")
        assert message.endswith("another --backend") and ("--precision fp32" in message) == (precision != "fp32")


def test_sides_are_not_alike(clusters):
    rows, groups = clusters
    other = unit(rows + 0.5 * rows[0])
    there, back = (compare(*pair, groups, precision="fp16") for pair in ((rows, other), (other, rows)))
    assert there.plain_min == pytest.approx(back.plain_min)
    assert abs(there.centred_min - back.centred_min) > 0.005
    half = compare(rows, rows / 2, groups, precision="fp16")
    assert (half.length_change, compare(rows / 2, rows, groups, precision="fp16").length_change) == (
        pytest.approx(0.5),
        pytest.approx(1.0),
    )


def test_neighbours_that_tie_may_change_places():
    rows, rng = np.repeat(np.eye(4), 12, axis=0), np.random.default_rng(3)
    one, other = (rows + 1e-5 * rng.standard_normal(rows.shape) for _ in range(2))  # similarities differ by 1e-10
    assert compare(one, other, np.arange(48) // 12, precision="fp32").overlap == 1.0


def test_limits_widen_with_precision_and_half_is_as_stated():
    order = [LIMITS[precision] for precision in ("fp32", "fp16", "bf16", "int8")]
    for tight, wide in itertools.pairwise(order):
        for name in ("plain_min", "centred_min", "centred_p1", "overlap"):
            assert getattr(tight, name) >= getattr(wide, name)
        assert tight.score_change < wide.score_change and tight.length_change <= wide.length_change
    half = LIMITS["fp16"]
    assert half == LIMITS["tf32"]
    assert (half.centred_min, half.overlap, half.score_change) == (0.999, 0.99, 0.05)


def test_group_of_one_does_not_count(clusters):
    rows, _ = clusters
    alone = compare(rows, rows, np.arange(len(rows)), precision="int8")
    assert broken(alone) == {"score_change"} and math.isnan(alone.score_change)


def test_what_cannot_be_compared_is_refused(clusters):
    rows, groups = clusters
    with pytest.raises(UsageError, match=r"unknown precision 'fp4'; choose from fp32, tf32, fp16, bf16, int8"):
        compare(rows, rows, groups, precision="fp4")
    for reference, labels in ((rows[:-1], groups), (rows[:, :-1], groups), (rows, groups[:-1]), (rows[0], groups)):
        with pytest.raises(UsageError, match="cannot be compared"):
            compare(reference, rows, labels, precision="fp32")


class Wrapped:
    """An encoder with something done to what goes in and what comes out."""

    def __init__(self, encoder, before=lambda x: x, after=lambda x: x):
        self.spec, self._encoder, self._before, self._after = encoder.spec, encoder, before, after
        self.sizes = []

    def encode(self, inputs):
        self.sizes.append(len(inputs))
        return self._after(self._encoder.encode(np.ascontiguousarray(self._before(inputs))))

    def close(self):
        pass


class Torch:
    """A tower's own module, changed by a function first."""

    def __init__(self, tower, change):
        import torch

        self.spec, self._module, self._torch = tower.spec, tower.module, torch
        with torch.no_grad():
            change(self._module)

    def encode(self, inputs):
        with self._torch.inference_mode():
            return self._module(self._torch.from_numpy(inputs))["embedding"].numpy()

    def close(self):
        pass


def nothing(module):
    pass


def without_normalisation(module):
    module.mean.zero_()
    module.std.fill_(1)


def half_zeroed(module):
    for weight in module.parameters():
        if weight.ndim > 1:
            weight[::2] = 0


@pytest.fixture(scope="module", params=["image", "text"])
def exported(request, tiny_export):
    """One tower: its encoder, its probes and what it makes of them."""
    folder = tiny_export / request.param
    encoder, inputs = open_encoder(folder), probes_of(folder, count=64)
    return encoder, inputs, embed(encoder, inputs.inputs)


def torch_tower(tiny_checkpoint, kind, change):
    from semscale_export.checkpoint import find_checkpoint
    from semscale_export.families import family_of
    from semscale_export.quiet import quiet

    checkpoint = find_checkpoint(str(tiny_checkpoint))
    with quiet():
        towers = {tower.spec.kind: tower for tower in family_of(checkpoint).towers(checkpoint)}
    return Torch(towers[kind], change)


WRONG_INPUT = {
    "image": {
        "sides swapped": lambda x: x.transpose(0, 2, 1, 3),
        "channels swapped": lambda x: x[..., ::-1],
        "upside down": lambda x: x[:, ::-1],
    },
    "text": {"first token lost": lambda x: np.roll(x, -1, axis=1), "cut off": lambda x: np.where(x > 300, x, 5)},
}


def test_probes_fit_their_tower(exported):
    encoder, inputs, rows = exported
    assert inputs.inputs.shape[1:] == encoder.spec.input_shape and inputs.inputs.dtype == encoder.spec.input_dtype
    assert rows.shape == (len(inputs.groups), encoder.spec.dim)
    reference = unit(rows.astype(np.float64))
    assert np.median(reference @ reference.T) < 0.9  # told apart, so that a comparison can fail


def test_true_encoders_pass_at_every_precision(exported, tiny_checkpoint):
    encoder, inputs, rows = exported
    same = torch_tower(tiny_checkpoint, encoder.spec.kind, nothing)
    for candidate in (encoder, same):
        found = check_encoder(candidate, rows, inputs=inputs, precision="fp32")
        assert (found.reasons, found.tower) == ([], encoder.spec.kind)


def test_batches_are_mixed_and_every_probe_comes_once(exported):
    encoder, inputs, rows = exported
    watched = Wrapped(encoder)
    np.testing.assert_allclose(embed(watched, inputs.inputs), rows, atol=1e-6)
    assert tuple(watched.sizes[: len(BATCHES)]) == BATCHES
    assert sum(watched.sizes) == len(inputs.inputs) and len(set(watched.sizes)) > 3


def assert_caught(candidate, exported, limits):
    """At every precision it breaks at least these limits, and is not used."""
    _, inputs, rows = exported
    actual = embed(candidate, inputs.inputs)
    for precision in PRECISIONS:
        found = compare(rows, actual, inputs.groups, precision=precision)
        assert broken(found) >= limits, precision
        with pytest.raises(ParityError, match="not used"):
            found.raise_if_failed()


def test_wrong_input_is_caught(exported):
    encoder, _, _ = exported
    for change in WRONG_INPUT[encoder.spec.kind].values():
        assert_caught(Wrapped(encoder, before=change), exported, {"centred_min"})


def test_padding_that_leaks_into_the_last_row_is_caught(exported):
    def leak(x):
        return np.concatenate([x[:-1], x[:1]]) if len(x) % 4 else x

    assert_caught(Wrapped(exported[0], before=leak), exported, {"centred_min"})


def test_rows_left_unnormalised_are_caught(exported):
    assert_caught(Wrapped(exported[0], after=lambda x: 7 * x), exported, {"length_change"})


def test_half_the_weights_zeroed_is_caught(exported, tiny_checkpoint):
    wrong = torch_tower(tiny_checkpoint, exported[0].spec.kind, half_zeroed)
    assert_caught(wrong, exported, {"centred_min", "centred_p1", "overlap"})


def test_pixels_left_unnormalised_are_caught(exported, tiny_checkpoint):
    if exported[0].spec.kind == "text":
        pytest.skip("a text has no pixels")
    wrong = torch_tower(tiny_checkpoint, "image", without_normalisation)
    assert_caught(wrong, exported, {"centred_min", "centred_p1"})


def test_probes_of_something_else(tmp_path):
    with pytest.raises(ModelError, match="give the folder of one tower"):
        gate.probes_of(tmp_path)
