"""Whatever stops a run, and wherever: the next one ends with the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from images import png, write_tree
from zygote import STOPPED, Stop, Zygote, embed

from semscale.errors import StoreError, StoreLockedError
from semscale.locks import Part, exclusive, part
from semscale.store import Store
from semscale.verify import verify

KINDS = ("img_emb", "text_emb", "metadata", "errors")
COMMAND = [sys.executable, "-c", "import sys; from semscale.cli import run; sys.exit(run())"]


@pytest.fixture(scope="module")
def zygote():
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """23 images in three groups, two of them broken, with texts."""
    names = [f"{group}/{seed}.png" for group in "abc" for seed in range(8)][:23]
    root = write_tree(tmp_path_factory.mktemp("crash") / "images", names)
    (root / "a" / "3.png").write_bytes(b"")
    (root / "b" / "2.png").write_bytes(b"<html>")
    texts = {"a": "a red fox", "b": "cat", "c": "photo of a cat"}
    rows = [f"{name},{texts[name[0]] if name != 'c/0.png' else 'blue'}\n" for name in names]
    (root / "metadata.csv").write_text("file_name,text\n" + "".join(rows))
    return root


@pytest.fixture(scope="module")
def whole(images, model, tmp_path_factory):
    """The store of a run that nothing disturbed."""
    store = tmp_path_factory.mktemp("whole") / "store"
    embed(images, store, model)
    return store


def data(store):
    """Every file of a store and its bytes, also half written ones, but for locks and what else a run keeps beside."""
    names = {str(path.relative_to(store)): path for path in store.rglob("*") if path.is_file()}
    kept = {name: path for name, path in names.items() if not name.startswith((".lock", ".decoding", ".suspects"))}
    return {name: path.read_bytes() for name, path in kept.items()}


def identities(store, shards):
    """What changes when a file of these shards is written again, even with the same bytes."""
    files = [path for shard in shards for kind in KINDS for path in (store / kind).glob(f"{kind}_{shard:05d}.*")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def finished(store):
    return Store(store).finished() if (store / "store.json").exists() else []


def begun(store):
    """The shards of which some file is there."""
    return {int(path.stem.rpartition("_")[2]) for kind in KINDS for path in (store / kind).glob(f"{kind}_*")}


def assert_resumes(images, store, model, whole, changed=()):
    """Resume in this process: what was finished stays untouched, and the result is that of one undisturbed run."""
    assert len(begun(store) - set(finished(store))) <= 1  # the shard to be redone
    done = set(finished(store)) - set(changed)
    before = identities(store, done)
    embed(images, store, model)
    assert identities(store, done) == before
    assert data(store) == data(whole)


def stopped_at(step, how, images, store, model, zygote):
    """Run until that step."""
    if how == "raise":
        with pytest.raises(StoreError, match=r"the disk is full .*run the same command again"):
            embed(images, store, model, Stop(step, how))
        assert not list(store.rglob("*semscale-tmp"))
    else:
        pid = zygote.start(images=images, store=store, model=model, step=step, how=how)
        assert zygote.wait(pid) == STOPPED


def steps_of(how, images, store, model):
    """The steps of a run to stop at in that way: a process ends with half of a file there where it can be half."""
    counting = Stop(-1, how)
    embed(images, store, model, counting)
    wanted = {"raise": ("half", "whole"), "exit": ("whole",), "power": ("half",)}[how]
    return [number for number, kind in enumerate(counting.steps) if kind in wanted]


@pytest.mark.parametrize("how", ["raise", "exit", "power"])
def test_a_run_that_stops_at_any_step_of_writing_resumes(images, whole, tmp_path, model, zygote, how):
    steps = steps_of(how, images, tmp_path / "counted", model)
    assert data(tmp_path / "counted") == data(whole)
    # Of each of three shards' four files and checksums: open, write, flush, rename, flush the folder.
    assert len(steps) >= {"raise": 5, "exit": 3, "power": 2}[how] * 5 * 3
    for step in steps:
        store = tmp_path / f"step-{step}"
        stopped_at(step, how, images, store, model, zygote)
        assert_resumes(images, store, model, whole)
        shutil.rmtree(store)


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_a_run_that_stops_while_it_replaces_what_has_changed_resumes(images, model, tmp_path, zygote, how):
    changing = shutil.copytree(images, tmp_path / "images")
    embed(changing, tmp_path / "old", model)
    (changing / "b" / "1.png").write_bytes(png(99, (31, 17)))
    embed(changing, tmp_path / "new", model)
    shutil.copytree(tmp_path / "old", tmp_path / "counted")
    steps = steps_of(how, changing, tmp_path / "counted", model)
    assert data(tmp_path / "counted") == data(tmp_path / "new") != data(tmp_path / "old")
    assert len(steps) >= {"raise": 2, "exit": 2}[how] * 5 + {"raise": 5, "exit": 3}[how] * 5  # removed, and written
    for step in steps:
        store = shutil.copytree(tmp_path / "old", tmp_path / f"step-{step}")
        stopped_at(step, how, changing, store, model, zygote)
        assert_resumes(changing, store, model, tmp_path / "new", changed=[1])
        shutil.rmtree(store)


def test_a_run_that_stops_again_and_again_resumes(images, whole, tmp_path, model, zygote):
    rng = random.Random(0)
    stops = 0
    while True:
        pid = zygote.start(images=images, store=tmp_path, model=model, step=rng.randrange(5, 40), how="power")
        if zygote.wait(pid) == 0:
            break
        stops += 1
    assert stops >= 3
    assert data(tmp_path) == data(whole)


@pytest.fixture(scope="module")
def many(model, tmp_path_factory):
    """200 images, and their store in forty shards."""
    root = tmp_path_factory.mktemp("many")
    images = write_tree(root / "images", [f"{group}/{seed:02d}.png" for group in "abcd" for seed in range(50)])
    (images / "a" / "07.png").write_bytes(b"")
    embed(images, root / "store", model, shard_size=5)
    return images, root / "store"


def arguments(images, store, model, *more):
    options = ["--model", model, "--backend", "fake", "--shard-size", "5", "--workers", "1", "--quiet", *more]
    return ["embed", str(images), "-o", str(store), *options]


def wait_for(store, shards):
    """Wait until so many shards are finished."""
    deadline = time.monotonic() + 20
    while len(list((store / "errors").glob("errors_*.parquet"))) < shards:
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def wait_until_free(store, *parts):
    """Wait until those who were killed are dead; a command has a child, which ends on its own."""
    locks = [lambda i=i: part(store, Part(i, 4)) for i in parts] or [lambda: exclusive(store)]
    deadline = time.monotonic() + 20
    for lock in locks:
        while True:
            try:
                with lock():
                    break
            except StoreLockedError:
                assert time.monotonic() < deadline
                time.sleep(0.001)


@pytest.mark.parametrize("point", range(1, 21))
def test_a_command_that_is_killed_resumes(many, model, tmp_path, zygote, point):
    images, whole = many
    pid = zygote.start(arguments=arguments(images, tmp_path, model))
    wait_for(tmp_path, point)
    time.sleep(random.Random(point).random() * 0.005)  # anywhere inside the next shard
    os.killpg(pid, signal.SIGKILL)
    assert zygote.wait(pid) == -signal.SIGKILL
    wait_until_free(tmp_path)
    done = finished(tmp_path)
    assert point <= len(done) < 40
    assert len(begun(tmp_path) - set(done)) <= 1
    before = identities(tmp_path, done)
    embed(images, tmp_path, model, shard_size=5)
    assert identities(tmp_path, done) == before
    assert data(tmp_path) == data(whole)


def test_the_installed_command_that_is_killed_resumes_by_itself(many, model, tmp_path):
    """As above, from the start of the interpreter on and with all that the command does."""
    images, whole = many
    command = [*COMMAND, *arguments(images, tmp_path, model)]
    killed = subprocess.Popen(command, start_new_session=True)
    wait_for(tmp_path, 3)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    wait_until_free(tmp_path)
    assert 3 <= len(finished(tmp_path)) < 40
    subprocess.run(command, check=True)
    assert data(tmp_path) == data(whole)


def test_four_parts_at_once_make_one_store(many, model, tmp_path, zygote):
    images, whole = many
    parts = [arguments(images, tmp_path, model, "--shards", f"{i}/4") for i in (1, 2, 3, 4)]
    pids = [zygote.start(arguments=one) for one in parts]
    assert [zygote.wait(pid) for pid in pids] == [0, 0, 0, 0]
    assert data(tmp_path) == data(whole)
    assert verify(tmp_path).problems == []


def test_parts_that_are_killed_resume_beside_those_that_are_not(many, model, tmp_path, zygote):
    images, whole = many
    parts = [arguments(images, tmp_path, model, "--shards", f"{i}/4") for i in (1, 2, 3, 4)]
    pids = [zygote.start(arguments=one) for one in parts]
    wait_for(tmp_path, 4)
    for pid in pids[:2]:
        os.killpg(pid, signal.SIGKILL)
    for pid in pids[:2]:
        assert zygote.wait(pid) == -signal.SIGKILL
    wait_until_free(tmp_path, 1, 2)
    again = [zygote.start(arguments=one) for one in parts[:2]]
    assert [zygote.wait(pid) for pid in [*pids[2:], *again]] == [0, 0, 0, 0]
    left = {name for name in data(tmp_path) if name.endswith("semscale-tmp")}
    assert {name: content for name, content in data(tmp_path).items() if name not in left} == data(whole)
    embed(images, tmp_path, model, shard_size=5)  # a whole run, alone, clears what the killed ones left
    assert data(tmp_path) == data(whole)


def test_parts_hold_every_shard_once(many):
    shards = range(len(finished(many[1])))
    assert sorted(s for i in (1, 2, 3, 4) for s in shards if Part(i, 4).holds(s)) == list(shards)
