"""Pixels of pairs are compared as the encoders' pass decodes them, whatever comes first, and again where it was not."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from images import write_tree

import semscale
from semscale.measures import pair_pixels
from semscale.measures.early_pairs import Comparison, EarlyPairs
from semscale.measures.pairs_table import PairTable
from semscale.metrics.pixel import mse

MSE = {("mse", ""): Comparison(mse)}
NAMES = [f"m1/{prompt}/{seed}.png" for prompt in ("a cat", "a fox") for seed in range(6)]


def table(*pairs):
    source, edited = map(list, zip(*pairs, strict=True))
    return PairTable(Path("pairs.csv"), source, edited, None)


def pixels(value, size=4):
    return np.full((size, size, 3), value, np.uint8)


def values(early):
    return {number: found[0].get(("mse", "")) for number, found in early.found.items()}


def test_a_pair_is_compared_when_its_second_image_comes_and_nothing_is_kept_for_longer():
    early = EarlyPairs(table(("a", "b"), ("a", "c"), ("d", "d")), MSE)
    room = early._room
    early.look("stranger", pixels(0))
    early.look("a", pixels(0))
    assert (values(early), early._room) == ({}, room - 48)
    early.look("b", pixels(255))
    assert values(early) == {0: 255**2}
    early.look("c", pixels(51))
    early.look("d", pixels(9))
    assert values(early) == {0: 255**2, 1: 51**2, 2: 0}
    assert (early._room, early._held) == (room, {})


def test_an_image_without_room_is_not_kept_and_its_pairs_are_left_for_later():
    early = EarlyPairs(table(("a", "b"), ("c", "d")), MSE, held_bytes=50)
    for key in "acbd":
        early.look(key, pixels(1))
    assert values(early) == {0: 0.0}


def test_an_image_that_comes_again_has_changed():
    early = EarlyPairs(table(("a", "b"), ("a", "c")), MSE)
    for key, value in (("a", 0), ("b", 255), ("b", 0), ("c", 255)):
        early.look(key, pixels(value))
    assert values(early) == {0: 0, 1: 255**2}
    early.look("c", pixels(0))
    assert values(early) == {0: 0.0}  # its partner is gone: it will be read again


def test_sizes_that_differ_are_a_reason_and_no_value():
    early = EarlyPairs(table(("a", "b")), MSE)
    early.look("a", pixels(0))
    early.look("b", pixels(0, size=5))
    (found, reasons) = early.found[0]
    assert found == {}
    assert "4" in reasons[0] and "5" in reasons[0]


def test_many_threads_find_every_pair_once():
    names = [str(number) for number in range(60)]
    early = EarlyPairs(table(*((a, b) for a, b in itertools.pairwise(names))), MSE)
    gate = threading.Barrier(8)

    def work(part):
        gate.wait()
        for name in names[part::8]:
            early.look(name, pixels(int(name)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert values(early) == dict.fromkeys(range(59), 1)
    assert early._held == {}


def test_a_run_decodes_the_images_of_pairs_once_and_a_later_one_reads_them_again(model, tmp_path, monkeypatch):
    write_tree(tmp_path / "images", NAMES)
    rows = [(NAMES[0], NAMES[7]), (NAMES[3], NAMES[3]), (NAMES[11], NAMES[2])]
    (tmp_path / "pairs.csv").write_text("source,edited\n" + "".join(f"{a},{b}\n" for a, b in rows))
    decoded = []
    late = pair_pixels.decode
    monkeypatch.setattr(pair_pixels, "decode", lambda data, **rest: decoded.append(1) or late(data, **rest))
    asked = {
        "metrics": ["mse", "ssim:scikit-image"],
        "pairs": tmp_path / "pairs.csv",
        "model": model,
        "backend": "fake",
    }
    found = []
    for name, options in (
        ("exact", {}),
        ("close", {"decode": "close"}),
        ("fast", {"decode": "fast"}),
        ("exact", {}),
    ):
        semscale.score(tmp_path / "images", out=tmp_path / name, **asked, **options)
        found.append((len(decoded), pq.read_table(tmp_path / name / "pairs.parquet").to_pydict()))
        decoded.clear()
    (first, early), (close, near), (reduced, fast), (again, repeated) = found
    assert (first, close, reduced, again) == (0, 0, 6, 6)
    assert early == near == fast == repeated
    assert early["mse"][1] == 0 and early["mse"][0] > 0
