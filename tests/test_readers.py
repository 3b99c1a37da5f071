"""Stores as other programs read them."""

import subprocess

import numpy as np
import pytest
from images import write_tree

from semscale import embed
from semscale.settings import Settings


@pytest.fixture
def store(tmp_path, model):
    source = write_tree(tmp_path / "images", [f"g{n % 3}/{n:02d}.png" for n in range(23)])
    (source / "g0" / "00.png").write_bytes(b"")
    for name in ("01", "04", "07", "10"):  # a shard may have no vector at all
        (source / "g1" / f"{name}.png").write_bytes(b"")
    return embed(source, tmp_path / "store", model=model, backend="fake", settings=Settings(shard_size=4))


def test_embedding_reader_reads_vectors_and_their_metadata(store):
    reader = pytest.importorskip("embedding_reader").EmbeddingReader(
        embeddings_folder=str(store.path / "img_emb"),
        metadata_folder=str(store.path / "metadata"),
        meta_columns=["key", "image_path"],
        file_format="parquet_npy",
    )
    assert (reader.count, reader.dimension) == store.images.shape
    batches = list(reader(batch_size=5, show_progress=False))
    vectors = np.concatenate([vectors for vectors, _ in batches])
    keys = [key for _, rows in batches for key in rows["key"]]
    assert keys == store.metadata(["key"]).column("key").to_pylist()
    np.testing.assert_array_equal(vectors, store.images.take(np.arange(len(store.images))))


def test_sha256sum_checks_a_store(store):
    lists = sorted(str(path.relative_to(store.path)) for path in (store.path / "checksums").iterdir())
    command = ["sha256sum", "--check", "--strict", "--quiet", *lists]
    assert subprocess.run(command, cwd=store.path, check=False).returncode == 0
    (store.path / "store.json").write_text("{}")
    assert subprocess.run(command, cwd=store.path, check=False, capture_output=True).returncode == 1
