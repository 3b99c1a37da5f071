"""An index that takes each shard as it is written: what is added when, and when it is built in the end instead."""

import numpy as np
import pytest
from indexed_stores import append, clustered, rewrite, write_store

from semscale import streaming
from semscale.errors import MissingDependencyError, UsageError
from semscale.indexing import index_store, open_index
from semscale.search import faiss_library
from semscale.search.index import Index, unit_rows
from semscale.store import Store
from semscale.streaming import Stream, check

pytest.importorskip("faiss", reason="needs the cpu extra")


@pytest.fixture
def store(tmp_path):
    """Four shards of 50 vectors."""
    return write_store(tmp_path / "store", np.split(clustered(200), 4))


@pytest.fixture
def built(monkeypatch):
    """What was built in the end, in the place of what was streamed."""
    from semscale import indexing

    found, build = [], indexing._built
    monkeypatch.setattr(indexing, "_built", lambda *given: (found.append(given[1]), build(*given))[1])
    return found


def assert_every_row_finds_itself(path, kind):
    store = Store(path)
    index, record = open_index(store, kind)
    rows = np.arange(len(store.images))
    assert len(index) == record.store.rows == len(rows)
    assert index.search(unit_rows(store.images.take(rows))[0], 1)[:, 0].tolist() == rows.tolist()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_shards_written_again_take_their_turn_between_the_finished_ones(store, built, kind):
    index_store(store.path, kind)
    built.clear()
    store.discard(0)
    store.discard(2)
    stream = Stream(store.path, kind, planned=200)
    for number, seed in ((0, 1), (2, 2)):
        rewrite(store.path, number, clustered(50, seed=seed))
        stream.add_shard(number)
    assert stream.finish().action == "built" and built == []  # as it went, and no row added twice
    assert_every_row_finds_itself(store.path, kind)


def test_a_shard_written_again_while_it_grows_has_the_index_built_in_the_end(store, built, monkeypatch):
    stream = Stream(store.path, "flat", planned=300)
    stream.add_shard(append(store.path, clustered(50, seed=1)))
    store.discard(1)
    rewrite(store.path, 1, clustered(50, seed=2))
    stream.add_shard(1)
    monkeypatch.setattr(streaming, "add_rows", lambda *_, **__: pytest.fail("this index is given up"))
    stream.add_shard(append(store.path, clustered(50, seed=3)))
    stream.finish()
    assert built == ["flat"]
    assert_every_row_finds_itself(store.path, "flat")


def test_a_shard_written_again_with_the_same_vectors_costs_nothing(store, built):
    stream = Stream(store.path, "flat", planned=250)
    stream.add_shard(append(store.path, clustered(50, seed=1)))
    rewrite(store.path, 1, store.images.take(np.arange(50, 100)))
    stream.add_shard(1)
    assert stream.finish().action == "built" and built == []
    assert_every_row_finds_itself(store.path, "flat")


def test_a_shard_that_went_while_it_was_in_is_noticed(store, built):
    stream = Stream(store.path, "flat", planned=250)
    stream.add_shard(append(store.path, clustered(50, seed=1)))
    store.discard(1)
    stream.finish()
    assert built == ["flat"]
    assert_every_row_finds_itself(store.path, "flat")


def test_clusters_that_will_be_outgrown_are_made_again_and_not_filled(store, built, monkeypatch):
    index_store(store.path, "ivf")
    built.clear()
    monkeypatch.setattr(Index, "read", lambda *_: pytest.fail("nothing may be added to these clusters"))
    stream = Stream(store.path, "ivf", planned=900)
    stream.add_shard(append(store.path, clustered(700, seed=1)))
    assert stream.finish().action == "built" and built == ["ivf"]
    monkeypatch.undo()
    assert open_index(Store(store.path), "ivf")[1].n_learned_for == 900


def test_clusters_that_are_not_outgrown_take_new_rows(store, built):
    index_store(store.path, "ivf")
    built.clear()
    stream = Stream(store.path, "ivf", planned=300)
    stream.add_shard(append(store.path, clustered(100, seed=1)))
    assert stream.finish().action == "extended" and built == []
    assert open_index(Store(store.path), "ivf")[1].store.rows == 300


def test_what_cannot_be_made_is_said_before_there_is_a_store(monkeypatch):
    check("auto")
    with pytest.raises(UsageError, match="unknown kind of index 'lsh'; choose from auto, flat"):
        check("lsh")
    monkeypatch.setattr(faiss_library, "is_installed", lambda: False)
    with pytest.raises(MissingDependencyError, match=r"an index of kind hnsw needs faiss.*pip install"):
        check("hnsw")
