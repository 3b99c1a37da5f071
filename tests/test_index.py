"""Indexes of a store: every kind, their measured recall, and that index and store never disagree unnoticed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from indexed_stores import DIM, append, append_failures, clustered, rewrite, write_store

from semscale import indexing
from semscale.errors import MissingDependencyError, StoreError, StoreLockedError, UsageError
from semscale.files import sha256
from semscale.indexing import index_file, index_store, open_index, record_file
from semscale.locks import exclusive
from semscale.search import faiss_library, reference
from semscale.search.index import Index, rescored
from semscale.search.kinds import EXTENDED, KINDS, MIN_PQ_ROWS, Rates, choose, seconds, shape_of
from semscale.search.recall import RECALL_K, TARGET, held_out
from semscale.search.record import read_record
from semscale.store import Store
from semscale.streaming import Stream

faiss = pytest.importorskip("faiss", reason="needs the cpu extra")
SMALL = [kind for kind in KINDS if kind != "ivfpq"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small indexes wait for threads more than they work."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture
def store(tmp_path):
    """900 vectors in three shards, one of which has nothing but failures, and 8 rows without a direction."""
    rows = clustered(900)
    rows[[3, 50, 899]] = 0
    rows[[70, 400]] = np.nan
    rows[500, 2] = np.inf
    rows[[600, 601]] = rows[602]
    found = write_store(tmp_path / "store", [rows[:300], rows[300:]])
    append_failures(found.path, ["cut off"])
    return Store(found.path)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """As many vectors as an ivfpq index needs."""
    return write_store(tmp_path_factory.mktemp("large") / "store", [clustered(MIN_PQ_ROWS, centres=500)])


def refused(path, kind, match):
    with pytest.raises(StoreError, match=match):
        open_index(Store(path), kind)


def recall_of(store, index):
    """The share of the true nearest that an index finds, by brute force; nothing shared with the measurement."""
    rows = store.images.take(np.arange(len(store.images)))
    hits = []
    for query in held_out(store.images):
        exact = reference.similarities(rows[query][None], rows)[0]
        exact[query] = np.nan
        last = np.sort(exact[np.isfinite(exact)])[::-1][:RECALL_K][-1]
        found = rescored(index, store.images, rows[query], RECALL_K, without=int(query))[0]
        assert query not in found
        hits += [exact[i] >= last - 2.5e-7 for i in found] + [False] * (RECALL_K - len(found))
    return np.mean(hits)


@pytest.mark.parametrize("kind", SMALL)
def test_the_recall_on_record_is_what_brute_force_finds(store, kind):
    record = index_store(store.path, kind).record
    index, opened = open_index(store, kind)
    assert opened == record and len(index) == record.n_indexed == 894
    assert record.n_queries == len(held_out(store.images)) > 80
    assert record.recall == pytest.approx(recall_of(store, index), abs=1e-12)
    assert record.recall == 1 if kind == "flat" else 0.8 < record.recall <= 1


def test_a_compressed_index_is_measured_too_and_small(large):
    record = index_store(large.path, "ivfpq").record
    index, _ = open_index(large, "ivfpq")
    assert record.recall == pytest.approx(recall_of(large, index), abs=1e-12)
    assert 0.3 < record.recall <= 1
    assert record.size < 30 * MIN_PQ_ROWS < 4 * DIM * MIN_PQ_ROWS


@pytest.mark.parametrize(("target", "enough"), [(0.0, False), (TARGET, True)])
def test_clusters_are_looked_through_until_enough_is_found(store, monkeypatch, target, enough):
    """Recall must be able to fall: an index that looks through one cluster of many misses neighbours."""
    monkeypatch.setattr("semscale.search.recall.TARGET", target)
    monkeypatch.setattr(indexing, "shape_of", lambda *given: replace(shape_of(*given), probes=1))
    record = index_store(store.path, "ivf").record
    index, _ = open_index(store, "ivf")
    assert (record.recall >= 0.95) == enough == (record.shape.probes > 1)
    assert index.shape.probes == index._form.nprobe == record.shape.parameters["probes"] == record.shape.probes
    assert record.recall == pytest.approx(recall_of(store, index), abs=1e-12)


@pytest.mark.parametrize("kind", SMALL)
def test_rows_without_a_direction_are_never_found(store, kind):
    index_store(store.path, kind)
    index, _ = open_index(store, kind)
    query = -store.images.take(np.array([10]))[0]  # far from all: whatever is in would come up
    rows, similarity = rescored(index, store.images, query, 894)
    assert not {3, 50, 899, 70, 400, 500} & set(rows.tolist())
    assert (len(rows) == 894 or kind != "flat") and np.isfinite(similarity).all()
    assert rescored(index, store.images, np.zeros(DIM, np.float32), 5)[0].size == 0


def test_similarities_are_the_exact_ones_in_order_of_row_among_equals(store):
    index_store(store.path, "flat")
    index, _ = open_index(store, "flat")
    rows = store.images.take(np.arange(900))
    found, similarity = rescored(index, store.images, rows[602], 30, without=600)
    ids, exact = reference.top_k(rows, 31, queries=rows[602][None])
    kept = ids[0] != 600
    np.testing.assert_array_equal(found, ids[0][kept])
    np.testing.assert_array_equal(similarity, exact[0][kept])
    assert found[:2].tolist() == [601, 602] and similarity[:2].tolist() == [1, 1]


@pytest.mark.parametrize("kind", EXTENDED)
def test_a_grown_store_makes_an_index_stale_and_only_new_rows_are_added(store, kind, monkeypatch):
    index_store(store.path, kind)
    append(store.path, clustered(200, seed=1))
    refused(store.path, kind, "1 new shard came to the store since; `semscale index .* --kind")
    added = []
    monkeypatch.setattr(
        Index, "add", lambda self, ids, units, add=Index.add: (added.append(ids), add(self, ids, units))
    )
    done = index_store(store.path, kind)
    assert done.action == "extended"
    assert np.concatenate(added).tolist() == list(range(900, 1100))
    index, record = open_index(Store(store.path), kind)
    assert record.n_indexed == len(index) == 1094
    assert record.recall == pytest.approx(recall_of(Store(store.path), index), abs=1e-12)
    assert index_store(store.path, kind).action == "kept"


def test_what_learned_from_far_fewer_rows_is_built_again(store):
    index_store(store.path, "ivf")
    append(store.path, clustered(3000, seed=1))
    done = index_store(store.path, "ivf")
    assert done.action == "built" and done.record.n_learned_for == 3894


@pytest.mark.parametrize("kind", SMALL)
def test_a_changed_shard_has_the_index_built_again(store, kind):
    before = index_store(store.path, kind).record
    rewrite(store.path, 0, clustered(300, seed=5))
    refused(store.path, kind, "the store changed since")
    said = []
    done = index_store(store.path, kind, say=said.append)
    assert done.action == "built" and done.record.store != before.store
    assert any("changed in the store" in line for line in said)
    index, _ = open_index(Store(store.path), kind)
    rows = Store(store.path).images.take(np.array([7]))
    assert rescored(index, Store(store.path).images, rows[0], 1)[0].tolist() == [7]


def test_a_shard_that_goes_makes_the_index_stale(store):
    index_store(store.path, "flat")
    Store(store.path).discard(0)
    refused(store.path, "flat", "the store changed since")
    assert index_store(store.path, "flat").record.store.rows == 600


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:500] + b"\x01\x02\x03" + b[503:], lambda b: b""])
def test_a_damaged_index_file_is_refused_and_made_again(store, damage):
    index_store(store.path, "hnsw")
    file = index_file(store.path, "hnsw")
    file.write_bytes(damage(file.read_bytes()))
    refused(store.path, "hnsw", "its file is not the one that its record speaks of")
    said = []
    assert index_store(store.path, "hnsw", say=said.append).action == "built"
    assert said[0].startswith("built again: ")
    open_index(store, "hnsw")


def test_an_index_that_is_replaced_while_it_is_read_is_refused(store, monkeypatch):
    """A run of `semscale embed --index` may save between the hash and the reading."""
    index_store(store.path, "flat")
    read = Index.read

    def replaced(file, shape):
        found = read(file, shape)
        file.with_name("new").write_bytes(file.read_bytes())
        file.with_name("new").replace(file)
        return found

    monkeypatch.setattr(Index, "read", replaced)
    with pytest.raises(StoreError, match="replaced while it was read"):
        open_index(store, "flat")
    monkeypatch.undo()
    assert len(open_index(store, "flat")[0]) == 894


def test_an_index_is_read_and_hashed_before_the_old_one_goes(store, monkeypatch):
    """A kill while a large index is hashed must leave the old one and its record."""
    index_store(store.path, "flat")
    append(store.path, clustered(10, seed=9))
    before = index_file(store.path, "flat").read_bytes()

    def stopped(file):
        assert index_file(store.path, "flat").read_bytes() == before
        raise KeyboardInterrupt

    monkeypatch.setattr(
        indexing, "sha256", lambda file: stopped(file) if file != index_file(store.path, "flat") else sha256(file)
    )
    with pytest.raises(KeyboardInterrupt):
        index_store(store.path, "flat")
    monkeypatch.undo()
    assert index_file(store.path, "flat").read_bytes() == before
    assert index_store(store.path, "flat").action == "extended"


def test_a_build_that_dies_before_its_record_is_written_leaves_nothing_that_is_believed(store, monkeypatch):
    index_store(store.path, "flat")
    append(store.path, clustered(50, seed=2))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(indexing, "write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            index_store(store.path, "flat")
        with pytest.raises(KeyboardInterrupt):
            index_store(store.path, "hnsw")
    refused(store.path, "flat", "its file is not the one")
    refused(store.path, "hnsw", "there is no such index")
    assert [index_store(store.path, kind).action for kind in ("flat", "hnsw")] == ["built", "built"]
    assert not list((store.path / "index").glob(".*tmp"))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda v: v["index"].update(recall=0.999),
        lambda v: v["index"]["store"]["shards"].pop(),
        lambda v: v["index"]["shape"].update(kind="flat"),
        lambda v: v.pop("check"),
        lambda v: v.update(format=2),
        lambda v: v.clear(),
    ],
)
def test_a_record_that_was_changed_is_refused_and_made_again(store, tamper):
    index_store(store.path, "hnsw")
    file = record_file(store.path, "hnsw")
    values = json.loads(file.read_text())
    tamper(values)
    file.write_text(json.dumps(values))
    refused(store.path, "hnsw", "not the record of an index")
    assert index_store(store.path, "hnsw").action == "built"
    assert read_record(file).recall > 0.8


def test_an_index_of_another_store_is_refused(store, tmp_path):
    other = write_store(tmp_path / "other", [clustered(900)], name="another/model")
    index_store(other.path, "flat")
    (other.path / "index").rename(store.path / "index")
    refused(store.path, "flat", "it is of another store")


def test_a_store_that_is_being_written_is_left_alone(store):
    with exclusive(store.path), pytest.raises(StoreLockedError):
        index_store(store.path, "flat")


def test_a_store_that_changes_during_the_build_is_noticed(store, monkeypatch):
    measured = indexing.tuned_recall

    def meddle(*arguments):
        rewrite(store.path, 0, clustered(300, seed=9))
        return measured(*arguments)

    monkeypatch.setattr(indexing, "tuned_recall", meddle)
    with pytest.raises(StoreError, match="changed while it was being indexed"):
        index_store(store.path, "flat")
    assert not record_file(store.path, "flat").exists()


def test_expectations_are_said_before_the_first_row_is_added(store, monkeypatch):
    events = []
    monkeypatch.setattr(indexing, "add_rows", lambda *a, add=indexing.add_rows: (events.append("added"), add(*a)))
    index_store(store.path, "flat", say=events.append)
    assert events[-1] == "added"
    assert all(word in events[0] for word in ("flat index of 894 x 16", "MB", "memory", "are free", " s"))


def test_a_folder_that_cannot_be_written_is_named(store, tmp_path):
    index_store(store.path, "flat")
    index, _ = open_index(store, "flat")
    with pytest.raises(OSError) as caught:
        index.write(tmp_path / "gone" / "flat.faiss")
    assert caught.value.filename == str(tmp_path / "gone" / "flat.faiss")


def test_an_empty_store_and_unknown_kinds_are_refused(tmp_path):
    store = write_store(tmp_path / "store", [np.zeros((5, DIM), np.float32)])
    with pytest.raises(UsageError, match="no vectors to index"):
        index_store(store.path, "flat")
    with pytest.raises(UsageError, match="unknown kind of index 'lsh'; choose from auto, flat"):
        index_store(store.path, "lsh")
    with pytest.raises(UsageError, match="at least 16384 vectors"):
        index_store(write_store(tmp_path / "few", [clustered(20)]).path, "ivfpq")


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("n", [1, 2, 11])
def test_tiny_stores_have_indexes_too(tmp_path, kind, n):
    store = write_store(tmp_path / "store", [clustered(n)])
    record = index_store(store.path, kind).record
    assert record.n_indexed == n
    assert record.recall == 1 if n > 1 else np.isnan(record.recall)
    index, _ = open_index(store, kind)
    assert len(rescored(index, store.images, store.images.take(np.array([0]))[0], 20)[0]) == n


# -- without FAISS ----------------------------------------------------------------------------------------------------


def test_without_faiss_flat_is_exact_search_and_other_kinds_name_the_extra(store, monkeypatch):
    monkeypatch.setattr(faiss_library.importlib.util, "find_spec", lambda name: None)
    said = []
    for kind in ("auto", "flat"):
        assert index_store(store.path, kind, say=said.append).action == "none"
    assert len(said) == 2 and "FAISS is not installed" in said[0] and "exactly" in said[0]
    assert not (store.path / "index").exists()
    monkeypatch.setattr(faiss_library, "DRIVER", store.path)
    with pytest.raises(MissingDependencyError, match=r"pip install 'semscale\[gpu\]'"):
        index_store(store.path, "hnsw")
    monkeypatch.setattr(faiss_library, "DRIVER", store.path / "none")
    with pytest.raises(MissingDependencyError, match=r"needs faiss.*pip install 'semscale\[cpu\]'"):
        index_store(store.path, "ivf")


@pytest.mark.parametrize(("flags", "told"), [("fpu avx2 avx512f", "SkylakeX"), ("fpu avx2", None)])
def test_the_processor_is_named_to_openblas_where_it_has_avx512(monkeypatch, tmp_path, flags, told):
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(faiss_library, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    faiss_library.library("this")
    assert faiss_library.os.environ.get("OPENBLAS_CORETYPE") == told
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    faiss_library.library("this")
    assert faiss_library.os.environ["OPENBLAS_CORETYPE"] == "Haswell"


# -- the choice -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "gigabytes", "kind"),
    [
        (1, 8, "flat"),
        (100_000, 8, "flat"),
        (100_001, 8, "hnsw"),
        (100_000, 0.35, "ivf"),  # flat may take 411 MB while it grows, ivf 314 MB with its sample
        (2_000_000, 32, "hnsw"),
        (2_000_000, 6, "ivf"),
        (2_000_001, 32, "ivf"),
        (2_000_000, 2, "ivfpq"),
        (10**9, 64, "ivfpq"),
        (10**9, 4, "ivfpq"),
        (1000, 0, "ivf"),
    ],
)
def test_auto_takes_the_first_kind_that_suits_and_fits(n, gigabytes, kind):
    assert choose(n, 512, memory=int(gigabytes * 1e9)) == kind


@pytest.mark.parametrize("dim", [1, 7, 12, 16, 384, 512, 768, 1024, 1152])
def test_shapes_are_within_what_faiss_takes(dim):
    for kind in KINDS:
        for n in (1, 100, 20_000, 10**6, 10**9):
            if kind == "ivfpq" and n < MIN_PQ_ROWS:
                continue
            shape = shape_of(kind, n, dim)
            assert (shape.lists >= 1) == (kind in ("ivf", "ivfpq"))
            assert shape.code == 0 or (dim % shape.code == 0 and dim / shape.code >= min(dim, 8))
            assert shape.probes <= min(max(shape.lists, 1), 2048)
            assert shape.training_rows(n) <= n
            assert shape.training_rows(n) >= 39 * shape.lists or shape.lists == 1


@pytest.mark.parametrize("kind", SMALL)
def test_stated_sizes_are_those_of_the_files(store, kind):
    record = index_store(store.path, kind).record
    assert record.shape.size(record.n_indexed) == pytest.approx(record.size, rel=0.1, abs=4096)


def test_expected_seconds_grow_with_the_rows_and_fall_with_the_rates():
    slow, fast = Rates(1e5, 1e10, {2048: 1.0}), Rates(1e6, 1e11, {2048: 0.1})
    for kind in KINDS:
        shape = shape_of(kind, 10**6, 512)
        few, many = (seconds(shape, n, slow, queries=256) for n in (10**5, 10**6))
        assert few < many and seconds(shape, 10**6, fast, queries=256) == pytest.approx(many / 10)


def test_memory_is_the_least_that_the_system_grants(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(indexing, "CGROUP", tmp_path)
    assert indexing.memory() == indexing.UNKNOWN_MEMORY
    (tmp_path / "meminfo").write_text("MemTotal:  2000 kB\nMemAvailable:  1000 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("7\n")
    assert indexing.memory() == 1_024_000
    (tmp_path / "memory.max").write_text("1007\n")
    assert indexing.memory() == 1000


# -- growing with the store -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALL)
def test_a_stream_ends_with_an_index_of_everything(store, kind):
    stream = Stream(store.path, kind, planned=1100)
    for seed in (1, 2):
        stream.add_shard(append(store.path, clustered(100, seed=seed)))
    stream.add_shard(Store(store.path).n_shards - 1 if append_failures(store.path, ["cut"]) else 0)
    record = stream.finish().record
    index, opened = open_index(Store(store.path), kind)
    assert opened == record and len(index) == 1094
    assert record.recall == pytest.approx(recall_of(Store(store.path), index), abs=1e-12)


def test_a_stream_that_was_killed_is_caught_up_with_by_the_next(store):
    index_store(store.path, "hnsw")
    Stream(store.path, "hnsw", planned=1100).add_shard(append(store.path, clustered(100, seed=1)))  # never finished
    refused(store.path, "hnsw", "1 new shard came")
    said = []
    stream = Stream(store.path, "hnsw", planned=1100, say=said.append)
    stream.add_shard(append(store.path, clustered(100, seed=2)))
    done = stream.finish()
    assert (done.action, said) == ("extended", [])
    index, _ = open_index(Store(store.path), "hnsw")
    assert len(index) == 1094


def test_a_stream_saves_as_it_grows(store, monkeypatch):
    monkeypatch.setattr("semscale.streaming.SAVED_FROM", 1000)
    stream = Stream(store.path, "flat", planned=2000)
    stream.add_shard(append(store.path, clustered(99, seed=1)))
    assert not record_file(store.path, "flat").exists()
    stream.add_shard(append(store.path, clustered(1, seed=2)))
    assert open_index(Store(store.path), "flat")[1].store.rows == 1000
    stream.add_shard(append(store.path, clustered(10, seed=3)))
    refused(store.path, "flat", "1 new shard came")


def test_a_shard_out_of_turn_has_the_index_built_in_the_end(store):
    stream = Stream(store.path, "flat", planned=1100)
    stream.add_shard(append(store.path, clustered(100, seed=1)))
    rewrite(store.path, 0, clustered(300, seed=2))
    stream.add_shard(0)
    stream.add_shard(append(store.path, clustered(100, seed=3)))
    assert stream.finish().action == "built"
    index, _ = open_index(Store(store.path), "flat")
    assert len(index) == 1100 - 3


def test_a_shard_discarded_after_it_came_is_noticed(store):
    stream = Stream(store.path, "flat", planned=1100)
    Store(store.path).discard(0)
    assert stream.finish().action == "built"
    assert open_index(Store(store.path), "flat")[1].store.rows == 600


def test_a_stream_keeps_an_index_that_nothing_was_added_to(store):
    index_store(store.path, "ivf")
    assert Stream(store.path, "ivf", planned=900).finish().action == "kept"


def test_clusters_that_were_outgrown_while_they_were_streamed_to_are_learned_again(store):
    """As with --follow, where the first listing says little of what comes."""
    index_store(store.path, "ivf")
    stream = Stream(store.path, "ivf", planned=1000)
    for seed in range(6):
        stream.add_shard(append(store.path, clustered(900, seed=seed)))
    done = stream.finish()
    assert done.record.n_learned_for == done.record.n_indexed == 894 + 5400
    assert index_store(store.path, "ivf").action == "kept"


def test_a_stream_of_nothing_but_failures_ends_without_an_index(tmp_path):
    store = write_store(tmp_path / "store", [clustered(5)])
    store.discard(0)
    stream = Stream(store.path, "flat", planned=6)
    append_failures(store.path, ["cut"])
    stream.add_shard(1)
    assert stream.finish().action == "none"


def test_a_stream_refuses_at_once_what_it_cannot_end_with(store, monkeypatch):
    with pytest.raises(UsageError, match="at least 16384 vectors"):
        Stream(store.path, "ivfpq", planned=1000)
    with pytest.raises(UsageError, match="unknown kind"):
        Stream(store.path, "lsh", planned=1000)
    monkeypatch.setattr(faiss_library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="faiss"):
        Stream(store.path, "flat", planned=1000)


def test_auto_streams_the_kind_of_the_planned_number(store):
    assert Stream(store.path, "auto", planned=900).kind == "flat"
    assert Stream(store.path, "auto", planned=200_000).kind == "hnsw"
