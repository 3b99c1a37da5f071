import dataclasses
import filecmp
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from fake_model import IMAGE
from images import png, write_tree
from PIL import Image

from semscale import pipeline, pixels, planning, run
from semscale.encoders.fake import FakeEncoder
from semscale.errors import SourceError, StoreLockedError, StoreMismatchError, UsageError
from semscale.filling import place
from semscale.locks import exclusive
from semscale.settings import Settings
from semscale.sources import open_source
from semscale.timing import Clock
from semscale.tokens import Tokenizer

NAMES = [
    f"{model}/{prompt}/{seed}.png" for model in ("m1", "m2") for prompt in ("a red fox", "cat") for seed in range(6)
]


@pytest.fixture
def images(tmp_path):
    root = write_tree(tmp_path / "images", NAMES)
    (root / "m1" / "cat" / "2.png").write_bytes(b"<html>not found</html>")
    (root / "m2" / "cat" / "3.png").write_bytes(b"")
    return root


def embed(images, store, model, **settings):
    return run.embed(images, store, model=model, backend="fake", settings=Settings(**{"shard_size": 5, **settings}))


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".lock")
    )


def assert_same_bytes(one, other):
    assert files(one) == files(other)
    assert filecmp.cmpfiles(one, other, files(one), shallow=False) == (files(one), [], [])


def test_every_input_is_a_row_or_a_recorded_error(images, tmp_path, model):
    store = embed(images, tmp_path / "store", model)
    metadata, errors = store.metadata(), store.errors()
    assert len(store.plan()) == len(NAMES) == 24
    assert sorted(metadata.column("key").to_pylist() + errors.column("key").to_pylist()) == sorted(NAMES)
    assert {e["key"]: e["code"] for e in errors.to_pylist()} == {
        "m1/cat/2.png": "not-an-image",
        "m2/cat/3.png": "empty-file",
    }
    assert errors.column("group").to_pylist() == ["cat", "cat"]
    row = metadata.to_pylist()[0]
    assert (row["caption"], row["model"], row["seed"], row["width"], row["height"]) == ("a red fox", "m1", 0, 24, 20)


def test_row_i_of_the_metadata_is_vector_i(images, tmp_path, model):
    from semscale.decode import decode
    from semscale.preprocess import preprocess

    store = embed(images, tmp_path / "store", model, batch_size=4, workers=3)
    encoder = FakeEncoder(IMAGE)
    for row, key in enumerate(store.metadata(["key"]).column("key").to_pylist()):
        pixels = preprocess(decode((images / key).read_bytes()), IMAGE.preprocess)
        np.testing.assert_array_equal(store.images.take(np.array([row]))[0], encoder.encode(pixels[None])[0])


@pytest.mark.parametrize(
    "settings", [{"batch_size": 1, "workers": 1}, {"batch_size": 64, "workers": 4}, {"shard_size": 24}]
)
def test_results_do_not_depend_on_batches_workers_or_shards(images, tmp_path, model, settings):
    one = embed(images, tmp_path / "one", model)
    other = embed(images, tmp_path / "other", model, **settings)
    everything = np.arange(len(one.images))
    assert one.metadata(["key"]).equals(other.metadata(["key"]))
    np.testing.assert_array_equal(one.images.take(everything), other.images.take(everything))
    np.testing.assert_array_equal(one.texts.take(one.text_rows()), other.texts.take(other.text_rows()))


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_a_run_that_was_interrupted_ends_byte_for_byte_like_one_that_was_not(
    images, tmp_path, model, monkeypatch, shards
):
    embed(images, tmp_path / "whole", model)
    write, written = pipeline.Store.write, []

    def write_some(self, data):
        if len(written) == shards:
            raise KeyboardInterrupt
        written.append(data.shard.index)
        write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Store, "write", write_some)
        with pytest.raises(KeyboardInterrupt):
            embed(images, tmp_path / "cut", model)
    assert pipeline.Store(tmp_path / "cut").finished() == list(range(shards))
    embed(images, tmp_path / "cut", model)
    assert_same_bytes(tmp_path / "whole", tmp_path / "cut")


def test_finished_shards_are_not_read_again(images, tmp_path, model, monkeypatch):
    before = embed(images, tmp_path / "store", model).metadata()
    monkeypatch.setattr(FakeEncoder, "encode", lambda *_: pytest.fail("encoded again"))
    assert embed(images, tmp_path / "store", model).metadata().equals(before)


def test_a_folder_that_grew_is_embedded_where_it_is_new(images, tmp_path, model):
    before = embed(images, tmp_path / "store", model).metadata()
    write_tree(images, ["m1/a red fox/99.png", "m3/cat/1.png"])
    store = embed(images, tmp_path / "store", model)
    assert store.metadata().slice(0, len(before)).equals(before)
    assert store.metadata().slice(len(before)).column("key").to_pylist() == ["m1/a red fox/99.png", "m3/cat/1.png"]
    assert store.plan().column("shard").to_pylist()[-2:] == [5, 5]


def test_what_vanished_between_planning_and_reading_is_recorded(images, tmp_path, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed(images, tmp_path / "store", model)
    (images / "m1" / "a red fox" / "0.png").unlink()
    errors = embed(images, tmp_path / "store", model).errors()
    assert errors.to_pylist()[0]["key"] == "m1/a red fox/0.png"
    assert errors.to_pylist()[0]["code"] == "missing"


def test_limit_takes_the_first_and_a_later_run_the_rest(images, tmp_path, model):
    store = embed(images, tmp_path / "store", model, limit=7)
    assert store.plan().column("key").to_pylist() == sorted(NAMES)[:7]
    assert len(embed(images, tmp_path / "store", model).plan()) == 24


def test_each_distinct_text_is_encoded_once(images, tmp_path, model, monkeypatch):
    seen = []
    encode = FakeEncoder.encode
    monkeypatch.setattr(FakeEncoder, "encode", lambda self, x: seen.append((self.spec.kind, x)) or encode(self, x))
    embed(images, tmp_path / "store", model)
    batches = [np.unique(ids, axis=0) for kind, ids in seen if kind == "text"]
    assert sum(map(len, batches)) == 2


def test_another_model_or_source_is_refused(images, tmp_path, model):
    embed(images, tmp_path / "store", model)
    shutil.copytree(images, tmp_path / "copy")
    with pytest.raises(StoreMismatchError, match="begun with source"):
        embed(tmp_path / "copy", tmp_path / "store", model)
    with pytest.raises(SourceError, match="no such file or folder"):
        embed(tmp_path / "gone", tmp_path / "store", model)


def test_progress_counts_every_input(images, tmp_path, model):
    told = []
    run.embed(images, tmp_path / "s", model=model, backend="fake", on_progress=told.append)
    assert (told[-1].done, told[-1].failed, told[-1].total) == (24, 2, 24)
    assert [p.done for p in told] == sorted(p.done for p in told)


def test_queues_are_bounded(images, tmp_path, model, monkeypatch):
    """However slow the encoder is, only so many images are decoded ahead of it."""
    decoded, most = [0], [0]
    prepare, encode = pixels.Preparer._pixels, FakeEncoder.encode
    write_tree(images, [f"m1/b/{seed}.png" for seed in range(200)])

    def counting(self, sample, position):
        decoded[0] += 1
        return prepare(self, sample, position)

    def slow(self, inputs):
        time.sleep(0.005)
        most[0] = max(most[0], decoded[0])
        decoded[0] -= len(inputs)
        return encode(self, inputs)

    monkeypatch.setattr(pixels.Preparer, "_pixels", counting)
    monkeypatch.setattr(FakeEncoder, "encode", slow)
    embed(images, tmp_path / "store", model, batch_size=2, workers=2, shard_size=500)
    assert 0 < most[0] <= 2 * (pipeline.BATCHES_AHEAD + 2) + 4 * 2 + 2


def test_inputs_that_changed_are_embedded_again_and_no_other(images, tmp_path, model):
    before = embed(images, tmp_path / "store", model)
    kept = {row["key"]: row["sha256"] for row in before.metadata().to_pylist()}
    (images / "m1" / "a red fox" / "0.png").write_bytes(png(1234, (31, 17)))
    (images / "m2" / "cat" / "3.png").write_bytes(png(77))  # was empty
    source = open_source(images)
    assert planning.discard_changed(before, source, planning.index_of(source), Settings()).changed == 2
    assert before.finished() == [1, 2, 3]
    store = embed(images, tmp_path / "store", model)
    now = {row["key"]: row["sha256"] for row in store.metadata().to_pylist()}
    assert {key for key in now if now[key] != kept.get(key)} == {"m1/a red fox/0.png", "m2/cat/3.png"}
    assert store.errors(["key"]).column("key").to_pylist() == ["m1/cat/2.png"]
    assert planning.discard_changed(store, source, planning.index_of(source), Settings()) == planning.Changes(0, 0, 0)


def test_a_caption_that_changed_is_scored_anew(tmp_path, model):
    images = write_tree(tmp_path / "images", ["a/1.png", "a/2.png"])
    for text in ("a red fox", "cat"):
        (images / "metadata.csv").write_text(f"file_name,text\na/1.png,{text}\na/2.png,{text}\n")
        store = embed(images, tmp_path / "store", model)
        assert set(store.metadata(["caption"]).column(0).to_pylist()) == {text}


def test_a_shard_that_was_cut_off_leaves_nothing_behind_when_its_inputs_are_gone(images, tmp_path, model):
    embed(images, tmp_path / "store", model)
    (tmp_path / "store" / "errors" / "errors_00000.parquet").unlink()  # as a kill between two files leaves it
    for key in sorted(NAMES)[:5]:
        (images / key).unlink()
    store = embed(images, tmp_path / "store", model)
    assert len(store.images) + len(store.errors()) == len(store.plan()) == 24
    assert store.errors(["code"]).column(0).to_pylist()[:5] == ["missing"] * 5


def test_another_back_end_is_refused(images, tmp_path, model):
    embed(images, tmp_path / "store", model)
    store = pipeline.Store(tmp_path / "store")
    assert store.spec.image.note == "fake back end: the scores mean nothing"
    other = dataclasses.replace(store.spec, backend="onnx")
    with pytest.raises(StoreMismatchError, match="begun with backend 'fake', asked for 'onnx'"):
        pipeline.Store.create(tmp_path / "store", other)


def test_two_runs_cannot_fill_one_store(images, tmp_path, model):
    with exclusive(tmp_path / "store"), pytest.raises(StoreLockedError):
        embed(images, tmp_path / "store", model)


def test_a_limit_below_what_is_there_is_refused(images, tmp_path, model):
    embed(images, tmp_path / "store", model)
    with pytest.raises(UsageError, match=r"limit 3: .* already holds 24"):
        embed(images, tmp_path / "store", model, limit=3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"decode": "Exact"},
        {"dtype": "int8"},
        {"clip_score": "best"},
        {"settings": {"workers": 0}},
        {"settings": {"limit": 0}},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=r"choose from|at least 1"):
        run.Options(**{k: Settings(**v) if k == "settings" else v for k, v in wrong.items()})


def test_the_modes_differ_by_their_pixels_alone(tmp_path, model, monkeypatch):
    """JPEGs that "fast" reduces, as the encoder is given them."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        noise = Image.fromarray(rng.integers(0, 256, (100, 100, 3), np.uint8))
        noise.save(tmp_path / "images" / f"{number}.jpg")
    seen, encode = {}, FakeEncoder.encode
    for decode in ("exact", "close", "fast"):
        seen[decode] = []
        watch = lambda self, x, seen=seen[decode]: seen.append(x) or encode(self, x)  # noqa: E731
        monkeypatch.setattr(FakeEncoder, "encode", watch)
        store = run.embed(tmp_path / "images", tmp_path / decode, model=model, backend="fake", decode=decode)
        assert store.spec.decode == decode
    exact, close, fast = (np.concatenate(batches).astype(int) for batches in seen.values())
    assert abs(close - exact).max() == 1  # torch's rounding, and nothing else
    assert abs(fast - exact).max() > 1


def test_every_mode_records_the_true_size(tmp_path, model):
    (tmp_path / "images").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (240, 180), (200, 10, 10)).save(tmp_path / "images" / "a.jpg", exif=turned)
    Image.new("RGB", (240, 180), (10, 200, 10)).save(tmp_path / "images" / "b.jpg")
    for decode in ("exact", "close", "fast"):
        store = run.embed(tmp_path / "images", tmp_path / decode, model=model, backend="fake", decode=decode)
        sizes = store.metadata(["width", "height"]).to_pylist()
        assert sizes == [{"width": 180, "height": 240}, {"width": 240, "height": 180}]


def test_writing_does_not_count_as_encoding(images, tmp_path, model, monkeypatch):
    write = pipeline.Store.write
    monkeypatch.setattr(pipeline.Store, "write", lambda self, data: (time.sleep(0.05), write(self, data)))
    clock = Clock()
    options = run.Options(model=model, backend="fake", settings=Settings(shard_size=5))
    places = [place(run.prepared(options), options, tmp_path / "store")]
    run.fill([open_source(images)], places, options, clock=clock, on_progress=lambda _: None)
    seconds = clock.seconds()
    assert seconds["write"] > 5 * 0.05 > seconds["encode images"] + seconds["encode texts"]


def test_texts_seen_last_are_remembered(monkeypatch, model):
    from semscale import texts
    from semscale.encoders import load_spec, open_encoder

    monkeypatch.setattr(texts, "REMEMBERED", 3)
    folder = Path(model) / "text"
    encoder, asked = open_encoder(folder, backend="fake"), []
    monkeypatch.setattr(
        FakeEncoder, "encode", lambda self, x, run=FakeEncoder.encode: asked.append(len(x)) or run(self, x)
    )
    tower = texts.TextTower(load_spec(folder), lambda: (Tokenizer(folder), encoder))
    for batch in (["a", "b", "c"], ["a"], ["d"], ["a", "c", "d"], ["b"]):
        tower.encode(batch)
    assert len(asked) == 3  # a b c together, then d in the place of b, then b again
