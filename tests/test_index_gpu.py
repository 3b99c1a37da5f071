"""Indexes on GPUs, against a stand-in: FAISS itself, which claims to have two GPUs and notes what is put on them."""

from types import SimpleNamespace

import numpy as np
import pytest
from indexed_stores import DIM, clustered

from semscale.search import faiss_gpu
from semscale.search import index as index_module
from semscale.search.index import Index
from semscale.search.kinds import shape_of
from semscale.search.recall import recall
from semscale.search.vectors import ArrayVectors

faiss = pytest.importorskip("faiss", reason="needs the cpu extra")
ROWS = clustered(3000)
IDS = np.arange(3000) * 7


class FakeGpus:
    """FAISS, with copies in main memory in the place of those on GPUs."""

    def __init__(self, count=2):
        self.copies, self.options, self.returned, self._count = [], [], 0, count

    def __getattr__(self, name):
        return getattr(faiss, name)

    def get_num_gpus(self):
        return self._count

    def GpuMultipleClonerOptions(self):
        return SimpleNamespace(shard=False, useFloat16=False)

    def index_cpu_to_all_gpus(self, form, co=None):
        self.copies.append(faiss.clone_index(form))
        self.options.append(co)
        return self.copies[-1]

    def index_gpu_to_cpu(self, placed):
        assert placed is self.copies[-1]
        self.returned += 1
        return faiss.clone_index(placed)


@pytest.fixture
def gpus(monkeypatch):
    fake = FakeGpus()
    monkeypatch.setattr(index_module, "library", lambda what: fake)
    return fake


def built(kind):
    shape = shape_of(kind, len(ROWS), DIM)
    index = Index.trained(shape, ROWS)
    for at in range(0, len(ROWS), 1000):
        index.add(IDS[at : at + 1000], ROWS[at : at + 1000])
    return index


def test_faiss_is_asked_and_only_flat_and_ivf_go_to_gpus():
    assert [faiss_gpu.gpus(FakeGpus(2), kind) for kind in ("flat", "ivf", "hnsw", "ivfpq")] == [2, 2, 0, 0]
    assert faiss_gpu.gpus(FakeGpus(0), "flat") == 0


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_copies_on_gpus_are_shards_in_float16_and_answer_with_row_numbers(gpus, kind):
    index = built(kind)
    found = index.search(ROWS[:50], 5)
    assert gpus.options[-1].shard is True and gpus.options[-1].useFloat16 is True
    assert (found[:, 0] == IDS[:50]).all()
    assert len(index) == len(ROWS)


def test_ivf_learns_and_grows_on_gpus_and_is_written_in_cpu_form(gpus, tmp_path):
    index = built("ivf")
    trainer, placed = gpus.copies
    assert isinstance(trainer, faiss.IndexFlatIP) and gpus.options[0] is None
    assert placed.ntotal == len(ROWS) and gpus.returned == 0
    index.write(tmp_path / "ivf")
    assert gpus.returned == 1
    again = faiss.read_index(str(tmp_path / "ivf"))
    assert (again.ntotal, again.nprobe) == (len(ROWS), index.shape.probes)
    assert (again.search(ROWS[:50], 1)[1][:, 0] == IDS[:50]).all()


def test_flat_is_built_on_the_cpu_and_copied_again_after_more_rows(gpus, tmp_path):
    index = built("flat")
    assert gpus.copies == []
    index.search(ROWS[:1], 1)
    index.add(np.array([99_999]), -ROWS[:1])
    assert index.search(-ROWS[:1], 1).tolist() == [[99_999]]
    assert [copy.ntotal for copy in gpus.copies] == [3000, 3001]
    index.write(tmp_path / "flat")
    assert gpus.returned == 0
    again = faiss.read_index(str(tmp_path / "flat"))
    np.testing.assert_array_equal(again.index.reconstruct_n(0, 3000), ROWS)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_more_results_than_a_gpu_gives_come_from_the_cpu(gpus, kind):
    index = built(kind)
    index.search(ROWS[:1], 1)
    index._on_cpu()
    gpus.copies[-1].reset()  # what a GPU is asked now comes back empty
    assert (index.search(ROWS[:1], faiss_gpu.MOST) == -1).all()
    assert index.search(ROWS[:1], faiss_gpu.MOST + 1)[0, 0] == IDS[0]


def test_other_kinds_stay_on_the_cpu(gpus):
    index = built("hnsw")
    assert (index.search(ROWS[:50], 1)[:, 0] == IDS[:50]).all()
    assert gpus.copies == []


def test_recall_on_gpus_is_that_on_the_cpu(gpus):
    queries = np.arange(0, 3000, 100)
    shape = shape_of("ivf", len(ROWS), DIM)
    found = []
    for count in (2, 0):
        gpus._count = count
        index = Index.trained(shape, ROWS)
        index_module.add_rows(index, ArrayVectors(ROWS), range(3000))
        found.append(recall(index, ArrayVectors(ROWS), queries))
    assert found[0] == found[1] > 0.5
