import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from fake_model import IMAGE, TEXT

from semscale.errors import StoreError, StoreLockedError, StoreMismatchError
from semscale.files import exclusive, replacing
from semscale.model import Failure, Shard
from semscale.store import METADATA, ShardData, Store, StoreSpec, open_store

SPEC = StoreSpec("/images", "group/image", "text", "exact", "float32", "", "onnx", IMAGE, TEXT)


def metadata(keys, text_rows):
    columns = {name: [None] * len(keys) for name in METADATA.names}
    return pa.table({**columns, "key": keys, "text_row": text_rows}, schema=METADATA)


def fill(store):
    """Three shards: mixed, all failed, and one with other texts."""
    store.append_plan(list("abcdefg"), [f"/images/{k}" for k in "abcdefg"], [0, 0, 0, 1, 1, 2, 2])
    vectors = np.arange(48, dtype=np.float32).reshape(4, 12)
    failure = Failure(
        "b", "/images/b", "truncated", "cut short", group="g", text="t", model="m", seed=3, fingerprint="f"
    )
    lost = [Failure(k, f"/images/{k}", "missing", "gone") for k in "de"]
    shards = [
        ShardData(Shard(0, 0, 3), vectors[:2], vectors[:1] + 100, metadata(["a", "c"], [0, None]), [failure]),
        ShardData(Shard(1, 3, 5), vectors[:0], vectors[:0], metadata([], []), lost),
        ShardData(Shard(2, 5, 7), vectors[2:], vectors[:2] + 200, metadata(["f", "g"], [1, 0]), []),
    ]
    for shard in shards:
        store.write(shard)
    return vectors


def test_what_was_written_is_read_back(tmp_path):
    vectors = fill(Store.create(tmp_path, SPEC))
    store = open_store(tmp_path)
    assert store.spec == SPEC
    assert store.finished() == [0, 1, 2]
    assert store.metadata(["key"]).column("key").to_pylist() == ["a", "c", "f", "g"]
    np.testing.assert_array_equal(store.images.take(np.array([3, 0, 2])), vectors[[3, 0, 2]])
    assert store.images.shape == (4, 12)
    rows = store.text_rows()
    assert rows.tolist() == [0, -1, 2, 1]
    np.testing.assert_array_equal(store.texts.take(rows[[0, 2, 3]])[:, 0], [100, 212, 200])
    assert store.errors().to_pylist()[0] == {
        "key": "b", "uri": "/images/b", "code": "truncated", "message": "cut short",
        "group": "g", "caption": "t", "model": "m", "seed": 3, "fingerprint": "f",
    }  # fmt: skip
    assert len(store.images) + len(store.errors()) == len(store.plan()) == 7


def test_files_of_a_shard_are_absent_when_it_has_no_vectors(tmp_path):
    fill(Store.create(tmp_path, SPEC))
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert names == [
        "errors/errors_00000.parquet", "errors/errors_00001.parquet", "errors/errors_00002.parquet",
        "img_emb/img_emb_00000.npy", "img_emb/img_emb_00002.npy",
        "metadata/metadata_00000.parquet", "metadata/metadata_00002.parquet",
        "plan/part-00000.parquet", "store.json", "text_emb/text_emb_00000.npy", "text_emb/text_emb_00002.npy",
    ]  # fmt: skip


def test_float16_is_stored_as_float16(tmp_path):
    store = Store.create(tmp_path, dataclasses.replace(SPEC, dtype="float16"))
    fill(store)
    assert np.load(tmp_path / "img_emb" / "img_emb_00000.npy").dtype == np.float16
    assert store.images.take(np.array([1])).dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "/other"}, "begun with source '/images', asked for '/other'"),
        ({"image": dataclasses.replace(IMAGE, sha256="f" * 64)}, "begun with image"),
        ({"text_prefix": "A photo depicts "}, "begun with text_prefix ''"),
        ({"text": None}, "begun with text"),
        ({"dtype": "float16"}, "choose another output folder, or the same settings"),
    ],
)
def test_another_specification_is_refused(tmp_path, change, message):
    Store.create(tmp_path, SPEC)
    assert Store.create(tmp_path, SPEC).spec == SPEC
    with pytest.raises(StoreMismatchError, match=message):
        Store.create(tmp_path, dataclasses.replace(SPEC, **change))


def test_a_shard_that_does_not_account_for_every_item_is_never_written(tmp_path):
    store = Store.create(tmp_path, SPEC)
    short = ShardData(Shard(0, 0, 3), np.zeros((2, 12)), np.zeros((0, 12)), metadata(["a", "b"], [None, None]), [])
    with pytest.raises(AssertionError, match="2 rows for 3 items"):
        store.write(short)
    assert store.finished() == []


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="not a store"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 1}')
    with pytest.raises(StoreError, match="not a store specification"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="another version"):
        open_store(tmp_path)


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_runs_cannot_write_to_one_place(tmp_path):
    with exclusive(tmp_path), pytest.raises(StoreLockedError, match="another run"), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        assert (tmp_path / ".lock").exists()
