"""`semscale bench pipeline`: the accounts, and whether the stage that is named is the one that was slowed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semscale import pixels
from semscale.encoders.ort import OrtEncoder
from semscale.errors import UsageError
from semscale.sources.described import TreeSource
from semscale.store import Store
from semscale_bench import bottleneck, rows, streams, threads
from semscale_bench.bottleneck import Accounts, verdict
from semscale_bench.cases import pipeline
from semscale_bench.plan import Plan

STAGES = {"read": 0.1, "decode": 0.2, "preprocess": 0.2, "hash": 0.02, "encode": 0.3, "write": 0.1}


def accounts(busy, processor=None, *, process=1.0, cores=2, workers=2):
    """Of a second."""
    return Accounts(1.0, cores, workers, {**STAGES, **busy}, {**STAGES, **(processor or {})}, process)


class TestVerdict:
    @pytest.mark.parametrize("stage", ["read", "encode", "write"])
    def test_a_stage_of_one_thread_that_never_waits(self, stage):
        found = verdict(accounts({stage: 0.97}), shares_cores=True)
        assert (found.stage, found.cores_full) == (stage, False)
        assert found.sentences[0].startswith(f"{stage} bound: ")
        assert "busy 97%" in found.sentences[0]
        assert found.sentences[1].startswith("what would move it: ")

    @pytest.mark.parametrize("stage", ["decode", "preprocess", "hash"])
    def test_the_pool_is_bound_by_what_takes_most_of_it(self, stage):
        found = verdict(accounts({stage: 1.5}), shares_cores=True)
        assert found.stage == stage
        assert "the encoder idles 70%" in found.sentences[0]

    def test_full_cores_are_bound_by_what_costs_most(self):
        found = verdict(accounts({"decode": 1.9}, {"encode": 1.4}, process=1.96), shares_cores=True)
        assert (found.stage, found.cores_full) == ("encode", True)
        assert "encoding takes 71%" in found.sentences[0]

    def test_a_gpu_does_not_share_the_cores(self):
        found = verdict(accounts({"decode": 1.9}, {"encode": 1.4}, process=1.96), shares_cores=False)
        assert (found.stage, found.cores_full) == ("decode", False)

    def test_overhead_outside_all_stages_is_named(self):
        found = verdict(accounts({"encode": 0.99}, process=1.95), shares_cores=True)
        assert found.stage == "rest"
        assert "all else takes" in found.sentences[0]

    def test_an_idle_run_says_so(self):
        assert "nothing is busy all the time" in verdict(accounts({}), shares_cores=True).sentences[0]

    def test_every_stage_has_a_cure_and_a_name(self):
        assert set(STAGES) | {"rest"} == set(bottleneck.CURES)
        assert all(bottleneck._doing(stage) for stage in bottleneck.CURES)


def test_the_useful_share_is_of_the_process():
    assert accounts({}, process=2.0).useful_share == pytest.approx(sum(STAGES.values()) / 2)


def test_the_threads_of_libraries_are_counted_apart():
    before = threads.processor()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    used = threads.processor() - before
    assert used.process >= 0.05
    assert used.libraries < 0.05  # this is Python's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(16):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(made / f"{number}.png")
    return made


@pytest.fixture
def plan(tiny_export, folder):
    return Plan(model=str(tiny_export), backend="onnx", batch_sizes=(2,), data=folder, seconds=0, repeats=1)


def slowed(function, seconds):
    """The same, later: asleep, as whatever waits for something else is."""

    def later(*args, **kwargs):
        time.sleep(seconds)
        return function(*args, **kwargs)

    return later


def slow_read(self, indices, read=TreeSource.read):
    for item in read(self, indices):
        time.sleep(0.02)
        yield item


SLOW = {
    "read": (TreeSource, "read", slow_read),
    "decode": (pixels, "decode", slowed(pixels.decode, 0.04)),
    "preprocess": (pixels, "preprocess", slowed(pixels.preprocess, 0.04)),
    "encode": (OrtEncoder, "encode", slowed(OrtEncoder.encode, 0.06)),
    "write": (Store, "write", slowed(Store.write, 0.15)),
}


@pytest.mark.parametrize("stage", SLOW)
def test_a_stage_that_is_slowed_is_named(stage, plan, monkeypatch):
    monkeypatch.setattr(*SLOW[stage])
    monkeypatch.setattr(bottleneck, "FULL", 9.0)  # another's work on these cores is not the point here
    found = pipeline.run(plan)
    ((_, details),) = found.details.items()
    assert details["bottleneck"] == stage
    assert [said for said in found.sentences if f": {stage} bound: " in said]
    idles = f"the encoder idles {1 - details['utilisation']['encode']:.0%}"
    assert any(idles in said for said in found.sentences) is (stage != "encode")
    assert found.rows[0].roof == "roof of " + ("prepare" if stage in bottleneck.POOL else stage)
    assert rows.wrong([found]) == []


def test_other_embeddings_are_wrong(plan, monkeypatch):
    encode = OrtEncoder.encode
    monkeypatch.setattr(OrtEncoder, "encode", lambda self, x: encode(self, x[::-1] if len(x) == 2 else x))
    found = pipeline.run(plan)
    assert not found.rows[0].check.passed
    assert "1 - cosine" in rows.wrong([found])[0]


def test_a_folder_without_images_is_an_error(plan, tmp_path):
    with pytest.raises(UsageError, match="--data"):
        pipeline.run(replace(plan, data=tmp_path))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UsageError, match="no image that decodes"):
        pipeline.run(replace(plan, data=tmp_path))


def test_nan_is_infinitely_far():
    assert streams.cosine_distance(np.array([[np.nan, 1.0]]), np.array([[0.0, 1.0]])) == np.inf
