"""`semscale bench metrics`: outputs that are checked, peers or why they are absent, one line of JSON."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from semscale.errors import UsageError
from semscale_bench import metric_contestants, metric_plain, metric_roof, metrics_bench, roof, studies
from semscale_bench.metric_contestants import OURS, Contestant, Done, Job, check, contestants, operations
from semscale_bench.metric_data import JOBS, Sizes, write
from semscale_bench.metric_memory import with_peak
from semscale_bench.metric_peers import peers
from semscale_bench.metrics_bench import bench_metrics
from semscale_bench.metrics_report import lines, values
from semscale_bench.run import bench

SIZES = Sizes(1200, 32, 1000, 3, 200, 1000, 24)
PEERS_PYTHON = Path(__file__).parents[1] / ".venv-parity" / "bin" / "python"
WITHOUT_PEERS = ("fid solve",)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Small products, each done once in a go."""
    monkeypatch.setattr(roof, "SHAPES", {"cpu": ((32, 48, 64),)})
    monkeypatch.setattr(metric_roof, "SHAPES", ((32, 48, 64),))
    monkeypatch.setattr(roof, "GO_SECONDS", 0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("features"), SIZES)


def package(folder, name, body):
    """A Python that finds a package by that name, of version 9.8."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(body)
    (folder / f"{name}-9.8.dist-info").mkdir()
    (folder / f"{name}-9.8.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8\n")
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{folder}" exec {sys.executable} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


class TestData:
    def test_files_hold_what_is_compared(self, data):
        assert data.real.shape == data.fake.shape == (1200, 32)
        assert data.group.shape == (1000, 24)
        assert {each.dtype for each in (data.real, data.fake, data.group)} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(np.load(data.folder / "real.npy"), data.real)

    def test_sets_differ_and_no_covariance_is_singular(self, data):
        assert np.linalg.eigvalsh(np.cov(data.real, rowvar=False))[0] > 0.005
        found = metric_plain.expected("prdc", data)
        assert all(0.2 < found[name] < 1 for name in ("precision", "recall", "coverage")), found
        assert found["precision"] != found["recall"]


class TestOutputs:
    @pytest.mark.parametrize("job", JOBS)
    def test_everyone_agrees_with_plain_numpy(self, data, job):
        expected = metric_plain.expected(job, data)
        for each in contestants(job, data):
            found = each.go(False).values
            assert set(found) == set(expected)
            check(each, found, expected)

    @pytest.mark.parametrize("job", JOBS)
    def test_a_value_that_is_a_little_wrong_is_refused(self, data, job):
        expected = metric_plain.expected(job, data)
        first = contestants(job, data)[0]
        for name in expected:
            with pytest.raises(AssertionError, match=f"{job}, semscale: {name} is "):
                check(first, expected | {name: expected[name] * (1 + 2 * first.tolerance)}, expected)

    @pytest.mark.parametrize("found", [{}, {"fid": float("nan")}])
    def test_no_number_is_refused(self, found):
        with pytest.raises(AssertionError):
            check(Contestant("fid", OURS, lambda _: Done(found)), found, {"fid": 1.0})

    def test_a_round_that_goes_wrong_ends_the_bench(self):
        answers = iter([Done({"fid": 1.0}, 5), Done({"fid": 1.1})])
        job = Job(Contestant("fid", OURS, lambda _: next(answers)), {"fid": 1.0})
        assert job() == 1
        with pytest.raises(AssertionError, match=r"plain NumPy says 1\.0"):
            job()

    def test_plain_numbers_of_known_sets(self):
        corners = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        gaussian = metric_plain.gaussian(corners)
        np.testing.assert_allclose(gaussian[1], np.cov(corners, rowvar=False))
        moved = (gaussian[0] + [3.0, 0.0], 4.0 * gaussian[1])
        assert metric_plain.frechet(gaussian, moved) == pytest.approx(9 + 2 * 4 / 3)
        assert metric_plain.vendi(np.repeat(np.eye(5), 3, axis=0)) == pytest.approx(5)
        line = np.arange(6.0)[:, None]
        found = metric_plain.neighbourhoods(line, line[:1] - 1.0, 1, np.less_equal)
        assert found["precision"] == 1 and found["density"] == 1 and found["coverage"] == pytest.approx(1 / 6)


class TestMeasures:
    def test_operations_count_each_pair_once(self):
        assert operations("fid", SIZES) == 2 * 1200 * 32 * 32
        assert operations("kid full", SIZES) == operations("prdc", SIZES) == 4 * 1000 * 1000 * 32
        assert operations("kid subsets", SIZES) == 3 * 4 * 200 * 200 * 32
        assert operations("vendi", SIZES) == 1000 * 24 * 24
        assert operations("fid solve", SIZES) is None

    def test_memory_of_the_work_alone_is_counted(self, tmp_path):
        mapped = np.lib.format.open_memmap(tmp_path / "mapped.npy", "w+", np.uint8, (1 << 25,))
        kept = np.ones(1 << 24, np.uint8)
        done, peak = with_peak(lambda: int(np.ones(1 << 25, np.uint8).sum()) + int(mapped.sum()) + int(kept[0]))
        assert done == (1 << 25) + 1
        assert 1 << 25 <= peak < 1.5 * (1 << 25)

    def test_work_that_fails_is_no_result(self):
        with pytest.raises(ZeroDivisionError):
            with_peak(lambda: 1 // 0)

    def test_a_wrong_product_is_refused(self, monkeypatch):
        monkeypatch.setattr(np, "matmul", lambda a, b, out: np.add(a @ b, 1e-6, out=out))
        with pytest.raises(AssertionError, match="by numpy is wrong"):
            metric_roof.DoubleProduct((32, 48, 64), "numpy")


class TestBench:
    def test_rows_hold_shares_ratios_and_goals(self):
        found = bench_metrics(SIZES, repeats=2)
        assert [row.job for row in found.rows if row.name == OURS] == list(JOBS)
        assert [row.name for row in found.rows[:3]] == [OURS, "scipy sqrtm", "numpy eigvals"]
        best = {
            each.precision: max(r.best for r in found.roofs if r.precision == each.precision) for each in found.roofs
        }
        assert set(best) == {"fp32", "fp64"}
        for row in found.rows:
            assert len(row.seconds) == 2 and row.peak_bytes >= 0 and row.off < 1e-6
            if row.operations is None:
                assert row.job == "fid solve" and row.roof_share is None
            else:
                assert row.roof_share == pytest.approx(row.operations / row.median / best[row.precision])
        ratio = np.median(np.divide(found.rows[1].seconds, found.rows[0].seconds))
        assert (found.rows[0].speed_up, found.rows[1].speed_up) == (None, pytest.approx(ratio))
        said = list(lines(found))
        assert any(line.startswith("goal, fid solve: under 10 s, met with ") for line in said)
        absent = [line for line in said if line.startswith("not run: ")]
        assert len(absent) == 6 and all("no --peers; `make parity`" in line for line in absent)
        assert {line.split(": ")[1].partition(",")[0] for line in absent} == set(JOBS) - set(WITHOUT_PEERS)

    def test_an_output_that_is_wrong_ends_it(self, monkeypatch):
        monkeypatch.setattr(metric_contestants, "frechet_distance", lambda a, b: 1.0)
        with pytest.raises(AssertionError, match=r"fid solve, semscale: fid is 1\.0"):
            bench_metrics(SIZES, repeats=1, jobs=("fid solve",))


class TestPeers:
    def test_one_takes_part_by_its_own_clock_and_another_does_not(self, tmp_path):
        body = """
import numpy as np

def compute_prdc(real, fake, nearest_k):
    print("as the package does")
    values = [float(line) for line in open(__file__ + ".values")]
    return dict(zip(("precision", "recall", "density", "coverage"), values))
"""
        python = package(tmp_path / "packages", "prdc", body)
        expected = metric_plain.expected("prdc", write(tmp_path, SIZES))
        answers = tmp_path / "packages" / "prdc" / "__init__.py.values"
        answers.write_text("\n".join(str(value) for value in expected.values()))
        found = bench_metrics(SIZES, repeats=2, jobs=("prdc", "vendi"), python=python)
        assert [(row.job, row.name, row.version) for row in found.rows] == [
            ("prdc", OURS, None), ("prdc", "prdc", "9.8"), ("vendi", OURS, None),
        ]  # fmt: skip
        theirs = found.rows[1]
        assert 0 < max(theirs.seconds) < found.rows[0].median  # it only reads four numbers
        assert theirs.speed_up == pytest.approx(np.median(np.divide(theirs.seconds, found.rows[0].seconds)))
        assert theirs.values == expected
        assert found.absent == ["vendi, vendi-score: ModuleNotFoundError: No module named 'vendi_score'"]
        answers.write_text("\n".join(str(value * 1.01) for value in expected.values()))
        with pytest.raises(AssertionError, match="prdc, prdc: precision is"):
            bench_metrics(SIZES, repeats=1, jobs=("prdc",), python=python)

    def test_what_is_no_python_is_refused(self, data, tmp_path):
        script = tmp_path / "python"
        script.write_text("#!/bin/sh\nexit 3\n")
        with pytest.raises(UsageError, match="give a Python interpreter"), peers(script, data, JOBS):
            pass
        script.chmod(0o755)
        with pytest.raises(UsageError, match="ended with code 3"), peers(script, data, JOBS):
            pass

    @pytest.mark.skipif(not PEERS_PYTHON.is_file(), reason="no environment of the peers: make parity")
    def test_the_peers_themselves_agree(self):
        found = bench_metrics(SIZES, repeats=1, jobs=[job for job in JOBS if job != "fid solve"], python=PEERS_PYTHON)
        assert found.absent == []
        named = {(row.job, row.name) for row in found.rows if row.name != OURS}
        fidelity = {(job, "torch-fidelity") for job in ("fid", "kid full", "kid subsets", "prc")}
        assert named == fidelity | {("prdc", "prdc"), ("vendi", "vendi-score")}
        for row in found.rows:
            assert row.version is not None or row.name == OURS
            assert row.off < 1e-3


class TestCommand:
    def test_the_line_says_what_was_run_on_what(self, tmp_path, monkeypatch):
        monkeypatch.setattr(studies, "Sizes", lambda rows: SIZES)
        saved = tmp_path / "found.json"
        options = ("--only", "fid", "--only", "vendi", "--repeats", "1", "--out", str(saved))
        result = CliRunner().invoke(bench, ["metrics", *options])
        assert result.exit_code == 0, result.output
        line = json.loads(saved.read_text())
        assert line == json.loads(result.output.splitlines()[-1])
        assert {"case", "regime", "sizes", "rows", "roofs", "not_run", "machine", "commit", "command"} == set(line)
        assert [row["job"] for row in line["rows"]] == ["fid", "vendi"]
        for row in line["rows"]:
            assert {"seconds", "median", "spread", "roof_share", "speed_up", "peak_bytes", "values", "off"} <= set(row)
            assert row["median"] > 0
        assert "roof, cpu fp64: " in result.output and "fp32" not in result.output.partition("roof, ")[2].split("{")[0]
        assert "not run: fid, torch-fidelity: no --peers" in result.output

    def test_json_holds_every_number(self):
        found = bench_metrics(SIZES, repeats=1, jobs=("fid solve",))
        line = json.loads(json.dumps(values(found), allow_nan=False))
        assert [row["name"] for row in line["rows"]] == [OURS, "scipy sqrtm", "numpy eigvals"]
        assert line["rows"][0]["goal_seconds"] == metrics_bench.GOALS["fid solve"]
        assert line["sizes"]["few"] == 1000 and line["roofs"] == []
