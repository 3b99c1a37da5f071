"""Embeddings of earlier runs: taken for the same bytes, encoder and settings, and for nothing else."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from fake_model import IMAGE, write_fake_model
from images import png, write_tree

from semscale import pixels, reuse, run
from semscale.encoders.fake import FakeEncoder
from semscale.errors import StoreMismatchError
from semscale.reuse import Known
from semscale.settings import Settings
from semscale.store import Store
from semscale.verify import verify

NAMES = [f"{prompt}/{seed}.png" for prompt in ("a red fox", "cat") for seed in range(6)]


@pytest.fixture
def images(tmp_path):
    root = write_tree(tmp_path / "images", NAMES)
    (root / "cat" / "2.png").write_bytes(b"<html>not found</html>")
    return root


@pytest.fixture
def elsewhere(images, tmp_path):
    """The same files under other names, in another order."""
    for number, name in enumerate(reversed(NAMES)):
        copy = tmp_path / "elsewhere" / f"{number % 3}" / f"{number:02}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images / name, copy)
    return tmp_path / "elsewhere"


def embed(images, store, model, say=lambda _: None, **options):
    settings = {"shard_size": options.pop("shard_size", 5), "max_pixels": options.pop("max_pixels", None)}
    options = {"model": model, "backend": "fake", "settings": Settings(**settings), **options}
    return run.embedded(images, store, say=say, **options)


@pytest.fixture
def calls(monkeypatch):
    """How many images were decoded and encoded since."""
    found = {"decoded": 0, "encoded": 0}
    encode, decode = FakeEncoder.encode, pixels.decode

    def encoding(self, inputs):
        found["encoded"] += len(inputs) if self.spec.kind == "image" else 0
        return encode(self, inputs)

    def decoding(data, **options):
        found["decoded"] += 1
        return decode(data, **options)

    monkeypatch.setattr(FakeEncoder, "encode", encoding)
    monkeypatch.setattr(pixels, "decode", decoding)
    return found


def rows(store):
    """Everything that is known of each image but its name, by its bytes."""
    table = store.metadata(["sha256", "width", "height"]).to_pylist()
    vectors = store.images.take(np.arange(len(store.images)))
    return {
        row["sha256"]: (row["width"], row["height"], vector.tobytes())
        for row, vector in zip(table, vectors, strict=True)
    }


def same_files(one, other):
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file() and not p.name.startswith(".lock"))
    assert names == sorted(
        str(p.relative_to(other)) for p in other.rglob("*") if p.is_file() and not p.name.startswith(".lock")
    )
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


def test_the_same_bytes_elsewhere_are_neither_decoded_nor_encoded(images, elsewhere, tmp_path, model, calls):
    embed(images, tmp_path / "old", model)
    without = embed(elsewhere, tmp_path / "without", model)
    calls.update(decoded=0, encoded=0)
    said = []
    reused = embed(elsewhere, tmp_path / "new", model, say=said.append, reuse=tmp_path / "old", shard_size=4)
    assert calls == {"decoded": 1, "encoded": 0}  # what cannot be read is tried again
    assert (reused.reused, reused.images_per_second) == (11, None)
    assert rows(reused.store) == rows(without.store)
    assert [line for line in said if "reused: 11" in line]
    again = embed(elsewhere, tmp_path / "again", model, reuse=[str(tmp_path / "old")])
    assert same_files(tmp_path / "without", tmp_path / "again") == [] and again.reused == 11


def test_what_is_new_is_embedded_between_what_is_known(images, tmp_path, model, calls):
    embed(images, tmp_path / "old", model)
    write_tree(images, ["a red fox/99.png", "bear/1.png", "cat/00.png"])
    (images / "bear" / "1.png").write_bytes(png(99, (30, 20)))
    calls.update(decoded=0, encoded=0)
    found = embed(images, tmp_path / "new", model, reuse=tmp_path / "old")
    assert calls["encoded"] == 1  # two of the three have the bytes of others
    assert found.reused == 13 and found.images_per_second > 0
    assert rows(found.store) == rows(embed(images, tmp_path / "plain", model).store)
    assert same_files(tmp_path / "plain", tmp_path / "new") == []


def test_results_and_their_reference_are_cached_too(images, elsewhere, tmp_path, model, calls):
    given = {"model": model, "backend": "fake", "metrics": ["scs", "cmmd"], "reference": images}
    old = run.score(images, out=tmp_path / "old", **given)
    calls.update(decoded=0, encoded=0)
    new = run.score(images, out=tmp_path / "new", **given, reuse=tmp_path / "old")
    assert calls == {"decoded": 2, "encoded": 0}
    assert new.summary["n_reused"] == 11 and old.summary["n_reused"] == 0
    assert new.summary["images_per_second"] is None and new.scores == old.scores
    assert new.summary["parameters"]["reuse"] == [str(tmp_path / "old")]
    assert (tmp_path / "old" / "groups.parquet").read_bytes() == (tmp_path / "new" / "groups.parquet").read_bytes()


OTHERS = [
    ({"decode": "fast"}, "decode 'exact', asked for 'fast'"),
    ({"dtype": "float16"}, "dtype 'float32', asked for 'float16'"),
    ({"backend": "onnx", "precision": "int8"}, "image.precision 'fp32', asked for 'int8'; backend 'fake'"),
]


@pytest.mark.parametrize(("options", "said"), OTHERS)
def test_other_settings_reuse_nothing_and_say_what_differs(images, tmp_path, model, options, said):
    embed(images, tmp_path / "old", model)
    with pytest.raises(StoreMismatchError, match=said):
        embed(images, tmp_path / "new", model, reuse=tmp_path / "old", **options)
    assert not (tmp_path / "new").exists()


def test_other_weights_or_another_size_reuse_nothing(images, tmp_path, model):
    embed(images, tmp_path / "old", model)
    size = dataclasses.replace(IMAGE.preprocess, filter="bilinear")
    for name, said, change in (
        ("weights", "image.sha256 '000000000000'", {"sha256": "1" * 64}),
        ("size", "image.preprocess.filter 'bicubic', asked for 'bilinear'", {"preprocess": size}),
    ):
        other = write_fake_model(tmp_path / name)
        (other / "image" / "model.json").write_text(dataclasses.replace(IMAGE, **change).to_json())
        with pytest.raises(StoreMismatchError, match=said):
            embed(images, tmp_path / "new", str(other), reuse=tmp_path / "old")


def test_an_image_that_would_be_too_large_today_still_is(images, tmp_path, model):
    embed(images, tmp_path / "old", model)
    found = embed(images, tmp_path / "new", model, reuse=tmp_path / "old", max_pixels=100)
    codes = set(found.store.errors(["code"]).column(0).to_pylist())
    assert found.reused == 0 and codes == {"too-large", "not-an-image"}


def test_several_stores_are_asked_in_turn_and_encoders_apart(images, elsewhere, tmp_path, model, calls):
    """Of two encoders one is known, and the other alone has to run."""
    other = write_fake_model(tmp_path / "other")
    renamed = dataclasses.replace(IMAGE, name="fake/other", sha256="2" * 64, dim=7)
    (other / "image" / "model.json").write_text(renamed.to_json())
    embed(images, tmp_path / "half", model)
    both = {"model": model, "backend": "fake", "metrics": ["scs", f"scs@{other}"]}
    plain = run.score(elsewhere, out=tmp_path / "plain", **both)
    calls.update(decoded=0, encoded=0)
    mixed = run.score(elsewhere, out=tmp_path / "mixed", **both, reuse=[tmp_path / "half"])
    assert calls == {"decoded": 12, "encoded": 11} and mixed.scores == plain.scores
    assert mixed.summary["n_reused"] == 11
    for name in ("fake--model", "fake--other"):
        ours, theirs = (Store(tmp_path / out / "stores" / name) for out in ("mixed", "plain"))
        assert rows(ours) == rows(theirs)


def test_pixels_that_a_metric_wants_are_decoded_all_the_same(images, tmp_path, model, calls):
    table = tmp_path / "pairs.csv"
    table.write_text("source,edited\na red fox/0.png,a red fox/1.png\n")
    given = {"model": model, "backend": "fake", "metrics": ["psnr"], "pairs": table}
    old = run.score(images, out=tmp_path / "old", **given)
    calls.update(decoded=0, encoded=0)
    new = run.score(images, out=tmp_path / "new", **given, reuse=tmp_path / "old")
    assert new.scores == old.scores and calls["encoded"] == 0 and calls["decoded"] >= 2


def test_a_touched_file_is_not_encoded_again_and_a_changed_one_alone(images, tmp_path, model, calls):
    embed(images, tmp_path / "store", model)
    before = rows(Store(tmp_path / "store"))
    calls.update(decoded=0, encoded=0)
    for name in NAMES:
        os.utime(images / name, (1, 1))
    found = embed(images, tmp_path / "store", model)
    assert found.changes.changed == 12 and found.reused == 11
    assert calls["encoded"] == 0 and rows(found.store) == before
    (images / "cat" / "0.png").write_bytes(png(777))
    assert embed(images, tmp_path / "store", model).reused == 4 - 1  # of the shard, where one cannot be read
    assert calls["encoded"] == 1
    assert list((tmp_path / "store" / "checksums").glob("*.changed")) == []
    assert verify(tmp_path / "store").problems == []


def test_a_run_that_dies_while_it_embeds_what_changed_ends_like_one_that_did_not(
    images, tmp_path, model, monkeypatch, calls
):
    embed(images, tmp_path / "store", model)
    for name in NAMES:
        os.utime(images / name, (1, 1))
    embed(images, tmp_path / "whole", model)
    write = Store.write

    def dying(self, data):
        if data.shard.index == 1:
            raise KeyboardInterrupt
        write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            embed(images, tmp_path / "store", model)
    assert Store(tmp_path / "store").finished() == [0]
    assert verify(tmp_path / "store").problems == []  # what is not finished is no fault
    calls.update(decoded=0, encoded=0)
    found = embed(images, tmp_path / "store", model)
    assert calls["encoded"] == 0 and found.reused == 6
    assert same_files(tmp_path / "whole", tmp_path / "store") == []


VECTORS, METADATA = "img_emb/img_emb_00001.npy", "metadata/metadata_00001.parquet"
CHECKSUMS = "checksums/00001.sha256"


def cut(file):
    file.write_bytes(file.read_bytes()[:-10])


def flip(file):
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


HARMS = [(VECTORS, cut), (VECTORS, flip), (METADATA, flip), (METADATA, os.unlink), (CHECKSUMS, os.unlink)]


@pytest.mark.parametrize(("kind", "harm"), HARMS)
def test_a_damaged_shard_is_not_used_and_that_is_said(images, tmp_path, model, calls, harm, kind):
    embed(images, tmp_path / "old", model)
    plain = rows(Store(tmp_path / "old"))
    harm(tmp_path / "old" / kind)
    said = []
    calls.update(decoded=0, encoded=0)
    found = embed(images, tmp_path / "new", model, say=said.append, reuse=tmp_path / "old")
    assert rows(found.store) == plain
    assert (found.reused, calls["encoded"]) == (11 - 4, 4)
    assert [line for line in said if "not reused, as damaged or without checksums: 1 of its shards" in line]


def test_a_file_that_is_replaced_meanwhile_is_not_read(images, tmp_path, model):
    store = embed(images, tmp_path / "old", model).store
    digest = store.metadata(["sha256"]).column(0)[0].as_py()
    known = Known([store])
    np.testing.assert_array_equal(known.find(digest).vector, store.images.take(np.array([0]))[0])
    file = tmp_path / "old" / "img_emb" / "img_emb_00000.npy"
    other = tmp_path / "other.npy"
    np.save(other, np.zeros_like(np.load(file)))
    os.replace(other, file)
    assert known.find(digest) is None
    file.unlink()
    assert known.find(digest) is None
    assert known.find("0" * 64) is None and Known([]).find(digest) is None


def test_digests_that_begin_alike_are_told_apart(images, tmp_path, model):
    known = Known([embed(images, tmp_path / "old", model).store])
    digest = Store(tmp_path / "old").metadata(["sha256"]).column(0)[3].as_py()
    assert known.find(digest) is not None
    assert known.find(digest[:16] + "0" * 48) is None


def test_a_note_is_no_part_of_the_identity():
    one, other = (reuse.identity(dataclasses.replace(IMAGE, note=note), "onnx", "exact", "float32") for note in "ab")
    assert one == other != dataclasses.replace(one, backend="openvino")


def test_the_command_tells_what_it_reused(images, tmp_path, model):
    from click.testing import CliRunner

    from semscale.cli import main

    common = ["embed", str(images), "--model", model, "--backend", "fake", "--json", "--max-error-rate", "1"]
    first = CliRunner().invoke(main, [*common, "-o", str(tmp_path / "old")])
    done = CliRunner().invoke(main, [*common, "-o", str(tmp_path / "new"), "--reuse", str(tmp_path / "old")])
    assert [json.loads(run.stdout.splitlines()[-1])["n_reused"] for run in (first, done)] == [0, 11]
    assert "reused: 11 embeddings of images with the same bytes" in done.stdout
    refused = [*common, "-o", str(tmp_path / "other"), "--reuse", str(tmp_path / "old"), "--decode", "fast"]
    refusal = CliRunner().invoke(main, refused)
    nowhere = CliRunner().invoke(main, [*common, "-o", str(tmp_path / "other"), "--reuse", str(images)])
    assert nowhere.exit_code == 1 and "not a store" in nowhere.stderr
    assert refusal.exit_code == 1 and "decode 'exact', asked for 'fast'" in refusal.stderr
