"""A store that this format's first version wrote, kept byte for byte: every later version must read it."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from fake_model import IMAGE, TEXT
from test_store import metadata

from semscale.model import Failure, Shard
from semscale.store import ShardData, Store, StoreSpec, open_store
from semscale.verify import Verification, verify

GOLDEN = Path(__file__).parent / "golden" / "store"
SPEC = StoreSpec("/images", "group/image", "text", "exact", "float32", "A photo of ", "fake", IMAGE, TEXT)


def write_golden(path):
    """Write what the golden store holds: three shards in two parts of the plan; `write_golden(GOLDEN)` made it."""
    store = Store.create(path, SPEC)
    uris = {key: f"/images/{key}" for key in ("a/1.png", "a/2.png", "b/1.png", "b/2.png", "c/1.png")}
    keys = list(uris)
    store.append_plan([(keys[:4], [uris[key] for key in keys[:4]], [0, 0, 0, 1])])
    store.append_plan([(keys[4:], [uris[key] for key in keys[4:]], [2])])
    vectors = np.arange(36, dtype=np.float32).reshape(3, 12) / 8
    cut = Failure("a/2.png", uris["a/2.png"], "truncated", "cut short", "a", "a red fox", "m", 7, "12:34")
    gone = Failure("b/2.png", uris["b/2.png"], "missing", "no longer there")
    rows = metadata(["a/1.png", "b/1.png"], [1, 0])
    store.write(ShardData(Shard(0, 0, 3), vectors[:2], -vectors[:2], rows, [cut]))
    store.write(ShardData(Shard(1, 3, 4), vectors[:0], vectors[:0], metadata([], []), [gone]))
    store.write(ShardData(Shard(2, 4, 5), vectors[2:], vectors[:0], metadata(["c/1.png"], [None]), []))


def files(store):
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def test_everything_is_read_from_it():
    store = open_store(GOLDEN)
    assert store.spec == SPEC
    assert store.finished() == [0, 1, 2]
    assert store.plan().to_pydict() == {
        "key": ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "c/1.png"],
        "uri": ["/images/a/1.png", "/images/a/2.png", "/images/b/1.png", "/images/b/2.png", "/images/c/1.png"],
        "shard": [0, 0, 0, 1, 2],
    }
    assert store.metadata(["key"]).column("key").to_pylist() == ["a/1.png", "b/1.png", "c/1.png"]
    np.testing.assert_array_equal(store.images.take(np.arange(3)), np.arange(36).reshape(3, 12) / 8)
    assert store.text_rows().tolist() == [1, 0, -1]
    np.testing.assert_array_equal(store.texts.take(np.array([1]))[0, :3], [-1.5, -1.625, -1.75])
    assert store.errors().to_pylist() == [
        {
            "key": "a/2.png", "uri": "/images/a/2.png", "code": "truncated", "message": "cut short",
            "group": "a", "caption": "a red fox", "model": "m", "seed": 7, "fingerprint": "12:34",
        },
        {
            "key": "b/2.png", "uri": "/images/b/2.png", "code": "missing", "message": "no longer there",
            "group": None, "caption": None, "model": None, "seed": None, "fingerprint": "",
        },
    ]  # fmt: skip


def test_its_bytes_are_those_that_were_written():
    assert verify(GOLDEN) == Verification([], 3, 3, 5, 3, 2)
    assert json.loads((GOLDEN / "store.json").read_text())["format"] == 1
    assert sum((GOLDEN / name).stat().st_size for name in files(GOLDEN)) < 60_000


def test_the_same_data_is_written_like_it(tmp_path):
    """Byte for byte where the bytes are ours; the bytes of Parquet are those of a version of pyarrow."""
    write_golden(tmp_path / "store")
    assert files(tmp_path / "store") == files(GOLDEN)
    for name in files(GOLDEN):
        old, new = ((store / name).read_bytes() for store in (GOLDEN, tmp_path / "store"))
        if name.endswith((".npy", ".json")):
            assert old == new, name
        elif name.endswith(".parquet"):
            assert pq.read_table(io.BytesIO(old)).equals(pq.read_table(io.BytesIO(new))), name
        else:
            assert [line.split()[1] for line in old.splitlines()] == [line.split()[1] for line in new.splitlines()]


def test_it_is_continued(tmp_path):
    """By the next run, as if it were its own."""
    store = Store.create(shutil.copytree(GOLDEN, tmp_path / "store"), SPEC)
    store.append_plan([(["d/1.png"], ["/images/d/1.png"], [store.n_shards])])
    store.write(ShardData(Shard(3, 5, 6), np.ones((1, 12)), np.ones((0, 12)), metadata(["d/1.png"], [None]), []))
    assert verify(store.path) == Verification([], 4, 4, 6, 4, 2)
