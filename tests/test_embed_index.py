"""`embed --index`: wherever a run stops, its index holds what the store does or is left aside; the next mends it."""

import itertools
import json
import os
import random
import shutil
import signal

import numpy as np
import pytest
from click.testing import CliRunner
from images import png, write_tree
from test_crash import arguments, finished, wait_for, wait_until_free
from zygote import STOPPED, Stop, Zygote, embed

from semscale import filling, find, run, streaming
from semscale.cli import main
from semscale.errors import MissingDependencyError, StoreError, UsageError
from semscale.filling import place
from semscale.indexing import index_file, open_index, present, record_file
from semscale.locks import Part
from semscale.search import faiss_library
from semscale.search.index import unit_rows
from semscale.settings import Settings
from semscale.sources import open_source
from semscale.store import Store
from semscale.streaming import Stream
from semscale.timing import Clock

faiss = pytest.importorskip("faiss", reason="needs the cpu extra")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small indexes wait for threads more than they work."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="module")
def zygote():
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """23 images in three groups, two of them broken: three shards of 8, 8 and 7."""
    names = [f"{group}/{seed}.png" for group in "abc" for seed in range(8)][:23]
    root = write_tree(tmp_path_factory.mktemp("indexed") / "images", names)
    (root / "a" / "3.png").write_bytes(b"")
    (root / "b" / "2.png").write_bytes(b"<html>")
    return root


@pytest.fixture(scope="module")
def whole(images, model, tmp_path_factory):
    """The store of a run that nothing disturbed, without an index."""
    store = tmp_path_factory.mktemp("whole") / "store"
    embed(images, store, model)
    return store


def more(images):
    """Six more images, unlike the others."""
    (images / "d").mkdir()
    for seed in range(30, 36):
        (images / "d" / f"{seed}.png").write_bytes(png(seed))


def vectors(store):
    """Every file of embeddings and its bytes."""
    return {path.name: path.read_bytes() for path in (store / "img_emb").iterdir()}


def assert_fresh(path, kind="flat"):
    """Every row of the store is in the index under its own number, and nothing else is."""
    store = Store(path)
    index, record = open_index(store, kind)
    rows = np.arange(len(store.images))
    assert len(index) == record.n_indexed == record.store.rows == len(rows)
    assert index.search(unit_rows(store.images.take(rows))[0], 1)[:, 0].tolist() == rows.tolist()


def assert_they_agree(path):
    """Whatever state a store is in: a search answers from all that it holds, or says what is wrong with the index."""
    if not (path / "store.json").exists() or not len(Store(path).images):
        return
    said = []
    query = find.Query("key", Store(path).metadata(["key"]).column("key")[0].as_py())
    found, exact = find.search(path, query, say=said.append), find.search(path, query, exact=True)
    assert [(hit.key, hit.similarity) for hit in found.hits] == [(hit.key, hit.similarity) for hit in exact.hits]
    if found.index is not None:
        assert_fresh(path, found.index)
    elif present(path):
        [line] = said
        assert "index left aside" in line and "`semscale index" in line


def only_index(path):
    """The files in the index folder, also half written ones."""
    return sorted(file.name for file in (path / "index").iterdir())


# -- a run that nothing disturbs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "auto"])
def test_a_run_ends_with_a_fresh_index_of_what_was_embedded(images, whole, tmp_path, model, kind):
    embed(images, tmp_path, model, index=kind)
    kind = "flat" if kind == "auto" else kind
    assert_fresh(tmp_path, kind)
    assert len(open_index(Store(tmp_path), kind)[0]) == 21  # not the two that failed
    assert only_index(tmp_path) == [f"{kind}.faiss", f"{kind}.json"]
    assert vectors(tmp_path) == vectors(whole)


def test_shards_are_added_as_they_are_finished_and_in_order(images, tmp_path, model, monkeypatch):
    added, add = [], Stream.add_shard

    def adding(stream, index):
        assert finished(tmp_path)[-1] == index
        added.append(index)
        add(stream, index)

    monkeypatch.setattr(Stream, "add_shard", adding)
    monkeypatch.setattr(streaming, "up_to_date", lambda *_: pytest.fail("there is nothing left to build"))
    embed(images, tmp_path, model, index="flat")
    assert added == [0, 1, 2]


def test_the_index_of_a_growing_source_grows_with_it(images, tmp_path, model, monkeypatch):
    """One stream for all rounds, also where an image changed between them."""
    growing = shutil.copytree(images, tmp_path / "images")
    streams = []
    monkeypatch.setattr(
        filling, "Stream", lambda *given, **named: streams.append(Stream(*given, **named)) or streams[-1]
    )

    def rounds():
        yield open_source(growing)
        more(growing)
        yield open_source(growing)
        (growing / "a" / "0.png").write_bytes(png(99))
        yield open_source(growing)

    chosen = run.Options(model=model, backend="fake", index="flat", settings=Settings(shard_size=8))
    places = [place(run.prepared(chosen), chosen, tmp_path / "store")]
    run.fill(rounds(), places, chosen, clock=Clock(), on_progress=lambda _: None)
    assert len(streams) == 1 and len(Store(tmp_path / "store").images) == 27
    assert_fresh(tmp_path / "store")


def test_a_store_of_nothing_but_failures_has_no_index(tmp_path, model):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(b"")
    said = []
    run.embed(tmp_path / "images", tmp_path / "store", model=model, backend="fake", index="flat", say=said.append)
    assert said[-1] == "no vectors, so no index" and not (tmp_path / "store" / "index").exists()


def test_scores_from_python_may_keep_one_too(images, tmp_path, model):
    done = run.score(images, out=tmp_path / "out", model=model, backend="fake", index="flat")
    [store] = (tmp_path / "out" / "stores").iterdir()
    assert_fresh(store)
    assert done.summary["seconds"]["index"] > 0


def test_the_command_says_what_it_made_and_search_uses_it(images, tmp_path, model):
    given = ["embed", str(images), "-o", str(tmp_path), "--model", model, "--backend", "fake"]
    made = CliRunner().invoke(main, [*given, "--index", "flat", "--max-error-rate", "1", "--json"])
    assert made.exit_code == 0, made.output
    assert "flat index of 21 vectors, recall@10 100.00% on 3 held-out vectors" in made.output
    found = CliRunner().invoke(main, ["search", str(tmp_path), "--key", "b/0.png", "--json"])
    assert json.loads(found.stdout.splitlines()[-1])["index"] == "flat"


# -- what is refused before anything is embedded ----------------------------------------------------------------------


def refused(error, match, images, store, model, **options):
    with pytest.raises(error, match=match):
        run.embed(images, store, model=model, backend="fake", **options)
    assert not store.exists()


def test_parts_are_refused(images, tmp_path, model):
    parts = Settings(part=Part(1, 2))
    told = r"--index and --shards: .* run `semscale index STORE` when all parts are done"
    refused(UsageError, told, images, tmp_path / "store", model, index="flat", settings=parts)
    given = ["embed", str(images), "-o", str(tmp_path / "store"), "--model", model, "--backend", "fake"]
    assert CliRunner().invoke(main, [*given, "--index", "flat", "--shards", "1/2"]).exit_code == 2
    assert not (tmp_path / "store").exists()


def test_what_cannot_be_made_is_refused(images, tmp_path, model, monkeypatch):
    refused(UsageError, "unknown kind of index 'lsh'", images, tmp_path / "store", model, index="lsh")
    monkeypatch.setattr(faiss_library, "is_installed", lambda: False)
    monkeypatch.setattr(run, "open_sources", lambda *_, **__: pytest.fail("it was known before"))
    refused(MissingDependencyError, "needs faiss", images, tmp_path / "store", model, index="auto")


def test_too_few_for_a_compressed_index_are_refused_before_the_first_is_embedded(images, tmp_path, model):
    with pytest.raises(UsageError, match="at least 16384 vectors, and there are 23; choose flat"):
        embed(images, tmp_path, model, index="ivfpq")
    assert finished(tmp_path) == []


# -- a run after another ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_run_with_nothing_to_embed_makes_keeps_and_mends_the_index(images, tmp_path, model, kind):
    embed(images, tmp_path, model)
    embed(images, tmp_path, model, index=kind)
    assert_fresh(tmp_path, kind)
    made = record_file(tmp_path, kind).read_bytes()
    embed(images, tmp_path, model, index=kind)
    assert record_file(tmp_path, kind).read_bytes() == made  # with the seconds it took: kept
    index_file(tmp_path, kind).write_bytes(b"cut off")
    assert_they_agree(tmp_path)
    embed(images, tmp_path, model, index=kind)
    assert_fresh(tmp_path, kind)


def test_a_run_without_it_leaves_the_index_behind_and_one_with_it_catches_up(images, tmp_path, model):
    growing = shutil.copytree(images, tmp_path / "images")
    embed(growing, tmp_path / "store", model, index="flat")
    more(growing)
    embed(growing, tmp_path / "store", model)
    with pytest.raises(StoreError, match="1 new shard came to the store since"):
        open_index(Store(tmp_path / "store"), "flat")
    assert_they_agree(tmp_path / "store")
    embed(growing, tmp_path / "store", model, index="flat")
    assert_fresh(tmp_path / "store")


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_what_changed_is_changed_in_the_index(images, tmp_path, model, kind):
    """A new picture, one that can be read now, and one that no longer can: rows come, go and move."""
    changing = shutil.copytree(images, tmp_path / "images")
    embed(changing, tmp_path / "store", model, index=kind)
    (changing / "a" / "3.png").write_bytes(png(98))
    (changing / "b" / "1.png").write_bytes(png(99))
    (changing / "c" / "0.png").write_bytes(b"")
    embed(changing, tmp_path / "store", model, index=kind)
    assert len(Store(tmp_path / "store").images) == 21
    assert_fresh(tmp_path / "store", kind)
    embed(changing, tmp_path / "undisturbed", model)
    assert vectors(tmp_path / "store") == vectors(tmp_path / "undisturbed")


# -- a run that is stopped --------------------------------------------------------------------------------------------


def steps_of_the_index(how, images, store, model, monkeypatch):
    """The steps of a run at which it saves its index, and those just before and after."""
    counting, saves, save = Stop(-1, how), [], streaming.save

    def counted(*given, **named):
        start = len(counting.steps)
        record = save(*given, **named)
        saves.append(range(start - 1, len(counting.steps) + 1))
        return record

    with monkeypatch.context() as patched:
        patched.setattr(streaming, "save", counted)
        embed(images, store, model, counting, index="flat")
    assert len(saves) == 2  # with two shards in, and in the end
    wanted = {"raise": ("half", "whole"), "exit": ("whole",), "power": ("half",)}[how]
    steps = [step for step in itertools.chain(*saves) if step < len(counting.steps)]
    return [step for step in steps if counting.steps[step] in wanted]


@pytest.mark.parametrize("how", ["raise", "exit", "power"])
def test_a_run_that_stops_while_it_saves_the_index_resumes(images, whole, tmp_path, model, zygote, monkeypatch, how):
    steps = steps_of_the_index(how, images, tmp_path / "counted", model, monkeypatch)
    # Of the index: flush, rename, flush the folder; of its record the same, and opened and written before.
    assert len(steps) >= {"raise": 8, "exit": 5, "power": 3}[how] * 2
    for step in steps:
        store = tmp_path / f"step-{step}"
        if how == "raise":
            with pytest.raises(StoreError, match=r"the disk is full .*run the same command again"):
                embed(images, store, model, Stop(step, how), index="flat")
        else:
            pid = zygote.start(images=images, store=store, model=model, step=step, how=how, index="flat")
            assert zygote.wait(pid) == STOPPED
        assert_they_agree(store)
        embed(images, store, model, index="flat")
        assert_fresh(store)
        assert only_index(store) == ["flat.faiss", "flat.json"] and vectors(store) == vectors(whole)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
@pytest.mark.parametrize("shard", [0, 1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_stops_around_the_adding_of_a_shard_resumes(images, tmp_path, model, monkeypatch, kind, shard, when):
    changing = shutil.copytree(images, tmp_path / "images")
    embed(changing, tmp_path / "store", model, index=kind)
    for seed, name in enumerate(("a/3.png", "b/1.png", "c/2.png"), start=97):  # all three shards are embedded again
        (changing / name).write_bytes(png(seed))
    add = Stream.add_shard

    def stopping(stream, index):
        if when == "after":
            add(stream, index)
        if index == shard:
            raise KeyboardInterrupt
        if when == "before":
            add(stream, index)

    with monkeypatch.context() as patched:
        patched.setattr(Stream, "add_shard", stopping)
        with pytest.raises(KeyboardInterrupt):
            embed(changing, tmp_path / "store", model, index=kind)
    assert shard in finished(tmp_path / "store")  # and perhaps the next, which was waiting for the writer
    assert_they_agree(tmp_path / "store")
    embed(changing, tmp_path / "store", model, index=kind)
    assert len(Store(tmp_path / "store").images) == 22
    assert_fresh(tmp_path / "store", kind)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """200 images, for forty shards."""
    root = tmp_path_factory.mktemp("many")
    images = write_tree(root / "images", [f"{group}/{seed:02d}.png" for group in "abcd" for seed in range(50)])
    (images / "a" / "07.png").write_bytes(b"")
    return images


@pytest.mark.parametrize("point", [2, 14, 25, 39])
def test_a_command_that_is_killed_resumes_with_its_index(many, model, tmp_path, zygote, point):
    given = arguments(many, tmp_path, model, "--index", "hnsw")
    for shards in (point // 2, point):  # and killed again
        pid = zygote.start(arguments=given)
        wait_for(tmp_path, shards)
        os.killpg(pid, signal.SIGKILL)
        assert zygote.wait(pid) == -signal.SIGKILL
        wait_until_free(tmp_path)
        assert_they_agree(tmp_path)
    assert zygote.wait(zygote.start(arguments=given)) == 0
    assert len(Store(tmp_path).images) == 199
    assert_fresh(tmp_path, "hnsw")


def test_a_run_that_stops_again_and_again_while_images_change_is_never_wrong(images, tmp_path, model, zygote):
    changing = shutil.copytree(images, tmp_path / "images")
    store, rng, stops = tmp_path / "store", random.Random(1), 0
    for seed in range(16):
        name = rng.choice(["a/0.png", "b/4.png", "c/5.png"])
        (changing / name).write_bytes(png(100 + seed, (24, 20 + seed)))
        how, step = rng.choice(["exit", "power"]), rng.randrange(0, 90)
        ended = zygote.wait(zygote.start(images=changing, store=store, model=model, step=step, how=how, index="flat"))
        stops += ended == STOPPED
        assert_they_agree(store)
        if ended == 0:
            assert_fresh(store)
    assert 4 <= stops < 16
    embed(changing, store, model, index="flat")
    assert_fresh(store)
