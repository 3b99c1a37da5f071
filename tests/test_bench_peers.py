"""`semscale bench peers`: contestants agree, each in a process of its own; what does not install or dies is listed."""

from __future__ import annotations

import json
import stat
import sys

import numpy as np
import pytest
from images import write_tree

from semscale import filling
from semscale.errors import InputError, UsageError
from semscale_bench.cases import peers as case
from semscale_bench.peers import rounds, table, verdicts
from semscale_bench.peers.environments import NotInstalled
from semscale_bench.peers.job import Model, Task, read_task
from semscale_bench.peers.process import PeerError, Process
from semscale_bench.peers.rounds import Contestant, compete
from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome, values, wrong

MEMBERS = 4  # images of a group

FAKE = """
import os, sys
import numpy as np
from semscale_bench.peers.job import Found

VERSION_OF = "numpy"
goes = 0

def load(model, off="0", dies_at="0"):
    assert "semscale" not in sys.modules and "torch" not in sys.modules
    if off == "broken":
        raise ImportError("it needs what is not here")
    def work(task):
        global goes
        goes += 1
        print("as some tools do")
        if goes == int(dies_at):
            print("no more memory", file=sys.stderr, flush=True)
            os._exit(9)
        scores = tuple(50.0 + group + float(off) for group in range(max(task.groups) + 1))
        return Found(20.0, scores, np.eye(len(task.images)))
    return work
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = write_tree(tmp_path_factory.mktemp("images"), [f"{i}.png" for i in range(3 * MEMBERS)])
    return [root / f"{i}.png" for i in range(3 * MEMBERS)]


@pytest.fixture(scope="module")
def task(files):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case, "STUDY_IMAGES", MEMBERS)
        return case.captioned(files)


@pytest.fixture(scope="module")
def weights(tiny_checkpoint, tiny_export, tmp_path_factory):
    return Model(tiny_checkpoint, tiny_export, tiny_export / "clip.pt", 5, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def semscale_at_work(weights):
    from semscale_bench.peers import ours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "open_checked", filling.open_checked)  # `load` replaces it
        yield ours.load(weights, "onnx", "fp32", "exact")


@pytest.fixture(scope="module")
def ours(semscale_at_work, task):
    return semscale_at_work(task)


@pytest.fixture
def fake(tmp_path):
    """Starts contestants of the module above; a Python that finds it."""
    (tmp_path / "fake_tool.py").write_text(FAKE)
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{tmp_path}" exec {sys.executable} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def start(name, *arguments):
        return Process(name, script, ("fake_tool", *arguments), tmp_path / name)

    return start


def loaded(process, **more):
    version = process.ask("load", checkpoint="c", exported="e", archive="a", batch_size=5, work="w")["version"]
    return Contestant(process.name, process, version, **more)


class TestTask:
    def test_groups_share_a_caption_and_are_read_back(self, task, tmp_path):
        assert task.groups == (0,) * 4 + (1,) * 4 + (2,) * 4
        assert len(set(zip(task.captions, task.groups, strict=True))) == len(set(task.captions)) == 3
        assert task.sets() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        assert read_task(task.first(2).write(tmp_path / "task.json")) == task.first(2)
        assert len(task.first(2).images) == 8

    def test_a_smaller_group_is_left_out_unless_it_is_alone(self, files, monkeypatch):
        monkeypatch.setattr(case, "STUDY_IMAGES", 5)
        assert len(case.captioned(files).images) == 10
        assert case.captioned(files[:3]).groups == (0, 0, 0)
        with pytest.raises(UsageError, match="1 image: the peers need two or more"):
            case.captioned(files[:1])


class TestTools:
    def test_everyone_gives_the_same_scores(self, weights, task, ours):
        from semscale_bench.peers import hugging_face

        loop = hugging_face.load(weights)(task)
        assert loop.clip_score == pytest.approx(ours.clip_score, abs=1e-4)
        np.testing.assert_allclose(loop.consistency, ours.consistency, rtol=0, atol=1e-4)
        np.testing.assert_allclose(loop.embeddings, ours.embeddings, rtol=0, atol=1e-5)
        assert np.ptp(ours.consistency) > 0.01  # groups differ, so a wrong order would show

    def test_our_time_and_scores_are_the_runs_own(self, ours):
        assert 0 < ours.seconds < 60
        rows = ours.embeddings
        kept = [max(100 * float(rows[i] @ rows[j]), 0.0) for i in range(MEMBERS) for j in range(i)]
        assert ours.consistency[0] == pytest.approx(np.mean(kept), abs=1e-4)

    def test_an_image_that_fails_ends_ours(self, semscale_at_work, task, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"no image")
        images = (*task.images[:-1], tmp_path / "broken.png")
        with pytest.raises(InputError, match="1 images failed"):
            semscale_at_work(Task(images, task.captions, task.groups))


class TestProcess:
    def test_it_runs_without_semscale_and_answers_with_all_it_found(self, fake, task, tmp_path):
        with fake("first") as process:
            one = loaded(process)
            answer = rounds.ask(one, task.write(tmp_path / "task.json"))
        assert one.version == np.__version__
        assert (answer.clip_score, answer.consistency) == (20.0, (50.0, 51.0, 52.0))
        np.testing.assert_array_equal(answer.embeddings, np.eye(12))
        assert answer.seconds > 0 and (answer.peak_bytes is None or answer.peak_bytes > 1e6)

    def test_what_does_not_load_says_why(self, fake):
        with fake("first", "broken") as process, pytest.raises(PeerError) as told:
            loaded(process)
        assert str(told.value) == "first: ImportError: it needs what is not here"

    def test_one_that_dies_is_left_out_with_its_last_words(self, fake, task, tmp_path):
        with fake("first") as a, fake("second", "0.25", "3") as b, fake("third", "0.125") as c:
            contestants = [loaded(a), loaded(b), loaded(c, groups=2, precision="bf16")]
            results, failed = compete(contestants, task, tmp_path / "work", repeats=2)
        assert [str(error) for error in failed] == [
            "second: its process ended with code 9 at 'work'; its last words: no more memory"
        ]
        assert [(each.contestant.name, each.timing.units) for each in results] == [("first", 12), ("third", 8)]
        assert [len(each.timing.seconds) for each in results] == [2, 2]
        assert [each.check.worst for each in results] == [0.0, 0.125]

    def test_nothing_goes_on_without_the_first(self, fake, task, tmp_path):
        with fake("first", "0", "1") as a, fake("second") as b, pytest.raises(PeerError, match="first: its process"):
            compete([loaded(a), loaded(b)], task, tmp_path / "work", repeats=1)


class TestCase:
    """The case with a fake of everybody: only what it puts together."""

    @pytest.fixture
    def outcome(self, tmp_path, fake, files, monkeypatch):
        def everyone(*_):
            yield "semscale onnx fp32", table.Peer("semscale onnx fp32", "ours"), "fp32"
            yield "good", table.Peer("good", "tool", ("0.5",)), "fp32"
            yield "broken", table.Peer("broken", "tool", ("broken",)), "fp32"
            yield "absent", table.Peer("absent", "tool", environment="absent"), "fp32"

        def nothing(name, say=None):
            raise NotInstalled(f"{name}==1 does not install: no such package")

        def start(name, python, command, work):
            return fake(name.replace(" ", "-"), *command[1:])

        monkeypatch.setattr(case, "STUDY_IMAGES", MEMBERS)
        monkeypatch.setattr(
            case, "_model", lambda plan, work: (Model(tmp_path, tmp_path, tmp_path, 5, tmp_path), "random")
        )
        monkeypatch.setattr(case, "_everyone", everyone)
        monkeypatch.setattr(case, "python_of", nothing)
        monkeypatch.setattr(case, "Process", start)
        monkeypatch.setattr(case.others, "all_pairs", lambda name, repeats: Outcome(name, "", []))
        monkeypatch.setattr(verdicts, "BY_NAME", {"good": table.Peer("good", "tool", plain={"": 2.0})})
        return case.run(Plan(data=files[0].parent, repeats=2))

    def test_who_is_not_there_is_listed_with_the_error(self, outcome):
        assert outcome.absent == [
            "broken: ImportError: it needs what is not here",
            "absent: absent==1 does not install: no such package",
            "torch-fidelity: torch-fidelity==1 does not install: no such package",
        ]

    def test_a_wrong_score_is_a_row_that_says_so(self, outcome, files):
        name = files[0].parent.name
        assert [(row.name, row.data, row.weights, row.check.worst) for row in outcome.rows] == [
            ("semscale onnx fp32", name, "random", 0.0), ("good", name, "random", 0.5),
        ]  # fmt: skip
        assert wrong([outcome]) == [f"peers, good, {name}: points from semscale fp32 is 5.0e-01, above 1.0e-03"]
        assert len(outcome.sentences) == 1 and "goal 2 m" in outcome.sentences[0]
        json.dumps(values([outcome]), allow_nan=False)
