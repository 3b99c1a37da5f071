"""`score --metrics` with reference captions, and with several models' images of the same prompts."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from images import write_tree

from semscale import metrics, open_store
from semscale.arrays import encode_texts
from semscale.cli import main
from semscale.metrics.references import PRESETS

PROMPTS = ("a cat", "a fox", "blue")
NAMES = [f"{model}/{prompt}/{seed}.png" for model in ("m1", "m2") for prompt in PROMPTS for seed in range(4)]
PREFIX = PRESETS["hessel2021"].prefix


@pytest.fixture
def call(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "images", NAMES)

    def run(*arguments, exit_code=0):
        options = ["--model", model, "--backend", "fake", "--quiet", "--json", "-o", "out"]
        result = CliRunner().invoke(main, ["score", "images", *map(str, arguments), *options])
        assert result.exit_code == exit_code, result.output + repr(result.exception)
        return json.loads(result.stdout.splitlines()[-1])["scores"] if exit_code == 0 else result.output

    return run


def encoded(texts, model):
    return encode_texts(texts, model=model, backend="fake")[0]


def stored():
    store = open_store("out/stores/fake--model")
    known = store.metadata(["key", "caption", "model"])
    return (store.images.take(np.arange(len(store.images))), *(known.column(name).to_pylist() for name in range(3)))


def test_captions_of_texts_belong_to_every_image_of_the_text(call, model, tmp_path):
    rows = ["text,reference", "a cat,a small cat", 'a cat,"a cat, asleep"', "a fox,a red fox", "a horse,a horse"]
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    entry = call("--metrics", "ref-clip-score", "--captions", "captions.csv")["ref-clip-score"]
    images, keys, texts, _ = stored()
    of = {"a cat": ["a small cat", "a cat, asleep"], "a fox": ["a red fox"]}
    used = [row for row, text in enumerate(texts) if text in of]
    pairs = [(at, caption) for at, row in enumerate(used) for caption in of[texts[row]]]
    direct = metrics.ref_clip_score(
        images[used],
        encoded([PREFIX + texts[row] for row in used], model),
        encoded([PREFIX + caption for _, caption in pairs], model),
        owners=np.array([at for at, _ in pairs]),
    )
    assert entry["value"] == pytest.approx(direct.value, abs=1e-6)
    assert (entry["n"], entry["params"]["n_without_reference"], entry["params"]["n_unused_captions"]) == (16, 8, 1)
    assert entry["params"]["n_references"] == 8 * 2 + 8
    assert set(entry["by_model"]) == {"m1", "m2"}
    column = pq.read_table("out/images.parquet", columns=["key", "ref_clip_score"])
    known = dict(zip(column["key"].to_pylist(), column["ref_clip_score"].to_pylist(), strict=True))
    assert sum(np.isnan(known[key]) for key in keys) == 8


def test_captions_of_single_images_change_those_alone(call, tmp_path):
    key = "m2/blue/3.png"
    (tmp_path / "captions.jsonl").write_text(json.dumps({"key": key, "caption": "the colour of the sky"}) + "\n")
    entry = call("--metrics", "ref-clip-score", "--captions", "captions.jsonl")["ref-clip-score"]
    column = pq.read_table("out/images.parquet", columns=["key", "ref_clip_score"]).to_pylist()
    assert [row["key"] for row in column if not np.isnan(row["ref_clip_score"])] == [key]
    assert entry["n"] == 1
    assert entry["value"] == next(row["ref_clip_score"] for row in column if row["key"] == key)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("captions.csv", "text,note\na cat,x\n", "none of reference, caption"),
        ("captions.csv", "text,key,reference\na cat,k,x\n", "both key and text"),
        ("captions.csv", "text,reference\n", "no rows"),
        ("captions.csv", "text,reference\na cat,\n", "row 1 has no reference"),
        ("captions.csv", "text,reference\na dog,a hound\n", "no caption is of an image here"),
        ("captions.txt", "a cat\n", "not a table"),
    ],
)
def test_captions_that_fit_nothing_are_refused(call, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    code = 1 if "row 1" in said else 2
    assert said in call("--metrics", "ref-clip-score", "--captions", name, exit_code=code)


def test_captions_are_asked_for_and_are_not_given_in_vain(call, tmp_path):
    assert "needs reference captions" in call("--metrics", "ref-clip-score", exit_code=2)
    (tmp_path / "captions.csv").write_text("text,reference\na cat,x\n")
    assert "--captions: no metric" in call("--captions", "captions.csv", exit_code=2)


def test_ranking_is_the_share_of_prompts_whose_best_image_is_a_models(call, model):
    entry = call("--metrics", "ranking")["ranking-win-share"]
    images, keys, texts, models = stored()
    vectors = encoded(texts, model)
    cosines = (images * vectors).sum(axis=1) / np.linalg.norm(images, axis=1) / np.linalg.norm(vectors, axis=1)
    best = {prompt: max((cosines[row], models[row]) for row in range(24) if texts[row] == prompt) for prompt in PROMPTS}
    for name in ("m1", "m2"):
        part = entry["by_model"][name]
        assert (part["value"], part["n"]) == (sum(winner == name for _, winner in best.values()) / 3, 3)
        assert part["params"]["chance"] == 0.5
    assert entry["value"] is None
    assert "by_model" in entry["warnings"][0]
    column = pq.read_table("out/images.parquet", columns=["key", "ranking"])
    known = dict(zip(column["key"].to_pylist(), column["ranking"].to_pylist(), strict=True))
    for prompt, (top, _) in best.items():
        rows = [row for row in range(24) if texts[row] == prompt]
        odds = np.exp(100 * (cosines[rows] - top))
        assert [known[keys[row]] for row in rows] == pytest.approx((odds / odds.sum()).tolist(), abs=1e-4)


def test_ranking_of_one_model_ranks_its_images_and_has_no_share(call, tmp_path):
    for name in NAMES:
        if name.startswith("m2"):
            (tmp_path / "images" / name).unlink()
    entry = call("--metrics", "ranking")["ranking-win-share"]
    assert (entry["value"], entry["by_model"]) == (None, {})
    assert "of one model" in entry["warnings"][0]
    assert sum(pq.read_table("out/images.parquet")["ranking"].to_pylist()) == pytest.approx(3)
