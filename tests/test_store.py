import dataclasses
import errno
import os
import re
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_model import IMAGE, TEXT

from semscale import files
from semscale.errors import StoreError, StoreMismatchError
from semscale.model import Failure, Shard, Tokens
from semscale.store import METADATA, PLAN_ROWS, ShardData, Store, StoreSpec, open_store

SPEC = StoreSpec("/images", "group/image", "text", "exact", "float32", "", "onnx", IMAGE, TEXT)


def metadata(keys, text_rows):
    columns = {name: [None] * len(keys) for name in METADATA.names}
    return pa.table({**columns, "key": keys, "text_row": text_rows}, schema=METADATA)


def fill(store):
    """Three shards: mixed, all failed, and one with other texts."""
    store.append_plan([(list("abcdefg"), [f"/images/{k}" for k in "abcdefg"], [0, 0, 0, 1, 1, 2, 2])])
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
        "checksums/00000.sha256", "checksums/00001.sha256", "checksums/00002.sha256",
        "checksums/plan-00000.sha256", "checksums/store.sha256",
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
        (
            {"image": dataclasses.replace(IMAGE, sha256="f" * 64)},
            "image.sha256 '000000000000', asked for 'ffffffffffff';",
        ),
        (
            {"image": dataclasses.replace(IMAGE, preprocess=dataclasses.replace(IMAGE.preprocess, size=336, crop=336))},
            "begun with image.preprocess.size 16, asked for 336; image.preprocess.crop 16, asked for 336; choose",
        ),
        (
            {"image": dataclasses.replace(IMAGE, name="other/model", precision="fp16")},
            "begun with image.name 'fake/model', asked for 'other/model'; image.precision 'fp32', asked for 'fp16';",
        ),
        (
            {"text": dataclasses.replace(TEXT, tokens=Tokens(77, 1, 1))},
            "begun with text.tokens.length 10, asked for 77;",
        ),
        ({"text_prefix": "A photo depicts "}, "begun with text_prefix '', asked for 'A photo depicts '"),
        ({"text": None}, "begun with text 'fake/model', asked for None"),
        (
            {"source": "/a", "layout": "b", "group_by": "c", "decode": "fast", "dtype": "float16", "backend": "d"},
            "begun with source .*decode 'exact', asked for 'fast'; and 2 more; choose",
        ),
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


def blocks(*sizes, shard_size=1000):
    """Blocks of a plan of so many items each."""
    start = 0
    for size in sizes:
        items = range(start, start + size)
        yield [f"k{i}" for i in items], [f"/images/k{i}" for i in items], [i // shard_size for i in items]
        start += size


def test_a_plan_is_written_and_read_in_blocks(tmp_path):
    store = Store.create(tmp_path, SPEC)
    store.append_plan(blocks(10_000, 0, 3_000))
    store.append_plan(iter([(["last"], ["/images/last"], [13])]))
    pieces = list(store.plan_blocks())
    assert [len(piece) for piece in pieces] == [PLAN_ROWS, 10_000 - PLAN_ROWS, 3_000, 1]
    assert pa.concat_tables(pieces).equals(store.plan())
    assert store.n_planned == 13_001
    assert store.n_shards == 14
    keys = store.plan(["shard", "key"])
    assert keys.column_names == ["shard", "key"]
    assert keys.column("key").to_pylist() == [*(f"k{i}" for i in range(13_000)), "last"]
    assert [piece.column_names for piece in store.plan_blocks(["uri"])] == [["uri"]] * 4


def test_a_plan_of_nothing_is_no_part(tmp_path):
    store = Store.create(tmp_path, SPEC)
    store.append_plan([])
    store.append_plan([([], [], [])])
    assert (store.n_planned, store.n_shards, len(store.plan())) == (0, 0, 0)
    assert not (tmp_path / "plan").exists()


def test_a_listing_that_fails_half_way_leaves_the_plan_as_it_was(tmp_path):
    store = Store.create(tmp_path, SPEC)
    store.append_plan(blocks(3))

    def broken():
        yield from blocks(5)
        raise FileNotFoundError("the source went away")

    with pytest.raises(FileNotFoundError, match="went away"):
        store.append_plan(broken())
    assert store.n_planned == 3
    assert [path.name for path in (tmp_path / "plan").iterdir()] == ["part-00000.parquet"]


def test_a_disk_that_stays_full_while_planning_is_said(tmp_path, monkeypatch):
    """Not only once: pyarrow tries again to write its footer."""
    store = Store.create(tmp_path, SPEC)

    class Full:
        closed = False
        write = flush = lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = close = lambda *_: None
        readable = seekable = lambda *_: False
        writable = lambda *_: True  # noqa: E731

    with monkeypatch.context() as patch:
        patch.setattr("semscale.store.open_new", lambda path: path.touch() or Full())
        with pytest.raises(StoreError, match=r"part-00000.parquet: the disk is full"):
            store.append_plan(blocks(5))
    assert list((tmp_path / "plan").iterdir()) == []
    store.append_plan(blocks(5))
    assert store.n_planned == 5


def test_sha256sum_verifies_a_store_without_semscale(tmp_path):
    fill(Store.create(tmp_path, SPEC))
    command = "sha256sum --strict --check checksums/*.sha256"
    good = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    checked = sorted(line.removesuffix(": OK") for line in good.stdout.splitlines())
    data = [p for p in tmp_path.rglob("*") if p.is_file() and p.parent.name != "checksums"]
    assert checked == sorted(str(path.relative_to(tmp_path)) for path in data)
    with (tmp_path / "img_emb" / "img_emb_00002.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    bad = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert bad.returncode == 1
    assert "img_emb/img_emb_00002.npy: FAILED" in bad.stdout


def test_a_discarded_shard_leaves_nothing(tmp_path):
    store = Store.create(tmp_path, SPEC)
    fill(store)
    store.discard(0)
    store.discard(0)
    assert store.finished() == [1, 2]
    assert not [path for path in tmp_path.rglob("*00000*") if path.parent.name != "plan" and "plan" not in path.name]


def test_a_shard_that_cannot_be_written_leaves_the_others_and_can_be_written_later(tmp_path, monkeypatch):
    store = Store.create(tmp_path, SPEC)
    fill(store)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    rename = files.rename

    def full(path, target):
        if target.parent.name == "metadata":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(path, target)

    again = ShardData(Shard(0, 0, 3), np.ones((3, 12)), np.ones((0, 12)), metadata(list("abc"), [None] * 3), [])
    with monkeypatch.context() as patch:
        patch.setattr(files, "rename", full)
        with pytest.raises(StoreError, match=r"metadata_00000.parquet: the disk is full"):
            store.write(again)
    assert store.finished() == [1, 2]
    others = {path for path in before if "00000" not in path.name or "plan" in str(path)}
    assert all(path.read_bytes() == before[path] for path in others)
    store.write(again)
    assert open_store(tmp_path).metadata(["key"]).column("key").to_pylist() == list("abcfg")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("metadata/metadata_00000.parquet", lambda store: store.metadata()),
        ("metadata/metadata_00000.parquet", lambda store: store.text_rows()),
        ("metadata/metadata_00000.parquet", lambda store: store.fingerprints(0)),
        ("errors/errors_00000.parquet", lambda store: store.errors(["key"])),
        ("img_emb/img_emb_00000.npy", lambda store: store.images),
        ("text_emb/text_emb_00000.npy", lambda store: store.texts),
    ],
)
@pytest.mark.parametrize("damage", [lambda _: b"", lambda old: old[: len(old) // 2], lambda _: b"\x93" * 300])
def test_a_damaged_file_is_named_with_how_to_mend_it(tmp_path, name, read, damage):
    fill(Store.create(tmp_path, SPEC))
    file = tmp_path / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StoreError) as refused:
        read(open_store(tmp_path))
    said = str(refused.value)
    assert said.startswith(f"{file}: cannot be read (")
    errors = tmp_path / "errors" / "errors_00000.parquet"
    assert f"`semscale verify {tmp_path} --mend`, or deleting {errors}, has the next run embed this shard again" in said


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("metadata/metadata_00000.parquet", lambda store: store.metadata()),
        ("img_emb/img_emb_00000.npy", lambda store: store.images),
    ],
)
def test_vectors_without_metadata_or_the_reverse_are_refused(tmp_path, name, read):
    fill(Store.create(tmp_path, SPEC))
    (tmp_path / name).unlink()
    with pytest.raises(StoreError, match=re.escape(f"{tmp_path / name}: cannot be read ([Errno 2] No such file")):
        read(open_store(tmp_path))


@pytest.mark.parametrize("read", [Store.plan, lambda store: store.n_planned, lambda store: store.n_shards])
def test_a_damaged_plan_is_named(tmp_path, read):
    fill(Store.create(tmp_path, SPEC))
    part = tmp_path / "plan" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(StoreError, match=re.escape(f"{part}: cannot be read (")) as refused:
        read(open_store(tmp_path))
    assert "cannot be mended: embed again into a new folder" in str(refused.value)


def test_a_run_does_not_go_on_where_part_of_the_plan_is_lost(tmp_path):
    fill(Store.create(tmp_path, SPEC))
    (tmp_path / "plan" / "part-00000.parquet").unlink()
    with pytest.raises(StoreError, match="shard 2 is finished but not in the plan"):
        Store.create(tmp_path, SPEC)


def test_the_checksum_of_a_plan_that_never_came_to_be_goes(tmp_path):
    fill(Store.create(tmp_path, SPEC))
    left = tmp_path / "checksums" / "plan-00001.sha256"
    left.write_text("0" * 64 + "  plan/part-00001.parquet\n")
    Store.create(tmp_path, SPEC)
    assert not left.exists()
    assert (tmp_path / "checksums" / "plan-00000.sha256").exists()


def test_a_store_without_checksums_is_read_and_continued(tmp_path):
    """As this format was before it had them."""
    fill(Store.create(tmp_path, SPEC))
    for path in (tmp_path / "checksums").iterdir():
        path.unlink()
    (tmp_path / "checksums").rmdir()
    store = Store.create(tmp_path, SPEC)
    assert (len(store.images), len(store.errors()), len(store.plan())) == (4, 3, 7)
    store.append_plan([(["h"], ["/images/h"], [3])])
    store.write(ShardData(Shard(3, 7, 8), np.ones((1, 12)), np.ones((0, 12)), metadata(["h"], [None]), []))
    assert len(open_store(tmp_path).images) == 5
    assert pq.read_table(tmp_path / "metadata" / "metadata_00003.parquet").column("key").to_pylist() == ["h"]
