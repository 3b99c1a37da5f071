"""`semscale dedup`: groups against brute force, what is kept, and files that are moved and never lost."""

import itertools
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import png, write_tree
from pair_stores import call, write_store
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

import semscale
from semscale import dedup, files
from semscale.dedup import Rules, find_copies
from semscale.errors import SourceError, StoreError, UsageError
from semscale.keyed import open_keyed
from semscale.moves import LOG
from semscale.search import reference
from semscale.search.duplicates import Components, complete_linkage, first_equal
from semscale.search.vectors import ArrayVectors

KEYS = ["b", "c", "a", "é\n", "d", "f", "g", "h"]


def chain(*degrees):
    """Unit vectors in a plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def grouped(path):
    """The groups of a table as sets of keys, and the key that each keeps."""
    rows = pq.read_table(path).to_pylist()
    found = {}
    for row in rows:
        found.setdefault(row["group_id"], []).append(row)
    assert all(sum(row["kept"] for row in group) == 1 and len(group) > 1 for group in found.values())
    return {frozenset(row["key"] for row in g): next(row["key"] for row in g if row["kept"]) for g in found.values()}


def test_a_chain_is_one_group_by_single_linkage_and_split_by_complete(tmp_path):
    store = write_store(tmp_path / "store", chain(0, 9, 18.5, 80, 81, 180), ["a", "b", "c", "d", "e", "f"])
    out = tmp_path / "dedup.parquet"
    threshold = np.cos(np.radians(10))
    call("dedup", store, "--threshold", threshold, "-o", out, "--quiet")
    assert grouped(out) == {frozenset("abc"): "a", frozenset("de"): "d"}
    similarities = {row["key"]: row["similarity"] for row in pq.read_table(out).to_pylist()}
    assert similarities["a"] == 1.0 and similarities["c"] == pytest.approx(np.cos(np.radians(18.5)))
    done = call("dedup", store, "--threshold", threshold, "--linkage", "complete", "-o", out, "--json")
    assert grouped(out) == {frozenset("ab"): "a", frozenset("de"): "d"}
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["n_groups"], line["n_copies"], line["n_images"], line["n_invalid"]) == (2, 2, 6, 0)


def test_the_largest_is_kept_or_the_first_and_the_table_says_why(tmp_path):
    sizes = {"width": [10, 20, 10, None, 5, 5, 9, 9], "height": [10, 20, 40, None, 5, 5, 9, 8]}
    store = write_store(tmp_path / "store", chain(0, 0, 0, 0, 90, 90, 180, 181), KEYS, **sizes)
    out = tmp_path / "d.parquet"
    call("dedup", store, "--threshold", "0.99", "-o", out, "--quiet")
    reasons = {row["key"]: (row["kept"], row["reason"]) for row in pq.read_table(out).to_pylist()}
    assert reasons == {
        "a": (True, "most pixels, first key"), "c": (False, "as many pixels, later key"),
        "b": (False, "fewer pixels"), "é\n": (False, "fewer pixels"),
        "d": (True, "most pixels, first key"), "f": (False, "as many pixels, later key"),
        "g": (True, "most pixels"), "h": (False, "fewer pixels"),
    }  # fmt: skip
    call("dedup", store, "--threshold", "0.99", "--keep", "first", "-o", out, "--quiet")
    assert grouped(out) == {frozenset(["a", "b", "c", "é\n"]): "a", frozenset("df"): "d", frozenset("gh"): "g"}
    assert {row["reason"] for row in pq.read_table(out).to_pylist()} == {"first key", "later key"}


def test_a_threshold_of_1_takes_what_is_equal_within_rounding_and_no_zeros(tmp_path):
    rows = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    rows[1], rows[2], rows[4], rows[5] = rows[0], rows[0] * 3, 0, 0
    store = write_store(tmp_path / "store", rows, list("abcdefgh"))
    done = call("dedup", store, "--threshold", "1", "-o", tmp_path / "d.parquet", "--json")
    assert grouped(tmp_path / "d.parquet") == {frozenset("abc"): "a"}
    assert json.loads(done.stdout.splitlines()[-1])["n_invalid"] == 2


def rows_with_copies(draw_seed, n):
    rng = np.random.default_rng(draw_seed)
    rows = rng.standard_normal((n, 3)).astype(np.float32)
    for _ in range(n // 4):
        rows[rng.integers(n)] = rows[rng.integers(n)]
    return rows


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_complete_linkage_is_the_textbooks_and_no_pair_is_below_the_threshold(seed, n, threshold):
    rows = np.random.default_rng(seed).standard_normal((n, 4)).astype(np.float32)
    labels = complete_linkage(n, *reference.pairs_above(rows, threshold))
    similar = reference.similarities(rows, rows)
    for i, j in itertools.combinations(range(n), 2):
        assert labels[i] != labels[j] or similar[i, j] >= threshold
    assert (labels[labels] == labels).all() and (labels <= np.arange(n)).all()
    distance = squareform(1 - similar, checks=False)
    theirs = fcluster(linkage(distance, "complete"), 1 - threshold, "distance")
    assert len(set(zip(labels.tolist(), theirs.tolist(), strict=True))) == len(set(labels)) == len(set(theirs))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.integers(1, 7))
def test_components_do_not_depend_on_how_pairs_come(seed, n, pieces):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, n, (2, n // 2))
    found = Components(n)
    for part in np.array_split(rng.permutation(len(a)), pieces):
        found.add(a[part], b[part])
    expected = np.arange(n)
    for _ in range(n):
        for i, j in zip(a.tolist(), b.tolist(), strict=True):
            expected[i] = expected[j] = min(expected[i], expected[j])
    np.testing.assert_array_equal(found.labels, expected)


@pytest.mark.parametrize("linkage_name", ["single", "complete"])
def test_groups_do_not_depend_on_the_order_of_a_store_nor_on_equal_rows(tmp_path, linkage_name, monkeypatch):
    rows, keys = rows_with_copies(5, 60), [f"{i:02d}" for i in range(60)]
    tables = []
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(60)
        store = write_store(tmp_path / str(seed), rows[order], [keys[i] for i in order])
        out = tmp_path / f"{seed}.parquet"
        call("dedup", store, "--threshold", "0.97", "--linkage", linkage_name, "-o", out, "--quiet")
        tables.append(grouped(out))
        monkeypatch.setattr(semscale.search.duplicates, "COMPONENT_PAIRS", 40)  # and not on batches
    assert tables[0] == tables[1] and len(tables[0]) > 3
    similar = reference.similarities(rows, rows)
    for group in tables[0] if linkage_name == "complete" else ():
        assert all(similar[int(i), int(j)] >= 0.97 for i, j in itertools.combinations(group, 2))


def test_thousands_of_equal_images_cost_what_one_does(tmp_path):
    rows = np.concatenate([np.ones((3000, 4), np.float32), chain(0, 1) @ np.eye(2, 4, dtype=np.float32)])
    store = write_store(tmp_path / "store", rows, [f"{i:05d}" for i in range(3002)], shard_size=4096)
    for linkage_name in ("single", "complete"):
        found = find_copies(open_keyed(store), Rules(0.99, linkage_name), max_pairs=1)
        assert found.n_groups == 2 and found.surplus.sum() == 3000
    assert first_equal(ArrayVectors(rows), np.arange(3002)).tolist() == [0] * 3000 + [3000, 3001]


def test_a_flood_is_refused(tmp_path):
    rows = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    store = write_store(tmp_path / "store", rows, [f"{i:02d}" for i in range(40)])
    with pytest.raises(UsageError, match="over --max-pairs 20"):
        call("dedup", store, "--threshold", "-0.5", "--max-pairs", 20, "-o", tmp_path / "d.parquet")


def test_a_component_too_large_for_complete_linkage_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(semscale.search.duplicates, "COMPONENT_PAIRS", 5)
    store = write_store(tmp_path / "store", chain(0, 1, 2, 3), list("abcd"))
    with pytest.raises(UsageError, match=r"4 images hang together by more than 5 pairs.*--linkage single"):
        find_copies(open_keyed(store), Rules(0.9, "complete"))


# -- files ------------------------------------------------------------------------------------------------------------

NAMES = ["one/a.png", "one/b #2.png", "two/c\n.png", "two/deep/d.png", "e.png"]


@pytest.fixture
def tree(tmp_path, model):
    """A folder in which the last four files are copies of the first, and its store."""
    return embedded(copies(tmp_path / "src"), tmp_path / "store", model)


def copies(folder, names=NAMES):
    write_tree(folder, [*names, "other.png"])
    for name in names[1:]:
        shutil.copy(folder / names[0], folder / name)
    return folder


def embedded(source, store, model):
    semscale.embed(source, store, model=model, backend="fake")
    return source, store


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.png")}


def apply(store, how, to, *more):
    out = store.parent / "dedup.parquet"
    return call("dedup", store, "--threshold", "0.9999", "--apply", how, "--to", to, "-o", out, *more)


def test_list_says_what_would_be_moved_and_moves_nothing(tree, tmp_path):
    source, store = tree
    before = contents(source)
    done = call("dedup", store, "--threshold", "0.9999", "--apply", "list", "-o", tmp_path / "d.parquet")
    assert str(source / "one/a.png") in done.stdout and repr(str(source / "two/c\n.png")) in done.stdout
    assert str(source / "e.png") not in done.stdout  # the first key is kept
    done = apply(store, "list", tmp_path / "moved")
    assert f"{source / 'one/a.png'} -> {tmp_path / 'moved' / 'one/a.png'}" in done.stdout
    assert contents(source) == before and not (tmp_path / "moved").exists()


def test_move_keeps_relative_paths_and_undo_takes_it_back(tree, tmp_path):
    source, store = tree
    before, to = contents(source), tmp_path / "moved"
    done = apply(store, "move", to, "--json")
    assert json.loads(done.stdout.splitlines()[-1])["n_moved"] == 4
    assert set(contents(to)) == set(NAMES) - {"e.png"} and set(contents(source)) == {"e.png", "other.png"}
    assert contents(source) | contents(to) == before
    assert len((to / LOG).read_text().splitlines()) == 4
    again = apply(store, "move", to, "--json")  # nothing is left to do
    assert json.loads(again.stdout.splitlines()[-1])["n_moved"] == 0
    undone = call("dedup", store, "--apply", "undo", "--to", to, "--json")
    assert json.loads(undone.stdout.splitlines()[-1])["n_moved_back"] == 4
    assert contents(source) == before and not contents(to)
    with pytest.raises(UsageError, match=f"has no {LOG}"):
        call("dedup", store, "--apply", "undo", "--to", to)


def test_names_that_are_no_text_are_moved_as_they_are(tmp_path, model):
    folder = copies(tmp_path / "src", ["a.png", "b.png"])
    os.rename(os.fsencode(folder / "b.png"), os.fsencode(folder) + b"/b\xff.png")
    _, store = embedded(folder, tmp_path / "store", model)
    apply(store, "move", tmp_path / "moved")
    assert os.path.exists(os.fsencode(tmp_path / "moved") + b"/b\xff.png")
    call("dedup", store, "--apply", "undo", "--to", tmp_path / "moved")
    assert os.path.exists(os.fsencode(folder) + b"/b\xff.png")


def test_nothing_is_moved_when_one_target_is_there(tree, tmp_path):
    source, store = tree
    before = contents(source)
    (tmp_path / "moved" / "two" / "deep").mkdir(parents=True)
    (tmp_path / "moved" / "two" / "deep" / "d.png").write_text("mine")
    with pytest.raises(UsageError, match=r"d\.png: is there already, and nothing is overwritten"):
        apply(store, "move", tmp_path / "moved")
    assert contents(source) == before and not (tmp_path / "moved" / LOG).exists()
    with pytest.raises(UsageError, match="is a file where a folder is needed"):
        apply(store, "move", tmp_path / "moved" / "two" / "deep" / "d.png" / "x")


def refused(error, message, store, to):
    with pytest.raises(error, match=message):
        apply(store, "move", to)
    assert not (Path(to) / LOG).exists()


def test_files_that_are_not_what_was_embedded_are_not_moved(tree, tmp_path):
    source, store = tree
    to = tmp_path / "moved"
    refused(UsageError, "lies inside .*src, where the next run", store, source / "moved")
    refused(UsageError, "lies inside", store, source)
    (source / "e.png").rename(tmp_path / "away.png")
    refused(SourceError, r"e\.png: is the copy to keep of .* and not there any more", store, to)
    (source / "e.png").symlink_to(source / "one" / "a.png")
    refused(UsageError, r"e\.png: is the copy to keep, and a link to", store, to)
    (source / "e.png").unlink()
    (tmp_path / "away.png").rename(source / "e.png")
    (source / "one" / "a.png").write_bytes(png(77))
    refused(SourceError, r"a\.png: has changed since it was embedded", store, to)
    (source / "one" / "a.png").unlink()
    refused(SourceError, r"a\.png: is not there any more", store, to)
    (source / "one" / "a.png").symlink_to(source / "e.png")
    refused(UsageError, r"a\.png: is a link", store, to)
    assert not contents(to)


def test_nothing_is_moved_away_when_the_file_to_keep_is_another_picture_now(tree, tmp_path):
    source, store = tree
    (source / "e.png").write_bytes(png(77))
    refused(SourceError, r"e\.png: is the copy to keep of .*, and has changed", store, tmp_path / "moved")
    assert set(contents(source)) == {*NAMES, "other.png"}


def test_links_into_the_source_are_seen_through(tree, tmp_path):
    source, store = tree
    (tmp_path / "link").symlink_to(source / "one")
    refused(UsageError, "lies inside .*src, where the next run", store, tmp_path / "link" / "sub")
    (tmp_path / "whole").symlink_to(source)
    refused(UsageError, "lies inside .*src, where the next run", store, tmp_path / "whole")
    assert not (source / "one" / "sub").exists()


def test_nothing_is_written_or_moved_into_the_store(tree):
    source, store = tree
    before = (store / "store.json").read_bytes()
    refused(UsageError, "lies inside the store", store, store)
    refused(UsageError, "lies inside the store", store, store / "moved")
    for command in ("pairs", "dedup"):
        for name in ("store.json", "metadata/new.parquet"):
            with pytest.raises(UsageError, match="lies inside the store"):
                call(command, store, "--threshold", "0.9", "-o", store / name)
    assert (store / "store.json").read_bytes() == before and len(contents(source)) == len(NAMES) + 1


def test_undo_names_what_is_gone_and_keeps_its_record(tree, tmp_path):
    source, store = tree
    to = tmp_path / "moved"
    apply(store, "move", to)
    (to / "one" / "a.png").unlink()
    line = json.loads(call("dedup", store, "--apply", "undo", "--to", to, "--json").stdout.splitlines()[-1])
    assert (line["n_moved_back"], line["gone"]) == (3, [str(to / "one" / "a.png")])
    assert "one/a.png" in (to / LOG).read_text() and len((to / LOG).read_text().splitlines()) == 1
    assert set(contents(source)) == {*NAMES, "other.png"} - {"one/a.png"}


def test_a_list_is_in_the_json_line_too(tree, tmp_path):
    source, store = tree
    done = call("dedup", store, "--threshold", "0.9999", "--apply", "list", "-o", tmp_path / "d.parquet", "--json")
    line = json.loads(done.stdout.splitlines()[-1])
    assert set(line["files"]) == {str(source / name) for name in NAMES if name != "e.png"}


def test_another_file_system_is_refused(tree, tmp_path, monkeypatch):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    refused(UsageError, "is on another file system", tree[1], other / "semscale-test-moved")


@pytest.mark.parametrize("uri", ["/archives/x.zip#a.png", "s3://bucket/a.png"])
def test_what_is_no_file_of_its_own_cannot_be_moved(tmp_path, uri):
    store = write_store(tmp_path / "store", chain(0, 0), ["a", "b"], uri=["/images/a", uri])
    expected = SourceError if uri.startswith("/") else UsageError  # there is no such archive
    refused(expected, "is not on this machine|is not there any more", store, tmp_path / "moved")
    assert call("dedup", store, "--threshold", "1", "--apply", "list", "-o", tmp_path / "d.parquet").stdout.startswith(
        uri
    )


def test_an_image_in_an_archive_cannot_be_moved(tmp_path, model):
    folder = copies(tmp_path / "src")
    with zipfile.ZipFile(tmp_path / "odd#name.zip", "w") as archive:
        for name in NAMES:
            archive.write(folder / name, name)
    _, store = embedded(tmp_path / "odd#name.zip", tmp_path / "store", model)
    refused(UsageError, r"odd#name\.zip#.*: is in an archive and cannot be moved", store, tmp_path / "moved")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", [Killed, OSError])
def test_an_interrupted_move_leaves_each_file_in_one_place_and_goes_on(tree, tmp_path, monkeypatch, number, kind):
    source, store = tree
    before, to = contents(source), tmp_path / "moved"
    true, count = files.rename, itertools.count()

    def rename(path, target):
        if path.suffix == ".png" and next(count) == number:
            raise kind(28, "No space left on device")
        true(path, target)

    monkeypatch.setattr("semscale.moves.rename", rename)
    with pytest.raises(Killed if kind is Killed else StoreError):
        apply(store, "move", to)
    here, there = contents(source), contents(to)
    assert not set(here) & set(there) and here | there == before and len(there) == number
    monkeypatch.setattr("semscale.moves.rename", true)
    apply(store, "move", to)
    assert contents(source) | contents(to) == before and len(contents(to)) == 4
    call("dedup", store, "--apply", "undo", "--to", to)
    assert contents(source) == before


def test_undo_never_overwrites(tree, tmp_path):
    source, store = tree
    apply(store, "move", tmp_path / "moved")
    (source / "one" / "a.png").write_bytes(b"new")
    with pytest.raises(UsageError, match=r"a\.png: is there already, and nothing is overwritten"):
        call("dedup", store, "--apply", "undo", "--to", tmp_path / "moved")
    assert (source / "one" / "a.png").read_bytes() == b"new" and len(contents(tmp_path / "moved")) == 4


def test_several_sources_keep_their_names_apart(tmp_path, model):
    sources = [copies(tmp_path / name / "pics", ["a.png", "b.png"]) for name in "xy"]
    semscale.embed(sources, tmp_path / "store", model=model, backend="fake")
    done = apply(tmp_path / "store", "move", tmp_path / "moved", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["n_moved"] == 4  # a, b of both are alike, and so are the others
    assert sum(len(contents(folder)) for folder in sources) == 2
    call("dedup", tmp_path / "store", "--apply", "undo", "--to", tmp_path / "moved")
    assert sum(len(contents(folder)) for folder in sources) == 6


def test_wrong_calls_say_what_is_wrong(tree, tmp_path):
    for arguments, message in (
        ([], "give --threshold"),
        (["--threshold", "0.9", "--apply", "move"], "--apply move needs --to"),
        (["--apply", "undo"], "--apply undo needs --to"),
    ):
        with pytest.raises(UsageError, match=message):
            call("dedup", tree[1], *arguments, "-o", tmp_path / "d.parquet")
    for rules in ({"linkage": "average"}, {"keep": "best"}):
        with pytest.raises(UsageError, match="unknown"):
            Rules(0.9, **rules)
    with pytest.raises(UsageError, match="a threshold of 2"):
        dedup.find_copies(open_keyed(tree[1]), Rules(2.0))
