"""`semscale novelty`: neighbours, copies and authenticity against brute force and by hand."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from pair_stores import call, write_store
from scipy.stats import binomtest

from semscale.errors import UsageError
from semscale.keyed import open_keyed
from semscale.novelty import find_novelty
from semscale.search import reference
from semscale.search.novelty import own_similarity
from semscale.search.vectors import ArrayVectors
from semscale.stats.proportions import wilson_interval


def plane(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def stores(tmp_path, generated, real, keys=None):
    store = write_store(tmp_path / "generated", generated, keys or [f"g{i:03d}" for i in range(len(generated))])
    return store, write_store(tmp_path / "real", real, [f"r{i:03d}" for i in range(len(real))])


def run(tmp_path, store, other, *more):
    done = call("novelty", store, "--reference", other, "-o", tmp_path / "n.parquet", "--json", *more)
    return pq.read_table(tmp_path / "n.parquet").to_pylist(), json.loads(done.stdout.splitlines()[-1]), done.stdout


def test_by_hand(tmp_path):
    """Reference at 0, 10 and 90 degrees: 0 and 10 are 10 apart, and 90 is 80 from its nearest."""
    store, other = stores(tmp_path, plane(-1, -11, 100, 171), plane(0, 10, 90))
    rows, line, said = run(tmp_path, store, other, "--threshold", np.cos(np.radians(10.5)))
    assert [(row["nearest_key"], row["copy"], row["authentic"]) for row in rows] == [
        ("r000", True, False),  # nearer than the reference's own neighbour
        ("r000", False, True),  # farther
        ("r002", True, False),
        ("r002", False, True),
    ]
    assert line["near_copies"]["value"] == 0.5 and line["near_copies"]["params"]["count"] == 2
    assert line["authenticity"]["value"] == 50.0
    assert line["near_copies"]["interval"]["low"] == pytest.approx(0.15004, abs=1e-5)
    assert line["authenticity"]["interval"]["high"] == pytest.approx(84.996, abs=1e-3)
    assert "near-copies: 50 % (15 to 85) of 4 images" in said and "authenticity: 50 %" in said


@pytest.mark.parametrize("k", [1, 4, 30])
def test_neighbours_copies_and_authenticity_are_those_of_brute_force(tmp_path, k):
    rng = np.random.default_rng(3)
    real = rng.standard_normal((25, 6)).astype(np.float32)
    made = np.concatenate([rng.standard_normal((30, 6)), real[:10] + rng.normal(0, 0.05, (10, 6))]).astype(np.float32)
    made[4] = 0
    real[6] = real[5]
    rows, line, _ = run(tmp_path, *stores(tmp_path, made, real), "--threshold", "0.95", "-k", k)
    ids, similarity = reference.top_k(real, k, queries=made)
    assert [(r["key"], r["rank"], r["nearest_key"], r["similarity"]) for r in rows] == [
        (f"g{i:03d}", rank + 1, f"r{ids[i, rank]:03d}", similarity[i, rank])
        for i in range(40) for rank in range(k) if ids[i, rank] >= 0
    ]  # fmt: skip
    own = reference.top_k(real, 1)[1][:, 0]
    distance = np.sqrt(2 - 2 * np.minimum(similarity[:, 0], 1.0))
    true = [i != 4 and distance[i] > np.sqrt(2 - 2 * own[ids[i, 0]]) for i in range(40)]
    assert [r["authentic"] for r in rows if r["rank"] == 1] == [t for i, t in enumerate(true) if i != 4]
    assert line["authenticity"]["value"] == pytest.approx(100 * sum(true) / 39)
    copied = sum(r["copy"] for r in rows if r["rank"] == 1)
    assert copied >= 9 and line["near_copies"]["value"] == pytest.approx(copied / 39)
    assert all(r["copy"] == (r["similarity"] >= 0.95) for r in rows)
    assert (line["n_images"], line["n_invalid"], line["n_reference"]) == (40, 1, 25)


def test_equal_images_are_copies_at_a_threshold_of_1_and_ties_go_to_the_first_key(tmp_path):
    real = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    real[3] = real[1]
    rows, line, _ = run(tmp_path, *stores(tmp_path, real[[3, 0]], real, ["\n b", "a,é"]), "--threshold", "1")
    assert [(r["key"], r["nearest_key"], r["copy"]) for r in rows] == [("\n b", "r001", True), ("a,é", "r000", True)]
    assert line["near_copies"]["value"] == 1.0 and line["near_copies"]["interval"]["high"] == 1.0


def test_without_a_threshold_nothing_is_called_a_copy(tmp_path):
    rows, line, _ = run(tmp_path, *stores(tmp_path, plane(1, 2), plane(0, 50)))
    assert {row["copy"] for row in rows} == {None} and line["near_copies"] is None


def test_one_reference_image_alone_tells_nothing_of_authenticity(tmp_path):
    rows, line, _ = run(tmp_path, *stores(tmp_path, plane(1, 2), plane(0)))
    assert {row["authentic"] for row in rows} == {None} and line["authenticity"] is None


def test_no_images_give_an_empty_table(tmp_path):
    rows, line, _ = run(tmp_path, *stores(tmp_path, plane(1)[:0], plane(0)), "--threshold", "0.5")
    assert rows == [] and line["near_copies"]["value"] is None and line["near_copies"]["interval"] is None


def test_a_reference_row_is_not_its_own_neighbour_even_among_equal_ones():
    rows = np.concatenate([np.ones((4, 3)), np.eye(3)]).astype(np.float32)
    wanted = np.array([5, 3, 0, 3])
    found = own_similarity(ArrayVectors(rows), wanted)
    np.testing.assert_array_equal(found, reference.top_k(rows, 1)[1][wanted, 0])
    assert found[1] == 1.0 and found[0] < 0.6


def test_stores_that_cannot_be_compared_are_refused(tmp_path):
    store, other = stores(tmp_path, plane(1, 2), plane(0))
    empty = write_store(tmp_path / "empty", plane(0)[:0], [])
    wide = write_store(tmp_path / "wide", np.eye(3, dtype=np.float32), list("abc"))
    for reference_store, message in ((store, "itself"), (empty, "holds no embeddings"), (wide, "dim 2 and 3")):
        with pytest.raises(UsageError, match=message):
            call("novelty", store, "--reference", reference_store, "-o", tmp_path / "n.parquet")
    for wrong in ({"k": 0}, {"threshold": 1.5}):
        with pytest.raises(UsageError, match="k of at least 1 and a threshold from -1 to 1"):
            find_novelty(open_keyed(store), open_keyed(other), **wrong)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (15, 50), (1, 1), (3, 100_000)])
def test_wilson_interval_is_the_one_scipy_has(successes, n):
    found = wilson_interval(successes, n)
    theirs = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert found is not None and (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert wilson_interval(0, 0) is None


def test_wilson_interval_holds_the_share_about_95_percent_of_the_time():
    counts = np.random.default_rng(0).binomial(80, 0.1, 2000)
    held = [(i := wilson_interval(int(c), 80)) is not None and i.low <= 0.1 <= i.high for c in counts]
    assert 0.93 < np.mean(held) < 0.98
