"""`semscale bench pairs`: which pairs are looked at, what is extrapolated, outputs that are checked, and roofs."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from semscale.errors import UsageError
from semscale.search import Tuning, reference
from semscale.search.faiss_library import is_installed, library
from semscale_bench import pair_checks, pair_contestants, pair_data, pair_entries, pair_gpu, pair_memory, pairs, roof
from semscale_bench.measure import Timing
from semscale_bench.pair_contestants import BASELINES, OURS, Contestant, Done
from semscale_bench.pair_data import Case, clusters
from semscale_bench.pair_entries import case_of, entries
from semscale_bench.pairs import Index, Job, bench_pairs
from semscale_bench.run import bench

CASE = Case(700, 32, "cpu", True)
PART_OF_IT = dataclasses.replace(CASE, whole=False)
EXACT = [*OURS.values(), *BASELINES.values(), "torch matmul and topk"]
needs_faiss = pytest.mark.skipif(not is_installed(), reason="FAISS is not installed")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Small products, each done once in a go, and blocks of which there are several."""
    monkeypatch.setattr(roof, "SHAPES", {"cpu": ((32, 48, 64),)})
    monkeypatch.setattr(roof, "INTEGER_SHAPES", ((32, 48, 64), (64, 64, 64)))
    monkeypatch.setattr(roof, "GO_SECONDS", 0.0)
    monkeypatch.setattr(pair_entries, "Tuning", lambda: Tuning(panel=64, tile=32))
    monkeypatch.setattr(pair_data, "QUERIES", 100)


def outputs_of(case):
    """(rows, part, contestants, their outputs)"""
    rows, part, everyone = clusters(case.n, case.dim), case.part(pair_entries.tuning(case)), entries(case)[0]
    indexes = pairs._built(everyone, rows)
    done = {each.name: each.work(rows, part, indexes[each.build].index).output for each in everyone}
    return rows, part, everyone, done


class TestData:
    def test_rows_of_a_cluster_are_alike_and_others_are_not(self):
        rows = clusters(2000, 512)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        similarity = (rows @ rows.T)[np.triu_indices(2000, 1)]
        alike = similarity[similarity > 0.4]
        assert 0.65 < np.median(alike) < 0.69
        assert 5000 < len(alike) < 15_000  # ten rows a cluster
        assert abs(similarity.mean()) < 0.01

    def test_slices_change_nothing(self, monkeypatch):
        whole = clusters(500, 16)
        monkeypatch.setattr(pair_data, "SLICE", 77)
        np.testing.assert_array_equal(clusters(500, 16), whole)

    def test_everything(self):
        part = CASE.part(Tuning(panel=64))
        assert part.whole
        assert len(part.blocks) == part.of_blocks == 11
        assert part.in_blocks == part.of_queries == part.pairs == 700 * 699 // 2

    def test_blocks_are_spread_and_their_pairs_counted(self):
        part = PART_OF_IT.part(Tuning(panel=64))
        assert ([block.index for block in part.blocks], part.of_blocks) == ([2, 8], 11)
        rows = {row for block in part.blocks for row in block.rows}
        assert part.in_blocks == sum(a < b for a in rows for b in range(700))
        assert len(np.unique(part.queries)) == 100
        assert set(part.queries) <= rows
        assert (np.diff(part.queries) > 0).all()

    def test_a_million_rows_are_two_blocks_of_sixteen(self):
        part = Case(1_000_000, 512, "cpu", False).part(Tuning(panel=65_536))
        assert ([block.index for block in part.blocks], part.of_blocks) == ([4, 12], 16)
        assert part.in_blocks / part.pairs == pytest.approx(2 / 16, rel=0.1)


class TestCases:
    def test_a_gpu_is_used_where_there_is_one(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert case_of(None) == Case(1_000_000, 768, "cuda", True)
        assert case_of(10_000_000, whole=False) == Case(10_000_000, 768, "cuda", False)
        assert case_of(None, gpu=False) == Case(20_000, 512, "cpu", True)

    @pytest.mark.parametrize(
        ("n", "asked", "whole"),
        [(499_999, None, True), (500_000, None, False), (500_000, True, True), (200, False, False)],
    )
    def test_many_vectors_are_timed_by_blocks(self, monkeypatch, n, asked, whole):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert case_of(n, whole=asked) == Case(n, 512, "cpu", whole)

    def test_who_is_missing_is_named_with_what_to_install(self, monkeypatch):
        monkeypatch.setattr(pair_entries.importlib.util, "find_spec", lambda _: None)
        present, absent = entries(CASE)
        assert [each.name for each in present] == [*OURS.values(), "torch matmul and topk"]
        assert "FAISS range_search: faiss is not installed; pip install faiss-cpu" in absent
        assert "scikit-learn: sklearn is not installed; pip install scikit-learn" in absent
        assert len(absent) >= 4

    @needs_faiss
    def test_a_gpu_that_faiss_does_not_reach(self):
        present, absent = entries(Case(1_000_000, 768, "cuda", True))
        assert [(each.name, each.precision) for each in present[:3]] == [
            (OURS["threshold"], "fp16"), (OURS["neighbours"], "fp16"), ("torch matmul and topk", "fp16"),
        ]  # fmt: skip
        assert any(why.startswith("FAISS ") for why in absent)

    @needs_faiss
    def test_on_gpus_that_the_processor_stands_in_for(self, monkeypatch):
        faiss = library("a test")
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
        monkeypatch.setattr(faiss, "GpuParameterSpace", faiss.ParameterSpace, raising=False)
        monkeypatch.setattr(pair_gpu, "placed", lambda _, form: form)
        monkeypatch.setattr(pair_gpu, "train", lambda _, form, sample: form.train(sample))
        found, absent = pair_gpu.contestants(CASE)
        rows, part = clusters(CASE.n, CASE.dim), CASE.part(Tuning())
        flat, probed = [each.work(rows, part, each.build(rows)).output for each in found if each.needs == "faiss"]
        np.testing.assert_array_equal(flat, reference.top_k(rows, pair_data.K)[0])
        assert 0.5 < (probed == flat).mean() < 1
        assert [why.partition(":")[0] for why in absent] == ["FAISS range_search and HNSW", "scikit-learn"]


class TestOutputs:
    @pytest.mark.parametrize("case", [CASE, PART_OF_IT], ids=["whole", "part"])
    def test_exact_contestants_agree_with_brute_force(self, case):
        rows, part, everyone, outputs = outputs_of(case)
        a, b, _ = reference.pairs_above(rows, pair_data.THRESHOLD)
        asked = np.isin(a, [row for block in part.blocks for row in block.rows])
        np.testing.assert_array_equal(np.sort(outputs[OURS["threshold"]]), (a * case.n + b)[asked])
        ids = reference.top_k(rows, pair_data.K)[0]
        np.testing.assert_array_equal(outputs[OURS["neighbours"]], ids[part.queries])
        for each in everyone:
            assert pair_checks.recall(each, part, outputs) == 1 or each.approximate, each.name
        assert pair_checks.count_found(part, outputs) == pytest.approx(len(a), rel=0.35 if case is PART_OF_IT else 0)

    @needs_faiss
    def test_indexes_that_leave_pairs_out_find_most(self):
        _, part, everyone, outputs = outputs_of(CASE)
        found = {each.name: pair_checks.recall(each, part, outputs) for each in everyone if each.approximate}
        assert set(found) == {"FAISS IVF8, nprobe 4", "FAISS HNSW32, efSearch 64"}
        assert all(0.5 < share <= 1 for share in found.values())

    def test_wrong_outputs_are_refused(self):
        rows, part, everyone, outputs = outputs_of(CASE)
        pair_checks.check(rows, part, everyone, outputs)
        (threshold, neighbours), exact = OURS.values(), outputs[OURS["threshold"]]
        with pytest.raises(AssertionError, match="a pair is missing"):
            pair_checks.check(rows, part, everyone, outputs | {threshold: exact[:0]})
        with pytest.raises(AssertionError, match="below the threshold"):
            pair_checks.check(rows, part, everyone, outputs | {threshold: np.arange(700 * 700)[upper(700)]})
        with pytest.raises(AssertionError, match="other neighbours"):
            pair_checks.check(rows, part, everyone, outputs | {neighbours: outputs[neighbours][::-1]})

    @needs_faiss
    def test_a_rival_that_finds_other_pairs_is_refused(self):
        rows, part, everyone, outputs = outputs_of(PART_OF_IT)
        name = BASELINES["threshold"]
        pair_checks.check(rows, part, everyone, outputs)
        with pytest.raises(AssertionError, match="FAISS range_search: other pairs"):
            pair_checks.check(rows, part, everyone, outputs | {name: outputs[name][1:]})

    def test_a_row_is_left_out_of_its_own_neighbours(self):
        part = dataclasses.replace(CASE.part(Tuning()), queries=np.array([4, 7]))
        ids = np.array([[4, 1, 2], [1, 2, 3]])  # the second did not find itself
        np.testing.assert_array_equal(pair_contestants.without_self(ids, part), [[1, 2], [1, 2]])


def upper(n):
    """(n * n,) bool: which numbers a n + b have a < b."""
    return np.triu(np.ones((n, n), bool), 1).ravel()


class TestSeconds:
    def job(self, case, index_seconds=0.0, once=0.0):
        part = case.part(Tuning(panel=64))
        contestant = Contestant("a", "threshold", "fp32", lambda *_: Done(np.empty(0), once), by_blocks=True)
        job = Job(contestant, np.empty(0), part, Index(None, index_seconds))
        return job, part, job()

    def test_a_part_is_scaled_by_pairs_but_for_what_is_done_once(self):
        job, part, units = self.job(PART_OF_IT, index_seconds=5.0, once=1.0)
        assert units == part.in_blocks
        job()
        (found,) = job.seconds(Timing("a", units, (3.0,)))
        assert found == pytest.approx(5 + 1 + 2 * part.pairs / part.in_blocks)

    def test_the_whole_is_not_scaled(self):
        job, _, units = self.job(CASE, index_seconds=5.0, once=1.0)
        job(), job()
        assert job.seconds(Timing("a", units, (3.0, 4.0))) == pytest.approx((8.0, 9.0))


class TestBench:
    @pytest.mark.parametrize("case", [CASE, PART_OF_IT], ids=["whole", "part"])
    def test_rows_hold_rates_ratios_and_shares(self, case):
        found = bench_pairs(case, repeats=2, memory=False)
        assert {row.name for row in found.rows} >= {*OURS.values(), "torch matmul and topk"}
        roofs = {each.precision: each.best for each in found.roofs}
        for row in found.rows:
            assert len(row.seconds) == 2
            assert row.rate * row.median == pytest.approx(700 * 699 / 2)
            assert (row.extent == "measured") == case.whole
            assert (row.roof_share is None) == (row.name not in EXACT and row.name != "scikit-learn")
            assert (row.build_seconds > 0) == row.name.startswith("FAISS")
            if row.precision == "fp32" and row.roof_share is not None:
                assert row.roof_share == row.of_fp32 == pytest.approx(row.rate * 2 * 32 / roofs["fp32"])
            assert row.of_baseline == (1 if row.name in BASELINES.values() else row.of_baseline)
            assert (row.of_baseline is None) != is_installed()
        ours = found.rows[0]
        assert ours.extent == ("measured" if case.whole else "extrapolated from 2 of 11 blocks")

    def test_the_peak_is_that_of_the_precision_used(self, monkeypatch):
        def in_integers(case):
            return [dataclasses.replace(each, precision="int8") for each in entries(case)[0][:2]], []

        monkeypatch.setattr(pairs, "entries", in_integers)
        found = bench_pairs(CASE, repeats=1, memory=False)
        best = {each: max(roof.best for roof in found.roofs if roof.precision == each) for each in ("int8", "fp32")}
        for row in found.rows:
            assert row.roof_share == pytest.approx(row.rate * 2 * 32 / best["int8"])
            assert row.of_fp32 == pytest.approx(row.rate * 2 * 32 / best["fp32"])

    def test_a_fresh_process_is_measured(self):
        case = Case(20_000, 64, "cpu", True)
        found = pair_memory.peak(case, "torch matmul and topk")
        product = 4 * pair_contestants.PRODUCT_ROWS * case.n
        assert product <= found.work_bytes < 3 * product
        assert found.before_bytes > 4 * case.n * case.dim
        assert found.gpu_bytes is None

    def test_a_process_that_fails_is_no_result(self):
        with pytest.raises(subprocess.CalledProcessError):
            pair_memory.peak(CASE, "nobody")


class TestIntegerRoof:
    def test_products_are_counted(self):
        assert [product() for product in roof.integer_products()] == [2 * 32 * 48 * 64, 2 * 64**3]

    def test_a_wrong_product_is_refused(self, monkeypatch):
        monkeypatch.setattr(torch, "_int_mm", lambda a, b, out: out.copy_(a.int() @ b.int() + 1))
        with pytest.raises(AssertionError, match="int8 product on cpu is wrong"):
            roof.integer_products()


class TestCommand:
    @pytest.mark.parametrize("option", ["--full", "--timed-blocks"])
    def test_the_line_says_what_was_run_on_what(self, tmp_path, option):
        saved = tmp_path / "found.json"
        options = ("--images", "400", "--no-gpu", "--no-memory", "--repeats", "1", "--out", str(saved), option)
        result = CliRunner().invoke(bench, ["pairs", *options])
        assert result.exit_code == 0, result.output
        line = json.loads(saved.read_text())
        assert line == json.loads(result.output.splitlines()[-1])
        assert {"regime", "n", "dim", "device", "whole", "rows", "roofs", "not_run", "versions", "command"} <= set(line)
        assert (line["n"], line["dim"], line["whole"]) == (400, 512, option == "--full")
        for row in line["rows"]:
            assert {"rate", "median", "spread", "roof_share", "of_fp32", "build_seconds", "recall", "peak"} <= set(row)
            assert row["name"] in result.output
            assert row["extent"] in result.output
        assert "roof, cpu fp32: " in result.output


def test_some_of_the_others_can_be_named():
    everyone, _ = pair_entries.entries(pair_entries.case_of(200, gpu=False))
    chosen = [each.name for each in pair_entries.beside(("torch",), everyone)]
    assert chosen == [*OURS.values(), "torch matmul and topk"]
    assert pair_entries.beside((), everyone) == everyone
    with pytest.raises(UsageError, match="no contestant 'annoy' here; there are semscale threshold"):
        pair_entries.beside(("torch", "annoy"), everyone)
