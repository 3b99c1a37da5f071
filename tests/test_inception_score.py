import json
import math
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import UsageError
from semscale.metrics import features
from semscale.metrics.description import FewSamplesWarning
from semscale.metrics.inception_score import INCEPTION_SCORE, PRESETS, inception_score

GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "metrics" / "golden.json"


def golden_logits():
    return np.random.RandomState(5).randn(1003, 50) * 3


def sample(n, k=7, seed=0):
    return np.random.default_rng(seed).standard_normal((n, k)) * 2


def by_hand(logits):
    """exp of the mean divergence from the mean, of one split."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    mean = p.mean(axis=0)
    return math.exp(np.mean([sum(x * math.log(x / m) for x, m in zip(row, mean, strict=True)) for row in p]))


def test_golden_numbers():
    score = inception_score(golden_logits(), splits=10)
    assert score.value == pytest.approx(8.18182610374282, abs=1e-12)
    assert score.params["spread"] == pytest.approx(0.27169940062916, abs=1e-12)
    assert score.params["spread"] * math.sqrt(10 / 9) == pytest.approx(0.28640, abs=5e-6)
    assert (score.metric, score.n, score.interval, score.higher_is_better) == ("inception-score", 1003, None, True)
    if GOLDEN.exists():
        golden = json.loads(GOLDEN.read_text())["isc_tf_protocol"]
        assert [score.value, score.params["spread"]] == pytest.approx(golden, abs=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("n", "splits"), [(1003, 10), (1000, 10), (77, 4), (60, 1)])
def test_every_preset_equals_its_convention_by_hand(preset, n, splits):
    logits = sample(n)
    score = inception_score(logits, splits, preset=preset)
    shuffled = logits if preset == "salimans2016" else logits[np.random.RandomState(2020).permutation(n)]
    if preset == "torchmetrics":
        size = math.ceil(n / splits)
        parts = [shuffled[at : at + size] for at in range(0, n, size)]
    else:
        parts = [shuffled[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    values = [by_hand(part) for part in parts]
    ddof = 1 if preset == "torchmetrics" else 0
    assert score.value == pytest.approx(np.mean(values), rel=1e-12)
    assert (score.params["preset"], score.params["ddof"], score.params["splits"]) == (preset, ddof, splits)
    assert score.params["seed"] == (None if preset == "salimans2016" else 2020)
    if splits > 1:
        assert score.params["spread"] == pytest.approx(np.std(values, ddof=ddof), rel=1e-9)
    else:
        assert math.isnan(score.params["spread"]) == (ddof == 1)


def test_torchmetrics_may_give_fewer_splits_than_asked_for():
    score = inception_score(sample(66, 4), 16, preset="torchmetrics", name="other")
    assert score.params["splits"] == len(torch.arange(66).chunk(16)) == 14
    with pytest.warns(FewSamplesWarning, match="other of 66 images: below 112"):
        inception_score(sample(66), 16, preset="torchmetrics", name="other")


def test_known_closed_cases():
    sure = np.repeat(np.eye(10) * 1e3, 20, axis=0)
    assert inception_score(sure, 1).value == pytest.approx(10.0, rel=1e-14)
    assert inception_score(sure, 10, preset="salimans2016").value == 1.0  # one class in each split
    assert inception_score(np.zeros((200, 10)), 2).value == 1.0
    half = np.tile([[0.0, 0.0, -1e4, -1e4], [-1e4, -1e4, 0.0, 0.0]], (50, 1))
    assert inception_score(half, 1).value == pytest.approx(2.0, rel=1e-14)


@given(st.integers(1, 60), st.integers(1, 9), st.floats(-1e4, 1e4), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_between_1_and_the_number_of_classes_whatever_is_added_to_a_row(n, k, added, seed):
    logits = sample(n, k, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)
        score = inception_score(logits, 1, preset="salimans2016").value
        moved = inception_score(logits + added * np.arange(n)[:, None], 1, preset="salimans2016").value
        order = np.random.default_rng(seed).permutation(n)
        reordered = inception_score(logits[order], 1).value
    assert 1.0 <= score <= min(n, k) * (1 + 1e-12)
    assert moved == pytest.approx(score, rel=1e-7)
    assert reordered == pytest.approx(score, rel=1e-12)


def test_order_matters_only_through_the_splits():
    logits = np.repeat(np.eye(10) * 50, 20, axis=0)
    in_order = inception_score(logits, 10, preset="salimans2016").value
    assert inception_score(logits, 10).value > in_order + 5
    assert inception_score(logits, 10, seed=1).value != inception_score(logits, 10, seed=2).value
    assert inception_score(logits, 10, seed=1) == inception_score(logits, 10, seed=1)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    whole = inception_score(golden_logits(), 3)
    monkeypatch.setattr(features, "BLOCK", 17)
    blocked = inception_score(golden_logits(), 3)
    assert blocked.value == pytest.approx(whole.value, rel=1e-13)
    assert blocked.params["spread"] == pytest.approx(whole.params["spread"], rel=1e-10)


def test_a_mapped_file_is_never_in_memory_whole(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "logits.npy", "w+", np.float32, (40_000, 40))
    mapped[:] = sample(40_000, 40)
    tracemalloc.start()
    inception_score(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.75 * 40_000 * 40 * 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_invalid_rows_are_left_out_before_shuffling_and_counted(bad):
    logits = sample(200)
    spoiled = np.insert(logits, [0, 90, 200], bad, axis=0)
    spoiled[0, 1:] = 0.0
    score = inception_score(spoiled)
    assert score.value == pytest.approx(inception_score(logits).value, rel=1e-13)
    assert (score.n, score.params["n_invalid"]) == (200, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_any_dtype_is_computed_in_float64(dtype):
    logits = sample(200).astype(dtype)
    assert inception_score(logits).value == inception_score(logits.astype(np.float64)).value


def test_another_classifier_goes_under_its_own_name_and_few_images_warn_under_it():
    assert inception_score(sample(200), name="efficientnet-lite0-score").metric == "efficientnet-lite0-score"
    with pytest.warns(FewSamplesWarning, match="efficientnet-lite0-score of 69 images: below 70 it says little"):
        inception_score(sample(69), name="efficientnet-lite0-score")
    inception_score(sample(70))
    assert INCEPTION_SCORE.smallest_n == 10 * 1000
    assert set(INCEPTION_SCORE.presets) == set(PRESETS)


def test_wrong_arguments_are_refused():
    for splits, n in ((0, 50), (-1, 50), (51, 50), (10, 0), (10, 9)):
        with pytest.raises(UsageError, match=f"{splits} splits of {n} valid images"):
            inception_score(sample(n), splits)
    with pytest.raises(UsageError, match="unknown Inception Score preset 'is'; choose from torch-fidelity"):
        inception_score(sample(50), preset="is")
    with pytest.raises(UsageError, match=r"expected a \(N, D\) array"):
        inception_score(np.ones(5))
