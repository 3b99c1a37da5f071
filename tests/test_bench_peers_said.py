"""`semscale bench peers`: what is said of the rounds, peers that begin at features, environments and their errors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from semscale.locks import exclusive
from semscale_bench.measure import Timing
from semscale_bench.metric_data import Sizes
from semscale_bench.metrics_bench import Found as FoundFeatures
from semscale_bench.metrics_bench import Row as FeatureRow
from semscale_bench.pair_entries import beside, case_of, entries
from semscale_bench.pairs import Found as FoundPairs
from semscale_bench.pairs import Row as PairRow
from semscale_bench.peers import environments, others, rounds, table
from semscale_bench.peers.environments import NotInstalled, python_of
from semscale_bench.peers.requirements import REQUIREMENTS, TORCH
from semscale_bench.peers.rounds import Answer, Contestant, Result, check_of
from semscale_bench.peers.verdicts import sentences, study_seconds
from semscale_bench.ratios import Ratio, ratio_of
from semscale_bench.rows import Check


class TestChecks:
    def test_scores_count_before_embeddings(self):
        first = Answer(1.0, 20.0, (50.0, 60.0), np.eye(2), None)
        told = check_of([Answer(1.0, 20.0, None, None, None), Answer(1.0, 20.5, None, None, None)], first, "fp32")
        assert (told.worst, told.limit, told.passed) == (0.5, rounds.POINTS, False)
        assert check_of([Answer(1.0, None, (50.0,), None, None)], first, "fp32").worst == 0.0
        assert check_of([Answer(1.0, None, (50.4,), None, None)], first, "bf16").passed

    def test_embeddings_count_by_direction(self):
        first = Answer(1.0, 20.0, (50.0,), np.eye(2), None)
        told = check_of([Answer(1.0, None, None, np.array([[3.0, 0.0], [0.0, 2.0]]), None)], first, "fp32")
        assert told.worst == pytest.approx(0.0) and told.passed and "cosine" in told.what
        assert check_of([Answer(1.0, None, None, np.eye(2)[::-1], None)], first, "fp32").worst == pytest.approx(1.0)

    def test_nan_does_not_pass(self):
        first = Answer(1.0, 20.0, (50.0,), None, None)
        assert not check_of([Answer(1.0, 20.0, (float("nan"),), None, None)], first, "fp32").passed


class TestVerdicts:
    def results(self):
        def result(name, units, *seconds):
            return Result(Contestant(name, None, "1"), Timing(name, units, seconds), Check("", 0.0, 1.0))

        return [
            result("semscale onnx fp32", 60, 1.0, 2.0, 1.0),
            result("semscale openvino bf16", 60, 0.5, 0.5, 0.5),
            result("published script, as published", 40, 4.0, 4.0, 4.0),
        ]

    def test_ratios_are_of_rates_round_by_round(self):
        ours, fast, theirs = (each.timing for each in self.results())
        assert ratio_of(ours, theirs) == Ratio(6.0, 3.0, 6.0, 3)
        assert ratio_of(fast, theirs) == Ratio(12.0, 12.0, 12.0, 3)

    def test_each_aim_says_whether_it_was_met(self):
        assert list(sentences("jpeg 500x375", self.results())) == [
            "jpeg 500x375, published script, as published: semscale onnx fp32 is 6.00 times as fast "
            "(3.00 - 6.00, goal 4 met); semscale openvino bf16 is 12.00 times as fast (12.00 - 12.00, goal 12 met)"
        ]
        plain, fast, theirs = self.results()
        assert "(12.00 - 12.00, goal 12 met); semscale onnx int8" in next(
            sentences(
                "any",
                [
                    plain,
                    fast,
                    dataclasses.replace(plain, contestant=Contestant("semscale onnx int8", None, "1")),
                    theirs,
                ],
            )
        )
        slow = [plain, theirs]
        assert "(3.00 - 6.00, goal 4 met, goal 12 missed)" in next(sentences("any", slow))

    def test_the_study_is_extrapolated_from_what_was_timed(self):
        told = study_seconds({"jpeg": self.results()})
        assert told["extrapolated_study_seconds"]["jpeg"]["published script, as published"] == 400.0
        assert told["timed_images"]["jpeg"]["published script, as published"] == 40
        json.dumps(told)


class TestOthers:
    def test_features_become_rows_with_their_check(self, monkeypatch):
        monkeypatch.setattr(others, "FEATURES", Sizes(64, 16, group=8))
        rows = [_feature("semscale", None, (1.0, 1.0), 1e-9), _feature("torch-fidelity", "0.4", (2.0, 4.0), 1e-5)]
        found = FoundFeatures(others.FEATURES, rows, [], ["fid, x: no"])
        monkeypatch.setattr(others, "bench_metrics", lambda *_, **__: found)
        told = others.features("peers", Path("python"), repeats=2)
        assert [(row.name, row.timing.units, row.check.passed) for row in told.rows] == [
            ("semscale, FID", 128, True), ("torch-fidelity 0.4, FID", 128, True),
        ]  # fmt: skip
        assert told.sentences == ["features to FID, torch-fidelity: semscale is 3.00 times as fast (2.00 - 4.00)"]
        assert told.absent == ["features, fid, x: no"]

    def test_pairs_become_rows_with_what_was_missed(self, monkeypatch):
        rows = [_pairs("semscale threshold", "threshold", (1.0, 2.0), 1.0), _pairs("FAISS range_search", "threshold",
                (3.0, 2.0), 0.5), _pairs("semscale top-k", "neighbours", (1.0, 1.0), 1.0)]  # fmt: skip
        found = FoundPairs(case_of(100), 7, rows, [], ["scikit-learn: sklearn is not installed", "another: no"])
        monkeypatch.setattr(others, "bench_pairs", lambda *_, **__: found)
        told = others.all_pairs("peers", repeats=2)
        assert [(row.name, row.check.passed) for row in told.rows] == [
            ("semscale threshold", True), ("FAISS range_search, threshold", False), ("semscale top-k", True),
        ]  # fmt: skip
        assert all(row.timing.units == 5000 * 4999 // 2 for row in told.rows)
        assert told.sentences == [
            "all pairs, threshold, FAISS range_search: semscale threshold is 2.00 times as fast (1.00 - 3.00)"
        ]
        assert told.absent == ["scikit-learn: sklearn is not installed"]

    def test_who_is_asked_for_takes_part(self):
        everyone = ["semscale threshold", "FAISS range_search", "FAISS flat", "FAISS IVF62", "scikit-learn"]
        assert others.rivals_in(everyone) == ("semscale", "FAISS range", "FAISS flat", "scikit")
        assert others.rivals_in(everyone[:3]) == ("semscale", "FAISS range", "FAISS flat")

    def test_only_those_that_are_installed_are_asked(self):
        present, _ = entries(case_of(others.VECTORS, gpu=False))
        chosen = [each.name for each in beside(others.rivals_in([each.name for each in present]), present)]
        assert chosen[:2] == list(others.OUR_PAIRS.values())
        assert set(chosen[2:]) == {"FAISS range_search", "FAISS flat", "scikit-learn"} & {each.name for each in present}
        alone = beside(others.rivals_in([]), present)
        assert [each.name for each in alone] == list(others.OUR_PAIRS.values())


def _feature(name, version, seconds, off):
    return FeatureRow("fid", name, version, seconds, None, None, None, None, 1, {}, off, None)


def _pairs(name, job, seconds, recall):
    return PairRow(name, job, "fp32", "measured", None, 0.0, seconds, 0.0, None, None, None, recall, None)


class TestEnvironments:
    @pytest.fixture
    def calls(self, tmp_path, monkeypatch):
        """Commands that would have been run; installs of `fails` fail as pip does."""
        monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path))
        monkeypatch.setitem(REQUIREMENTS, "tool", ("tool==1", "fails==2"))
        told = []

        def run(command, **_):
            told.append(command)
            (tmp_path / "bench-peers" / "tool" / "bin").mkdir(parents=True, exist_ok=True)
            (tmp_path / "bench-peers" / "tool" / "bin" / "python").touch()
            wrong = command[-1] == "fails==2"
            said = "ERROR: No matching distribution found for fails==2\nWARNING: something else\n"
            return environments.subprocess.CompletedProcess(command, int(wrong), "", said if wrong else "")

        monkeypatch.setattr(environments.subprocess, "run", run)
        return told

    def test_torch_comes_first_and_the_rest_without_what_it_asks_for(self, calls, monkeypatch):
        monkeypatch.setitem(REQUIREMENTS, "tool", ("tool==1",))
        assert python_of("tool").parts[-4:] == ("bench-peers", "tool", "bin", "python")
        assert [command[-1] for command in calls[1:]] == [TORCH, "tool==1"]
        assert ["--no-deps" in command for command in calls[1:]] == [False, True]

    def test_it_is_made_once_and_anew_for_other_requirements(self, calls, monkeypatch):
        monkeypatch.setitem(REQUIREMENTS, "tool", ("tool==1",))
        said: list[str] = []
        python_of("tool", said.append)
        done = len(calls)
        python_of("tool", said.append)
        assert len(calls) == done and len(said) == 1
        monkeypatch.setitem(REQUIREMENTS, "tool", ("tool==2",))
        python_of("tool", said.append)
        assert len(calls) == 2 * done and len(said) == 2

    def test_what_does_not_install_is_told_by_the_installers_error(self, calls):
        with pytest.raises(NotInstalled) as told:
            python_of("tool")
        assert str(told.value) == "fails==2 does not install: No matching distribution found for fails==2"
        with pytest.raises(NotInstalled):  # and it is tried again
            python_of("tool")
        assert len(calls) == 8

    def test_two_do_not_make_one_at_once(self, calls, tmp_path):
        with exclusive(tmp_path / "bench-peers" / "tool.making"), pytest.raises(NotInstalled, match="another process"):
            python_of("tool")
        assert calls == []

    def test_every_environment_pins_what_it_installs(self):
        assert set(REQUIREMENTS) == {peer.environment for peer in table.PEERS if peer.environment} | {"torch-fidelity"}
        for pins in REQUIREMENTS.values():
            assert all(pin.count("==") == 1 for pin in pins)
            assert len({pin.partition("==")[0] for pin in pins}) == len(pins)
            assert not any(pin.startswith(("torch==", "torchvision")) for pin in pins)
